"""Generative adversarial network: x = G(z), z ~ N(0, 1), min_G max_D E log D(x) + E log(1 - D(G(z))); no likelihood.

The generator minimises -E log D(G(z)): the same fixed point, and a gradient also where D is sure (Goodfellow et al.
2014, 1406.2661, section 3). With convolutional networks it is a DCGAN (Radford, Metz and Chintala 2016, 1511.06434).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Num

from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.errors import InputError
from gen_jax.nn.adversarial import (
    ConvDiscriminator,
    ConvGenerator,
    DenseDiscriminator,
    DenseGenerator,
)
from gen_jax.ops import adversarial as game
from gen_jax.ops.scaling import from_symmetric, to_symmetric
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class GAN(nn.Module):
    """Integers, as reals in [-1, 1] inside, or reals as they are. Both players step at once, on the same draws of z."""

    system: ClassVar[str] = "gan"

    event: Event
    latent: int = 64
    generator: DenseGenerator | ConvGenerator = DenseGenerator()
    discriminator: DenseDiscriminator | ConvDiscriminator = DenseDiscriminator()
    saturating: bool = False

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "none"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"

    def generate(
        self, key: PRNGKey, n: int, train: bool = False, temperature: float | Scalar = 1.0
    ) -> Float[Array, "n *event"]:
        """G(temperature z), in (-1, 1) for integers; InputError on no units of z."""
        if self.latent < 1:
            raise InputError(f"latent must be at least 1, not {self.latent}")
        z = temperature * jax.random.normal(key, (n, self.latent))
        x = self.generator(z, self.event.shape, train)
        return x if self.event.levels is None else jnp.tanh(x)

    def scaled(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        """What the discriminator sees of data."""
        if self.event.levels is None:
            return x.astype(jnp.result_type(float))
        return to_symmetric(x, self.event.levels)

    def judged(self, x: Float[Array, "B *event"]) -> Float[Array, " B"]:
        """logit D(x) with a gradient in x, none in D."""
        discriminator, variables = self.discriminator.unbind()
        logit: Any = discriminator.apply(stop_gradient(variables), x)
        return logit

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """-V(D, G) without a gradient in G, plus the generator's loss without one in D, nats an example."""
        del cond  # no classes
        fake = self.generate(fold_in(key, "z"), len(x), train=True)
        on_real, on_fake = (
            self.discriminator(self.scaled(x)),
            self.discriminator(stop_gradient(fake)),
        )
        of_discriminator = -game.value(on_real, on_fake)
        of_generator = game.generator_loss(self.judged(fake), self.saturating)
        return of_discriminator + of_generator, {
            "discriminator_loss": of_discriminator,
            "generator_loss": of_generator,
            "d_real": jnp.mean(nn.sigmoid(on_real)),
            "d_fake": jnp.mean(nn.sigmoid(on_fake)),
        }

    def log_prob(
        self, x: Num[Array, "B *event"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        """InputError: there is none."""
        raise InputError(
            "a gan has no likelihood: its samples have a distribution, which it cannot evaluate"
        )

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """G(temperature z) by the running statistics, the nearest level where the event is of integers."""
        del cond  # no classes
        x = self.generate(key, n, temperature=temperature)
        return x if self.event.levels is None else from_symmetric(x, self.event.levels)

    def measure(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> dict[str, Array]:
        """Logits of data and of as many samples."""
        del cond  # no classes
        fake = self.generate(key, len(x))
        return {"real": self.judged(self.scaled(x)), "fake": self.judged(fake)}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Means of D and both losses; D that knows only training data shows in `d_real`. No findings."""
        real, fake = (jnp.asarray(measured[name]) for name in ("real", "fake"))
        found = {
            "discriminator_loss": -game.value(real, fake),
            "generator_loss": game.generator_loss(fake, self.saturating),
            "d_real": jnp.mean(nn.sigmoid(real)),
            "d_fake": jnp.mean(nn.sigmoid(fake)),
        }
        return {name: float(number) for name, number in found.items()}, {}
