"""VDVAE: a VAE with many groups of latents, p(z) = prod_k p(z_k | z_<k) and q(z | x) = prod_k q(z_k | z_<k, x).

log p(x) >= E_q log p(x | z) - sum_k E KL(q(z_k | z_<k, x) || p(z_k | z_<k)) (Child 2020, 2011.10650, equations 2 to 4).
A bottom-up network gives activations of x at each resolution. A top-down network, shared by prior and posterior, goes
from the coarsest resolution to the image; each of its blocks has one group of latents (figure 3). Deviation: values are
scaled to [-1, 1], where the paper subtracts the mean of the data and divides by their standard deviation. Addition:
with classes y the top-down network starts from a learned vector of the class too, so that p(z_k | z_<k, y),
q(z_k | z_<k, x, y) and p(x | z, y) all depend on it.
"""

import math
import re
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gen_jax.check import require, require_image, require_integers
from gen_jax.conditions import Cond, label_of
from gen_jax.density import LossPer
from gen_jax.models.latent.base import Choose
from gen_jax.models.latent.factorised import IndependentSites
from gen_jax.models.latent.losses import KLWeighted
from gen_jax.nn.conv import Conv
from gen_jax.ops.convolution import gathered
from gen_jax.ops.latents import Gaussian, Group, Normal
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import PRNGKey, Variables

# Above this resolution the top-down network starts from zeros, not from a learned constant.
FINEST_CONSTANT = 64
ZEROS = nn.initializers.zeros
Map = Float[Array, "B side side F"]


class Run(NamedTuple):
    """Equal blocks, one after the other. pool: by how much the block shrinks its output. source: what it first adds."""

    side: int
    blocks: int
    pool: int = 1
    source: int | None = None


def runs(text: str) -> tuple[Run, ...]:
    """The runs of a string such as "32x11,32d2,16x6" or "1x1,4m1,4x2"; InputError if it is none.

    RxN: N blocks at resolution R. RdP: a block at R, then average pooling by P. RmS: a block at R that first adds the
    map of resolution S, enlarged. R: one block.
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:([xdm])(\d+))?", part.strip())
        require(match is not None, f"vd_vae: {part!r} is no block: write 32x11, 32d2 or 32m16")
        side, kind, number = match.groups()  # pyright: ignore[reportOptionalMemberAccess]
        side, number = int(side), int(number or 1)
        require(min(side, number) >= 1, f"vd_vae: {part!r} has a zero")
        found.append(
            {
                "d": Run(side, 1, pool=number),
                "m": Run(side, 1, source=number),
                "x": Run(side, number),
            }[kind or "x"]
        )
    return tuple(found)


def uniform(scale: float = 1.0) -> nn.initializers.Initializer:
    """Uniform in +- scale / sqrt(inputs of a feature)."""
    return nn.initializers.variance_scaling(scale**2 / 3, "fan_in", "uniform")


class Block(nn.Module):
    """GELU and a convolution four times: 1x1 to `hidden`, 3x3 twice (1x1 at resolutions 1 and 2), 1x1 to `outputs`.

    `residual`: the input is added. `last`: the scale of the last convolution's initial weights.
    """

    hidden: int
    outputs: int
    side: int
    residual: bool = False
    last: float = 1.0

    @nn.compact
    def __call__(self, x: Map) -> Float[Array, "B side side O"]:
        middle = (3, 3) if self.side > 2 else (1, 1)
        h, sizes = x, ((1, 1), middle, middle, (1, 1))
        for layer, window in enumerate(sizes):
            end = layer == len(sizes) - 1
            features = self.outputs if end else self.hidden
            init = uniform(self.last if end else 1.0) if self.last or not end else ZEROS
            h = nn.gelu(h, approximate=False)
            h = Conv(features, window, kernel_init=init)(h)
        return x + h if self.residual else h


class TopDown(nn.Module):
    """A block with one group of latents; `shrink` scales the initial weights of what it adds to its input."""

    width: int
    hidden: int
    latent: int
    side: int
    shrink: float

    def setup(self):
        self.posterior = Block(self.hidden, 2 * self.latent, self.side)
        self.prior = Block(self.hidden, 2 * self.latent + self.width, self.side, last=0.0)
        self.project = Conv(self.width, (1, 1), kernel_init=uniform(self.shrink))
        self.residual = Block(self.hidden, self.width, self.side, True, self.shrink)

    def before(self, x: Map, of_x: Map | None) -> tuple[Map, Normal, Normal | None]:
        """x plus a part of the prior's output, and the parameters of the prior and, given `of_x`, of the posterior."""
        mean, log_scale, add = jnp.split(self.prior(x), (self.latent, 2 * self.latent), axis=-1)
        q = None
        if of_x is not None:
            out = self.posterior(jnp.concatenate([x, of_x], axis=-1))
            q = Normal(*jnp.split(out, 2, axis=-1))
        return x + add, Normal(mean, log_scale), q

    def after(self, x: Map, z: Float[Array, "B side side Z"]) -> Map:
        """x given z."""
        return self.residual(x + self.project(z))

    def __call__(self, x: Map) -> Map:
        """Both, for initial weights."""
        x, p, _ = self.before(x, x)
        return self.after(x, p.mean)


class State(NamedTuple):
    """The maps of the top-down network and, if x is known, the activations of the bottom-up network, by resolution."""

    maps: dict[int, Map]
    of_x: dict[int, Map] | None


class VDVAE(KLWeighted, IndependentSites):
    """Square images. `encoder`, `decoder`: blocks from the image down, and from the coarsest resolution up (`runs`).

    `width`: features of all maps. `latent`: latents at each place of a block. `bottleneck`: hidden features of a block
    as a fraction of `width`. The loss is in nats per dimension, as in the paper's code. Equal blocks are scanned over,
    so that the time to compile grows with the number of runs. `remat` keeps only the inputs of blocks for the gradient.
    """

    system: ClassVar[str] = "vd_vae"
    loss_per: ClassVar[LossPer] = "dimension"

    encoder: str = "32x11,32d2,16x6,16d2,8x6,8d2,4x3,4d4,1x3"
    decoder: str = "1x1,4m1,4x2,8m4,8x5,16m8,16x10,32m16,32x21"
    width: int = 384
    latent: int = 16
    bottleneck: float = 0.25
    mixtures: int | None = 10
    num_classes: int = 0
    remat: bool = False

    def setup(self):
        super().setup()
        up, down = runs(self.encoder), runs(self.decoder)
        self.input = Conv(self.width, (3, 3), kernel_init=uniform())
        self.up = [self._stacked(f"up_{i}", self._up(run), run) for i, run in enumerate(up)]
        self.down = [self._stacked(f"down_{i}", self._down(run), run) for i, run in enumerate(down)]
        self.constants = {
            side: gathered(self.param(f"constant_{side}", ZEROS, (side, side, self.width)))
            for side in sorted({run.side for run in down})
            if side <= FINEST_CONSTANT
        }
        self.vectors = {
            side: gathered(self.param(f"classes_{side}", ZEROS, (self.num_classes, self.width)))
            for side in (self.constants if self.num_classes else ())
        }
        self.gain = self.param("gain", nn.initializers.ones, (self.width,))
        self.bias = self.param("bias", ZEROS, (self.width,))
        values = self.event.size // (math.prod(self.event.shape[:2]) * self.values)
        self.output = Conv(values * self.head.size, (1, 1), kernel_init=uniform())

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Gaussian((run.side, run.side, self.latent))
            for run in runs(self.decoder)
            for _ in range(run.blocks)
        )

    @property
    def largest(self) -> int:
        return math.prod(self.event.shape[:2]) * self.width

    def begin(self, n: int, x: Integer[Array, "n H W C"] | None = None, cond: Cond = None) -> State:
        sides = {run.side for run in runs(self.decoder)}
        maps = {
            side: jnp.broadcast_to(
                self.constants.get(side, jnp.zeros(())), (n, side, side, self.width)
            )
            for side in sides
        }
        for side, vectors in self.vectors.items():
            maps[side] = maps[side] + vectors[label_of(cond)][:, None, None]
        return State(maps, None if x is None else self.activations(x))

    def activations(self, x: Integer[Array, "B H W C"]) -> dict[int, Map]:
        """The last map of the bottom-up network at each resolution."""
        h = self.input(to_symmetric(x, self.event.num_levels))
        found = {h.shape[1]: h}
        for run, stacked in zip(runs(self.encoder), self.up, strict=True):
            block = self._up(run)
            h, _ = self._scanned(
                lambda h, params, block=block: (block.apply({"params": params}, h), None),
                h,
                stacked,
                run.blocks,
            )
            h = nn.avg_pool(h, (run.pool, run.pool), (run.pool, run.pool))
            found[h.shape[1]] = h
        return found

    def group(self, state: State, k: int) -> tuple[State, Normal, Normal | None]:
        run, params = self._block(k)
        return self._before(state, run, params)

    def put(self, state: State, k: int, z: Map) -> State:
        run, params = self._block(k)
        return self._after(state, run, params, z)

    def visit(self, state: State, choose: Choose, first: int = 0) -> tuple[State, list[Any]]:
        collected, end = [], 0
        for run, stacked in zip(runs(self.decoder), self.down, strict=True):
            begin, end = max(first, end), end + run.blocks
            if begin >= end:
                continue
            skipped = run.blocks - (end - begin)
            left = jax.tree.map(lambda leaf, skipped=skipped: leaf[skipped:], stacked)
            group = Gaussian((run.side, run.side, self.latent))

            def body(x, inputs, run=run, group=group, state=state):
                params, k = inputs
                before = State({**state.maps, run.side: x}, state.of_x)
                before, p, q = self._before(before, run, params)
                z, result = choose(k, group, p, q)
                return self._after(before, run, params, z).maps[run.side], result

            inputs = (left, jnp.arange(begin, end))
            x, results = self._scanned(body, state.maps[run.side], inputs, end - begin)
            state = State({**state.maps, run.side: x}, state.of_x)
            collected += [jax.tree.map(lambda r, i=i: r[i], results) for i in range(end - begin)]
        return state, collected

    def decode(self, state: State) -> Float[Array, "B sites P"]:
        x = state.maps[self.event.shape[0]] * self.gain + self.bias
        return self.output(x).reshape(len(x), -1, self.head.size)

    def _up(self, run: Run) -> Block:
        shrink = math.sqrt(1 / sum(run.blocks for run in runs(self.encoder)))
        return Block(self._hidden, self.width, run.side, True, shrink, parent=None)

    def _down(self, run: Run) -> TopDown:
        shrink = math.sqrt(1 / len(self.groups))
        sizes = (self.width, self._hidden, self.latent)
        return TopDown(*sizes, run.side, shrink, parent=None)

    @property
    def _hidden(self) -> int:
        return int(self.width * self.bottleneck)

    def _scanned(self, body: Any, carry: Any, stacked: Any, count: int) -> tuple[Any, Any]:
        """`lax.scan` over stacked inputs; a single step is not a loop."""
        if self.remat:
            body = jax.checkpoint(body, prevent_cse=count == 1)
        if count > 1:
            return lax.scan(body, carry, stacked)
        carry, result = body(carry, jax.tree.map(lambda leaf: leaf[0], stacked))
        return carry, jax.tree.map(lambda leaf: leaf[None], result)

    def _stacked(self, name: str, block: nn.Module, run: Run) -> Variables:
        """The parameters of all blocks of a run, stacked."""
        x = jnp.zeros((1, run.side, run.side, self.width))

        def init(key: PRNGKey) -> Variables:
            each = lambda key: block.init(key, x)["params"]  # noqa: E731
            return jax.vmap(each)(jax.random.split(key, run.blocks))

        return self.param(name, init)

    def _block(self, k: int) -> tuple[Run, Variables]:
        """The run of block k, and its parameters."""
        for run, stacked in zip(runs(self.decoder), self.down, strict=True):
            if k < run.blocks:
                return run, jax.tree.map(lambda leaf, k=k: leaf[k], stacked)
            k -= run.blocks
        raise IndexError("there is no such group")

    def _before(
        self, state: State, run: Run, params: Variables
    ) -> tuple[State, Normal, Normal | None]:
        x = state.maps[run.side]
        if run.source is not None:
            coarse, factor = state.maps[run.source], run.side // run.source
            x = x + jnp.repeat(jnp.repeat(coarse, factor, axis=1), factor, axis=2)
        of_x = None if state.of_x is None else state.of_x[run.side]
        parts: Any = self._down(run).apply({"params": params}, x, of_x, method="before")
        x, p, q = parts
        return State({**state.maps, run.side: x}, state.of_x), p, q

    def _after(self, state: State, run: Run, params: Variables, z: Map) -> State:
        x: Any = state.maps[run.side]
        x = self._down(run).apply({"params": params}, x, z, method="after")
        return State({**state.maps, run.side: x}, state.of_x)

    def check(self) -> None:
        require_image(self.event, "vd_vae")
        require_integers(self.event, "vd_vae")
        side, width, _ = self.event.shape
        up, down = runs(self.encoder), runs(self.decoder)
        require(side == width, f"vd_vae is a model of square images, not of {self.event.shape}")
        require(
            up[0].side == side and down[-1].side == side,
            f"vd_vae needs an encoder that begins, and a decoder that ends, at the image's side {side}",
        )
        now, seen = side, {side}
        for run in up:
            require(
                run.source is None and run.side == now and now % run.pool == 0,
                f"vd_vae: a block of the encoder at {run.side} follows a map of {now}, or does not divide it",
            )
            now //= run.pool
            seen.add(now)
        done = set()
        for run in down:
            source = run.source or run.side
            require(
                run.pool == 1 and run.side in seen and run.side % source == 0,
                f"vd_vae: the decoder's block at {run.side} has no activations of the encoder, or no whole enlargement",
            )
            require(
                run.source is None or source in done,
                f"vd_vae: the decoder adds the map of {source} before it has one",
            )
            done.add(run.side)
        require(
            min(self.latent, self._hidden) >= 1,
            "vd_vae needs latent and width x bottleneck of at least 1",
        )
        super().check()
