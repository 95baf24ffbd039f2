"""A VAE with discrete latents: log p(x) >= E log (1/K sum_k p(x, z_k) / q(z_k | x)), trained by VIMCO.

z are bits or categorical variables, independent under a learned prior and under q(z | x). A draw of z has no derivative
in the parameters of q, so the gradient is that of the score function with a baseline for each draw, computed from the
other draws (Mnih and Rezende 2016, 1602.06725, equations 7 to 9; `estimators.VIMCO`). On a grid with one embedding for
all places this is the discrete model beside VQ-VAE (van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, section
4.1): the same encoder and decoder, with latents that are drawn and not the nearest codes.
"""

from typing import ClassVar

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.models.latent.estimators import VIMCO, Estimator
from gen_jax.models.latent.factorised import Factorised
from gen_jax.models.latent.losses import ImportanceWeighted
from gen_jax.ops.convolution import gathered
from gen_jax.ops.latents import Bernoulli, Categorical, Group


class DiscreteVAE(ImportanceWeighted, Factorised):
    """`latent` variables, at each place of `grid`, with `levels` values; two levels are bits.

    `size`: the decoder reads a vector of so many numbers for each value, learned and shared by all places; None is the
    number 1 or -1 of a bit.
    """

    system: ClassVar[str] = "vimco"

    latent: int = 200
    draws: int = 5
    estimator: Estimator = VIMCO()
    levels: int = 2
    size: int | None = None
    num_classes: int = 0

    @property
    def groups(self) -> tuple[Group, ...]:
        shape = (*self.places, self.latent)
        return (Bernoulli(shape) if self.levels == 2 else Categorical(shape, self.levels),)

    @property
    def outputs(self) -> int:
        return 1 if self.levels == 2 else self.levels

    def setup(self):
        super().setup()
        shape = (*self.places, self.latent * self.outputs)
        self.prior_logits = self.param("prior", nn.initializers.zeros, shape)
        if self.size is not None:
            init = nn.initializers.normal(1.0)
            self.vectors = self.param("vectors", init, (self.levels, self.size))

    def prior(self) -> Array:
        """The parameters of p(z), the same for every example."""
        return self._params(self.prior_logits)

    def encode(self, x: Integer[Array, "B *event"], cond: Cond = None) -> Array:
        """The parameters of q(z | x): logits of bits, or log-probabilities."""
        return self._params(self.posterior_of(x, cond))

    def embedded(self, z: Int[Array, "B *grid Z"]) -> Float[Array, "B *grid E"]:
        if self.size is None:
            return 2.0 * z - 1.0
        return gathered(self.vectors)[z].reshape(*z.shape[:-1], self.latent * self.size)

    def _params(self, logits: Float[Array, "*batch P"]) -> Array:
        if self.levels == 2:
            return logits
        logits = logits.reshape(*logits.shape[:-1], self.latent, self.levels)
        return jax.nn.log_softmax(logits, axis=-1)

    def check(self) -> None:
        super().check()
        require(self.levels >= 2, f"vimco needs levels of at least 2, not {self.levels}")
        require(
            self.levels == 2 or self.size is not None,
            "vimco needs the size of a value's vector for more than two levels",
        )
