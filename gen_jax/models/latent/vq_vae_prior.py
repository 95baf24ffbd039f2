"""VQ-VAE with a learned prior: log p(x) >= log p(z(x)) + log p(x | z(x)), p(z) autoregressive over the grid of codes.

This is the second stage of van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, section 3.3: encoder, codebook and
decoder are those of a trained `VQVAE` and are not trained further.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.density import bits_per_dim, functional
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.latent.vq_vae import VQVAE
from gen_jax.models.staged import Stage, Staged
from gen_jax.typing import Event, Metrics, PRNGKey, Scalar, Variables


class VQVAEPrior(Staged):
    """`first`: the trained model, frozen. `prior`: any autoregressive model of its codes, with or without classes."""

    system: ClassVar[str] = "vq_vae_prior"

    first: VQVAE
    prior: Autoregressive

    @property
    def event(self) -> Event:
        """The images of the first stage."""
        return self.first.event

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The classes of the prior."""
        return self.prior.num_classes

    @property
    def codebooks(self) -> dict[str, Event]:
        """The event of the first stage's codes."""
        return self.first.codebooks

    def setup(self):
        self.check()
        first = functional(self.first.clone(parent=None))
        blank = jnp.zeros((1, *self.event.shape), jnp.int32)
        self.frozen = self.variable(
            "frozen", "first_stage", lambda: first.init(self.make_rng("params"), blank)
        )

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The codes under the prior; the image given the codes."""
        of_prior = {name: tree["prior"] for name, tree in variables.items() if "prior" in tree}
        _, pixels = self.first.clone(parent=None).stages(variables["frozen"]["first_stage"])
        return Stage("codes", self.prior.clone(parent=None), of_prior), pixels

    def parts(self, x: Integer[Array, "B H W C"]) -> tuple[Integer[Array, "B ..."], ...]:
        parts: Any = self.first.clone(parent=None).apply(self.frozen.value, x, method="parts")
        return parts

    def codes_of(self, x: Integer[Array, "B H W C"]) -> dict[str, Integer[Array, "B h w G"]]:
        """The first stage's codes of x."""
        return {"codes": self.parts(x)[0]}

    def loss(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """The loss of the prior on the codes, nats per code. Metrics: both stages in nats, the bound in bits/dim."""
        codes, _ = self.parts(x)
        loss, _ = self.prior.loss(codes, key, cond)
        code_nats = loss * self.first.code_event.size
        _, pixels = self.first.clone(parent=None).stages(self.frozen.value)
        log_p = pixels.model.apply(pixels.variables, x, None, codes, method="log_prob")
        reconstruction = -jnp.mean(log_p)
        metrics = {"codes": code_nats, "reconstruction": reconstruction}
        metrics["bits_per_dim"] = bits_per_dim(code_nats + reconstruction, self.event)
        return loss, metrics

    def check(self) -> None:
        require(
            self.prior.event == self.first.code_event,
            f"model.prior is a model of {self.prior.event}, the first stage's codes are {self.first.code_event}",
        )
