"""Flow++: couplings by mixtures of logistics, networks with self-attention, variational dequantisation.

A step normalises every dimension, maps the channels of each half linearly, and couples the halves: a stays and b
becomes b' = logit F(b) exp(tanh(s)) + t, where F is the distribution function of a mixture of logistics and F, s and t
depend on a. The noise u of x + u comes from a conditional flow q(u | x) of such steps, and the bound is
E log p(x + u) - log q(u | x) (Ho, Chen, Srinivas, Duan and Abbeel 2019, 1902.00275, section 3).
"""

import functools
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.models.flow.base import DequantizedFlow
from gen_jax.models.flow.dequantizers import Dequantizer, VariationalDequantizer
from gen_jax.nn.bijections import chain, unchain
from gen_jax.nn.gated_attention import GatedAttentionNet
from gen_jax.nn.mixture_coupling import mixture_steps
from gen_jax.ops import dequantize
from gen_jax.ops.squeeze import column_pairs, columns, pixel_blocks, pixels
from gen_jax.typing import Nats


class FlowPP(DequantizedFlow):
    """`couplings` steps in each of three stages, of the logits of dequantised values.

    The halves are first the even and the odd columns, then the two rows of every 2x2 block of pixels, and last the even
    and the odd columns of these blocks; no values are factored out. Each network has `blocks` blocks of `features`
    channels and `heads` heads, and also reads the class, if there are classes. The defaults are those of the authors'
    code for CIFAR-10 (github.com/aravindsrinivas/flowpp, run_cifar.py).
    """

    system: ClassVar[str] = "flow_pp"

    features: int = 96
    blocks: int = 10
    components: int = 32
    couplings: tuple[int, int, int] = (4, 2, 3)
    heads: int = 4
    dropout: float = 0.2
    alpha: float = 0.05
    dequantizer: Dequantizer = field(default=VariationalDequantizer(dropout=0.2), kw_only=True)
    num_classes: int = 0

    def setup(self):
        super().setup()
        self.stages = [self._steps(count) for count in self.couplings]

    def _steps(self, count: int) -> list[Any]:
        network = functools.partial(
            GatedAttentionNet, self.features, self.blocks, self.heads, self.dropout
        )
        return mixture_steps(network, count, self.components)

    def forward(
        self, x: Float[Array, "B H W C"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z and log |det dz/dx|; x in [0, levels)."""
        y, (first, second, third) = self.one_hot(cond), self.stages
        x, log_slope = dequantize.to_logit(x, self.event.num_levels, self.alpha)
        total = jnp.sum(log_slope.reshape(len(x), -1), axis=-1)
        x, log_det = chain(first, column_pairs(x), train, y)
        total = total + log_det
        x, log_det = chain(second, pixel_blocks(columns(x)), train, y)
        total = total + log_det
        x, log_det = chain(third, column_pairs(x), train, y)
        return x.reshape(len(x), -1), total + log_det

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B H W C"]:
        """x, mostly in [0, levels]."""
        y, (first, second, third) = self.one_hot(cond), self.stages
        height, width, channels = self.event.shape
        x = z.reshape(-1, height // 2, width // 4, 8 * channels)
        x = unchain(second, columns(unchain(third, x, y)), y)
        x = columns(unchain(first, column_pairs(pixels(x)), y))
        return dequantize.from_logit(x, self.event.num_levels, self.alpha)

    def check(self) -> None:
        super().check()
        shape = self.event.shape
        require(
            len(shape) == 3 and shape[0] % 2 == 0 and shape[1] % 4 == 0,
            f"FlowPP needs images whose height 2 divides and whose width 4 divides, not {shape}",
        )
        require(
            self.features % self.heads == 0,
            f"heads {self.heads} must divide features {self.features}",
        )
        require(0 < self.alpha < 0.5, f"alpha must lie between 0 and 0.5, not {self.alpha}")
