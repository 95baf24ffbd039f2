"""Networks of gen_jax written in plain PyTorch, with gen_jax's weights and the same taps.

Each is built as `network(torch, model, params, ready)`. `ready(weights, mask)` is called once for each layer, always in
the same order, with the layer's arrays in PyTorch's layout. It returns a function that gives the layer's two tensors.
So `torch_forward` can mask and normalise once and `torch_training` in every step, and the gradients of both sides are
compared by building the network a second time from gen_jax's gradients. gen_jax does not depend on PyTorch, so the
module `torch` is an argument.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.made import MADE, draw
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.autoregressive.pixel_snail import PixelSNAIL
from gen_jax.nn.unet import UNet
from gen_jax.ops.masks import degree_mask, group_mask

Ready = Callable[[dict[str, np.ndarray], Any], Callable[[], tuple[Any, Any]]]
Names = dict[str, Any]
DOWN, RIGHT = (0, 0, 1, -1), (1, -1)  # paddings that shift an image by one pixel
EPSILON = 1e-6  # added to the variances in the U-net's group norms


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random kernels of variance 1 / fan-in; biases and scales of variance 1, so that leaving one out shows."""
    return rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))


def layer_of(
    ready: Ready, layer: Names, groups: int = 1, strict: bool = False, splits: int = 1
) -> Callable:
    """Pass a convolution's direction, scale and bias, or its kernel, bias and mask, to `ready`."""
    if "direction" in layer:
        scale = layer["scale"].reshape(-1, 1, 1, 1)
        direction = turned(layer["direction"])
        return ready({"direction": direction, "scale": scale, "bias": layer["bias"]}, None)
    kernel = placed(layer, groups, strict, splits)
    mask = placed(jax.tree.map(np.ones_like, layer), groups, strict, splits)
    return ready({"kernel": kernel, "bias": layer["bias"]}, None if mask.all() else mask)


def placed(layer: Names, groups: int, strict: bool, splits: int) -> np.ndarray:
    """The kernel in PyTorch's layout, with zeros at masked taps and to the right of the current pixel."""
    kernel = layer["kernel" if "kernel" in layer else "own"]
    if groups > 1:
        mask = group_mask(kernel.shape[-2], kernel.shape[-1] // splits, groups, strict)
        kernel = np.concatenate([kernel[:-1], kernel[-1:] * np.tile(mask, (1, splits))])
    if "above" in layer:
        right = layer["above"].shape[1] - len(kernel)
        row = np.pad(kernel, ((0, right), (0, 0), (0, 0)))[None]
        kernel = np.concatenate([layer["above"], row])
    return turned(kernel)


def turned(kernel: np.ndarray) -> np.ndarray:
    """Transpose (..., I, O) to (O, I, h, w); missing axes become leading axes of size 1."""
    kernel = kernel.reshape(*(1,) * (4 - kernel.ndim), *kernel.shape)
    return np.transpose(kernel, (3, 2, 0, 1))


def conv(torch, x, layer, columns=(0, 0), rows=(0, 0), stride=1):
    """Pad x with zeros (left, right) and (above, below), then convolve; a negative number crops."""
    pad = (*columns, *rows)
    x = torch.nn.functional.pad(x, pad) if any(pad) else x
    return torch.nn.functional.conv2d(x, *layer(), stride)


def gated_pixel_cnn(torch: Any, model: GatedPixelCNN, params: Names, ready: Ready) -> Callable:
    """The network of Figure 2 of 1606.05328, with its vertical stack cropped to the rows above."""
    groups, layers = model.groups, []
    for i in range(model.depth):
        layer = params[f"layers_{i}"]
        down = [layer_of(ready, layer[name]) for name in ("vertical", "link")]
        sizes = (*layer["vertical"]["kernel"].shape[:2], layer["horizontal"]["kernel"].shape[0])
        horizontal = layer_of(ready, layer["horizontal"], groups, strict=i == 0, splits=2)
        out = layer_of(ready, layer["out"], groups, splits=2)
        layers.append((sizes, *down, horizontal, out))
    hidden, logits = (layer_of(ready, params[name], groups) for name in ("hidden", "logits"))

    def gated(x):
        a, b = x.chunk(2, 1)
        return a.tanh() * b.sigmoid() if torch.is_grad_enabled() else a.tanh().mul_(b.sigmoid())

    def forward(x):
        h = a = skips = x
        for i, ((height, width, reach), vertical, link, horizontal, out) in enumerate(layers):
            v = gated(a) if i else x
            rows = (height - 1, 0) if i else (height, -1)
            a = conv(torch, v, vertical, (width // 2, width // 2), rows)
            columns = (reach - 1, 0) if i or groups > 1 else (reach, -1)
            gate = gated(conv(torch, h, horizontal, columns).add_(conv(torch, a, link)))
            residual, skip = conv(torch, gate, out).chunk(2, 1)
            h, skips = (h + residual, skips + skip) if i else (residual, skip)
        return conv(torch, conv(torch, skips.relu(), hidden).relu_(), logits)

    return forward


def pixel_cnn(torch: Any, model: PixelCNN, params: Names, ready: Ready) -> Callable:
    """Table 1 of 1601.06759: a mask A, residual blocks of 1x1, 3x3 (mask B), 1x1, and two hidden 1x1 layers."""
    groups, blocks = model.groups, [params[f"blocks_{i}"] for i in range(model.depth)]
    first = layer_of(ready, params["first"], groups, strict=True)
    names = ("squeeze", "spatial", "expand")
    layers = [[layer_of(ready, block[name], groups) for name in names] for block in blocks]
    head = [layer_of(ready, params[name], groups) for name in ("hidden_0", "hidden_1", "logits")]

    def masked(x, layer, side):
        return conv(torch, x, layer, (side, side), (side, 0))

    def forward(x):
        h = masked(x, first, model.first_kernel // 2)
        for squeeze, spatial, expand in layers:
            hidden = masked(conv(torch, h.relu(), squeeze).relu_(), spatial, 1)
            h = conv(torch, hidden.relu_(), expand).add_(h)
        for layer in head:
            h = conv(torch, h.relu(), layer)
        return h

    return forward


def pixel_cnn_pp(torch: Any, model: PixelCNNPP, params: Names, ready: Ready) -> Callable:
    """The U-net of 1701.05517 with its two streams; `resolution` calls itself for the next coarser resolution."""
    nn = torch.nn.functional
    layers = jax.tree.map(lambda layer: layer_of(ready, layer), params, is_leaf=weights)

    def concat_elu(*inputs):
        return nn.elu(torch.cat([s for x in inputs for s in (x, -x)], 1), inplace=True)

    def resnet(layer, columns, x, *aux):
        hidden = conv(torch, concat_elu(x), layer["first"], columns, (1, 0))
        if aux:
            hidden.add_(conv(torch, concat_elu(*aux), layer["project"]))
        return nn.glu(conv(torch, concat_elu(hidden), layer["second"], columns, (1, 0)), 1).add_(x)

    def block(layer, u, v, *skip):
        u = resnet(layer["u"], (1, 1), u, *skip[:1])
        return u, resnet(layer["v"], (1, 0), v, u, *skip[1:])

    def up(x, layer):
        kernel, bias = layer()
        side = (0, kernel.shape[3] - 2)  # width 3 begins one column to the left
        return nn.conv_transpose2d(x, kernel.transpose(0, 1), bias, 2, side, side)

    def resolution(layer, u, v):
        passed, coarser = [(u, v)], layer.get("coarser")
        for i in range(model.resnets):
            u, v = block(layer[f"down_{i}"], u, v)
            passed.append((u, v))
        if coarser:
            u = conv(torch, u, layer["down_u"], (1, 1), (1, 0), 2)
            u, v = resolution(coarser, u, conv(torch, v, layer["down_v"], (1, 0), (1, 0), 2))
            u, v = up(u, layer["up_u"]), up(v, layer["up_v"])
        for i, skip in enumerate(reversed(passed if coarser else passed[:-1])):
            u, v = block(layer[f"up_{i}"], u, v, *skip)
        return u, v

    def forward(x):
        ones = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        u = nn.pad(conv(torch, ones, layers["first_u"], (1, 1), (1, 0)), DOWN)
        v = first(torch, layers, x)
        v = nn.elu(resolution(layers["finest"], u, v)[1])
        return conv(torch, v, layers["out"])

    return forward


def first(torch: Any, layers: Names, x: Any) -> Any:
    """The first layer, on x and a channel of ones: each pixel sees the row above it and the pixels to its left."""
    pad = torch.nn.functional.pad
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    above = pad(conv(torch, x, layers["first_above"], (1, 1)), DOWN)
    return above + pad(conv(torch, x, layers["first_left"], rows=(1, 0)), RIGHT)


def pixel_snail(torch: Any, model: PixelSNAIL, params: Names, ready: Ready) -> Callable:
    """The blocks of 1712.09763: residual networks over 2x2 windows, strictly causal attention, and a merge."""
    nn = torch.nn.functional
    layers = jax.tree.map(lambda layer: layer_of(ready, layer), params, is_leaf=weights)
    height, width, _ = model.event.shape
    place = torch.from_numpy(np.asarray(model.coordinates, np.float64)).permute(2, 0, 1)[None]
    place = place.to(torch.get_default_dtype())
    earlier = torch.ones(height * width, height * width, dtype=torch.bool).tril(-1)

    def pointwise(layer, x, *aux):
        hidden = conv(torch, nn.elu(x), layer["first"])
        if aux:
            hidden = hidden + conv(torch, nn.elu(torch.cat(aux, 1)), layer["project"])
        return x + nn.glu(conv(torch, nn.elu(hidden), layer["second"]), 1)

    def attention(layer, content, question):
        query = conv(torch, pointwise(layer["question"], question), layer["query"])
        both = conv(torch, pointwise(layer["content"], content), layer["key_value"])
        query, both = (x.flatten(2).transpose(1, 2) for x in (query, both))
        key, value = both[..., : model.key_size], both[..., model.key_size :]
        scores = query @ key.transpose(1, 2) / math.sqrt(model.key_size)
        scores = scores.masked_fill(~earlier, torch.finfo(scores.dtype).min).softmax(-1)
        mean = scores.masked_fill(~earlier, 0.0) @ value
        return mean.transpose(1, 2).unflatten(2, (height, width))

    def block(layer, v, image, where):
        for i in range(model.resnets):
            near = layer[f"near_{i}"]["v"]
            hidden = nn.elu(conv(torch, nn.elu(v), near["first"], (1, 0), (1, 0)))
            v = v + nn.glu(conv(torch, hidden, near["second"], (1, 0), (1, 0)), 1)
        question = torch.cat([v, where], 1)
        mixed = attention(layer["attention"], torch.cat([image, question], 1), question)
        return pointwise(layer["merge"], v, mixed)

    def forward(x):
        v, where = first(torch, layers, x), place.expand(len(x), -1, -1, -1)
        for i in range(model.blocks):
            v = block(layers[f"stack_{i}"], v, x, where)
        return conv(torch, nn.elu(v), layers["out"])

    return forward


def made(torch: Any, model: MADE, params: Names, ready: Ready) -> Callable:
    """The masked dense layers of 1502.03509 and its masked direct connections, for two levels."""
    nn, net = torch.nn.functional, params["net"]
    masks = draw(model.event.size, model.hidden, (model.order_seed,), model.mask_seed)
    position, order, hidden = masks.position[0], torch.from_numpy(masks.order[0]), []
    below = position
    for i, (degree,) in enumerate(masks.hidden):
        mask = degree_mask(below, degree, strict=False).T
        hidden.append(ready({"kernel": net[f"kernel_{i}"], "bias": net[f"bias_{i}"]}, mask))
        below = degree
    mask = degree_mask(below, position, strict=True).T
    out = ready({"kernel": net["out_kernel"][:, 0], "bias": net["out_bias"][:, 0]}, mask)
    mask = degree_mask(position, position, strict=True).T
    direct = ready({"kernel": net["direct_kernel"][:, 0]}, mask)

    def forward(x):
        h = u = x.flatten(1)
        for layer in hidden:
            h = nn.linear(h, *layer()).relu_()
        return (nn.linear(h, *out()) + nn.linear(u, *direct()))[:, order]

    return forward


def unet(torch: Any, model: UNet, params: Names, ready: Ready) -> Callable:
    """The U-net of 2006.11239, its layers under the names that flax numbers in order of their calls."""
    nn = torch.nn.functional

    def built(layer):
        return ready(layer, None) if "scale" in layer else layer_of(ready, layer)

    layers = jax.tree.map(built, params, is_leaf=weights)

    def norm(x, layer):
        return nn.group_norm(x, model.groups, *layer(), EPSILON)

    def linear(x, layer):
        kernel, bias = layer()
        return nn.linear(x, kernel.flatten(1), bias)

    def block(x, time, layer):
        h = conv(torch, nn.silu(norm(x, layer["GroupNorm_0"])), layer["Conv_0"], (1, 1), (1, 1))
        h = h + linear(nn.silu(time), layer["Dense_0"])[:, :, None, None]
        h = conv(torch, nn.silu(norm(h, layer["GroupNorm_1"])), layer["Conv_1"], (1, 1), (1, 1))
        return h + (conv(torch, x, layer["Dense_1"]) if "Dense_1" in layer else x)

    def attention(x, layer):
        h = norm(x, layer["GroupNorm_0"])
        parts = [conv(torch, h, layer[name]) for name in ("query", "key", "value")]
        parts = [part.flatten(2).transpose(1, 2) for part in parts]
        mean = nn.scaled_dot_product_attention(*parts).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + conv(torch, mean, layer["out"])

    def forward(x, t):
        counts: dict[str, int] = {}

        def following(kind):
            """The next layer of this kind."""
            counts[kind] = counts.get(kind, -1) + 1
            return layers[f"{kind}_{counts[kind]}"]

        def attended(h):
            if h.shape[2] not in model.attention:
                return h
            return attention(h, following("SelfAttention"))

        embedding, half = following("TimeEmbedding"), model.features // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
        angles = t[:, None] * rates
        time = linear(torch.cat([angles.sin(), angles.cos()], 1), embedding["Dense_0"])
        time = linear(nn.silu(time), embedding["Dense_1"])
        skips = [conv(torch, x, following("Conv"), (1, 1), (1, 1))]
        last = len(model.multipliers) - 1
        for level in range(last + 1):
            for _ in range(model.blocks):
                skips.append(attended(block(skips[-1], time, following("TimeBlock"))))
            if level < last:
                skips.append(conv(torch, skips[-1], following("Conv"), (0, 1), (0, 1), 2))
        h = block(skips[-1], time, following("TimeBlock"))
        h = attention(h, following("SelfAttention"))
        h = block(h, time, following("TimeBlock"))
        for level in range(last, -1, -1):
            for _ in range(model.blocks + 1):
                h = torch.cat([h, skips.pop()], 1)
                h = attended(block(h, time, following("TimeBlock")))
            if level:
                h = nn.interpolate(h, scale_factor=2, mode="nearest")
                h = conv(torch, h, following("Conv"), (1, 1), (1, 1))
        h = nn.silu(norm(h, following("GroupNorm")))
        return conv(torch, h, following("Conv"), (1, 1), (1, 1))

    return forward


def weights(tree: Any) -> bool:
    """Whether a subtree holds the arrays of one layer."""
    return "bias" in tree


NETWORKS: dict[type, Callable] = {
    GatedPixelCNN: gated_pixel_cnn,
    PixelCNN: pixel_cnn,
    PixelCNNPP: pixel_cnn_pp,
    PixelSNAIL: pixel_snail,
    MADE: made,
    UNet: unet,
}
