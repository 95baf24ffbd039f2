"""Generative adversarial network: x = G(z), z ~ N(0, 1), min_G max_D V(D, G) = E log D(x) + E log(1 - D(G(z))).

There is no likelihood. For data with the distribution p and a fixed G whose samples have the distribution q, the best D
has the logit log p - log q, and V is then 2 JSD(p, q) - log 4 (Goodfellow et al. 2014, 1406.2661, equation 1,
proposition 1, theorem 1). The generator minimises -E log D(G(z)), which has the same fixed point and a gradient also
where D(G(z)) is near 0 (section 3).

With a gradient penalty D is the critic of WGAN-GP: min_G max_D E D(x) - E D(G(z)) over functions D of slope at most 1
is the Wasserstein distance of p and q. The penalty E (|grad D(y)| - 1)^2 holds the slope near 1 at points y between
data and samples (Gulrajani et al. 2017, 1704.00028, equation 3 and algorithm 1).

The convolutional networks are those of DCGAN: strides instead of pooling, batch normalisation except in the
generator's output and the discriminator's input, weights from N(0, 0.02^2) (Radford, Metz and Chintala 2016,
1511.06434).
"""

import math
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Num

from gen_jax.check import require
from gen_jax.conditions import Cond, one_hot
from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.errors import InputError
from gen_jax.nn.conv import Conv, ConvTranspose, Dense
from gen_jax.ops.scaling import from_symmetric, to_symmetric
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar

INIT = nn.initializers.normal(0.02)
SLOPE = 0.2  # slope of the leaky rectifiers below zero
EPSILON = 1e-5  # added to a variance
TINY = 1e-12  # added to a squared slope, so that its root has a gradient at 0


def value_function(
    real: Float[Array, " n"],
    fake: Float[Array, " m"],
    p: Float[Array, " n"] | None = None,
    q: Float[Array, " m"] | None = None,
) -> Scalar:
    """V(D, G) in nats from the logits of D on data and on samples; `p` and `q`, if given, weight the examples."""
    true, false = jax.nn.log_sigmoid(real), jax.nn.log_sigmoid(-fake)
    return jnp.average(true, weights=p) + jnp.average(false, weights=q)


def generator_loss(fake: Float[Array, " m"], saturating: bool = False) -> Scalar:
    """-E log D(G(z)), or if `saturating` E log(1 - D(G(z))), whose gradient vanishes where D(G(z)) is near 0; nats."""
    if saturating:
        return jnp.mean(jax.nn.log_sigmoid(-fake))
    return -jnp.mean(jax.nn.log_sigmoid(fake))


def critic_value(real: Float[Array, " n"], fake: Float[Array, " m"]) -> Scalar:
    """E D(x) - E D(G(z)): a lower bound of the Wasserstein distance if D has slope at most 1."""
    return jnp.mean(real) - jnp.mean(fake)


class DenseGenerator(nn.Module):
    """Rectified layers and a linear map to all values."""

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], shape: tuple[int, ...], train: bool
    ) -> Float[Array, "B *event"]:
        del train  # no normalisation, no dropout
        for features in self.hidden:
            z = nn.relu(Dense(features)(z))
        return Dense(math.prod(shape))(z).reshape(z.shape[0], *shape)


class DenseDiscriminator(nn.Module):
    """Leaky rectified layers over the flattened event, and over the vector y beside it."""

    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *event"], y: Float[Array, "B K"] | None = None
    ) -> Float[Array, " B"]:
        """The logit of D(x)."""
        x = x.reshape(x.shape[0], -1)
        x = x if y is None else jnp.concatenate([x, y], axis=-1)
        for features in self.hidden:
            x = nn.leaky_relu(Dense(features)(x), SLOPE)
        return Dense(1)(x)[:, 0]


class ConvGenerator(nn.Module):
    """A linear map to the coarsest image, then transposed 4x4 convolutions of stride 2, one for each of `features`."""

    features: tuple[int, ...] = (128, 64)

    @nn.compact
    def __call__(
        self, z: Float[Array, "B Z"], shape: tuple[int, ...], train: bool
    ) -> Float[Array, "B H W C"]:
        factor = 2 ** len(self.features)
        height, width, channels = (shape[0] // factor, shape[1] // factor, shape[2])
        x = Dense(height * width * self.features[0], kernel_init=INIT, use_bias=False)(z)
        x = x.reshape(z.shape[0], height, width, -1)
        for features in self.features[1:]:
            x = nn.relu(BatchNorm()(x, train))
            x = ConvTranspose(features, (4, 4), 2, kernel_init=INIT, use_bias=False)(x)
        x = nn.relu(BatchNorm()(x, train))
        return ConvTranspose(channels, (4, 4), 2, kernel_init=INIT)(x)


class ConvDiscriminator(nn.Module):
    """4x4 convolutions of stride 2, one for each of `features`, then a linear map.

    With "batch" normalisation it always takes the statistics of its batch, so real and generated examples come in
    separate batches; with "layer" those of an example (Ba et al. 2016, 1607.06450). A vector y is appended to the
    channels of every pixel.
    """

    features: tuple[int, ...] = (64, 128)
    normalisation: Literal["batch", "layer"] = "batch"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], y: Float[Array, "B K"] | None = None
    ) -> Float[Array, " B"]:
        """The logit of D(x)."""
        if y is not None:
            planes = jnp.broadcast_to(y[:, None, None], (*x.shape[:-1], y.shape[-1]))
            x = jnp.concatenate([x, planes], axis=-1)
        for index, features in enumerate(self.features):
            x = Conv(features, (4, 4), 2, kernel_init=INIT, use_bias=index == 0)(x)
            x = nn.leaky_relu(x if index == 0 else self._normalised(x), SLOPE)
        return Dense(1, kernel_init=INIT)(x.reshape(x.shape[0], -1))[:, 0]

    def _normalised(self, x: Float[Array, "B h w F"]) -> Float[Array, "B h w F"]:
        if self.normalisation == "batch":
            return BatchNorm(decay=None)(x, train=True)
        return nn.LayerNorm(EPSILON, reduction_axes=(1, 2, 3), use_fast_variance=False)(x)


class BatchNorm(nn.Module):
    """y = scale (x - m) / sqrt(v + 1e-5) + bias, m and v over all axes but the features'.

    In training m and v are the mean and variance of the batch, and running means in the collection `batch_stats` move
    towards them by 1 - `decay`. In evaluation they are the running means. With `decay` None they are always those of
    the batch. Under `jax.jit` that is the global batch, under pmap each device's rows (Ioffe and Szegedy 2015,
    1502.03167, algorithm 1).
    """

    decay: float | None = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"], train: bool) -> Float[Array, "*batch F"]:
        features, axes = x.shape[-1:], tuple(range(x.ndim - 1))
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        batch = jnp.mean(x, axis=axes), jnp.var(x, axis=axes)
        mean, var = batch
        if self.decay is not None:
            running = (
                self.variable("batch_stats", "mean", jnp.zeros, features),
                self.variable("batch_stats", "var", jnp.ones, features),
            )
            if not train:
                mean, var = (variable.value for variable in running)
            elif not self.is_initializing():
                for old, new in zip(running, batch, strict=True):
                    old.value = self.decay * old.value + (1.0 - self.decay) * new
        return (x - mean) * jnp.sqrt(var + EPSILON) ** -1 * scale + bias


class GAN(nn.Module):
    """Integers, scaled to [-1, 1], or reals. Generator and discriminator step together, on the same draws of z.

    `gradient_penalty`: its weight in WGAN-GP, 10 in the paper; None for the game of log D. The paper's five steps of D
    for one of G are `OptimizerGroups.every`; unlike there, G steps at the weights of D before its fifth step.

    With classes G reads the one-hot class beside z, and D beside x (Mirza and Osindero 2014, 1411.1784, equation 2).
    """

    system: ClassVar[str] = "gan"

    event: Event
    latent: int = 64
    generator: DenseGenerator | ConvGenerator = DenseGenerator()
    discriminator: DenseDiscriminator | ConvDiscriminator = DenseDiscriminator()
    saturating: bool = False
    gradient_penalty: float | None = None

    num_classes: int = 0
    kind: ClassVar[Kind] = "none"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"

    @property
    def followed(self) -> int:
        """The number of samples of one fixed noise in the report: 16 images, or 1,000 points."""
        return 1000 if self.event.shape == (2,) else 16

    @property
    def critic(self) -> bool:
        """Whether D is a critic; otherwise it is the logit of a probability."""
        return self.gradient_penalty is not None

    def setup(self):
        self.check()

    def generate(
        self,
        key: PRNGKey,
        n: int,
        train: bool = False,
        temperature: float | Scalar = 1.0,
        cond: Cond = None,
    ) -> Float[Array, "n *event"]:
        """G(temperature z), in (-1, 1) for integers."""
        z = temperature * jax.random.normal(key, (n, self.latent))
        z = jnp.concatenate([z, *one_hot(self, cond)], axis=-1) if self.num_classes else z
        x = self.generator(z, self.event.shape, train)
        return x if self.event.levels is None else jnp.tanh(x)

    def scaled(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        """Data as the discriminator reads them."""
        if self.event.levels is None:
            return x.astype(jnp.result_type(float))
        return to_symmetric(x, self.event.levels)

    def judged(self, x: Float[Array, "B *event"], cond: Cond = None) -> Float[Array, " B"]:
        """The logit of D(x), with a gradient in x and none in the weights of D."""
        discriminator, variables = self.discriminator.unbind()
        logit: Any = discriminator.apply(stop_gradient(variables), x, *one_hot(self, cond))
        return logit

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """-V(D, G), with gradients in D only, plus the generator's loss, with gradients in G only; nats an example."""
        fake = self.generate(fold_in(key, "z"), len(x), train=True, cond=cond)
        on_real = self.discriminator(self.scaled(x), *one_hot(self, cond))
        on_fake = self.discriminator(stop_gradient(fake), *one_hot(self, cond))
        judged, slopes, weight = self.judged(fake, cond), {}, self.gradient_penalty
        if weight is not None:
            share = jax.random.uniform(fold_in(key, "between"), (len(x), *(1,) * (x.ndim - 1)))
            between = share * self.scaled(x) + (1 - share) * stop_gradient(fake)
            slope = self.slope(between, cond)
            slopes = {"penalty": jnp.mean((slope - 1) ** 2), "slope": jnp.mean(slope)}
        metrics = self.metrics(on_real, on_fake, judged)
        loss_of_d, loss_of_g = metrics["discriminator_loss"], metrics["generator_loss"]
        if weight is not None:
            loss_of_d = loss_of_d + weight * slopes["penalty"]
        return loss_of_d + loss_of_g, metrics | slopes

    def slope(self, x: Float[Array, "B *event"], cond: Cond = None) -> Float[Array, " B"]:
        """|grad D| at each x, with a gradient in the weights of D."""
        discriminator, variables = self.discriminator.unbind()

        def total(x: Float[Array, "B *event"]) -> Scalar:
            scores: Any = discriminator.apply(variables, x, *one_hot(self, cond))
            return jnp.sum(scores)

        gradient = jax.grad(total)(x).reshape(len(x), -1)
        return jnp.sqrt(jnp.sum(gradient**2, axis=-1) + TINY)

    def metrics(
        self, real: Float[Array, " n"], fake: Float[Array, " m"], judged: Float[Array, " m"]
    ) -> Metrics:
        """Both losses, and the means of D, or with a critic the difference of its means, `wasserstein`.

        `judged` has the values of `fake`, but its gradient is in G.
        """
        if self.critic:
            value = critic_value(real, fake)
            return {
                "discriminator_loss": -value,
                "generator_loss": -jnp.mean(judged),
                "wasserstein": value,
            }
        return {
            "discriminator_loss": -value_function(real, fake),
            "generator_loss": generator_loss(judged, self.saturating),
            "d_real": jnp.mean(nn.sigmoid(real)),
            "d_fake": jnp.mean(nn.sigmoid(fake)),
        }

    def log_prob(
        self, x: Num[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """InputError: a GAN has no likelihood."""
        raise InputError(
            "a gan has no likelihood: its samples have a distribution, which it cannot evaluate"
        )

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """G(temperature z) with the running statistics; for integers rounded to the nearest level."""
        x = self.generate(key, n, temperature=temperature, cond=cond)
        return x if self.event.levels is None else from_symmetric(x, self.event.levels)

    def measure(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """Logits of D on data and on an equal number of samples."""
        fake = self.generate(key, len(x), cond=cond)
        return {"real": self.judged(self.scaled(x), cond), "fake": self.judged(fake, cond)}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """`metrics` of a whole split; a low `d_real` shows that D recognises only its training data. No findings."""
        real, fake = (jnp.asarray(measured[name]) for name in ("real", "fake"))
        scalars = self.metrics(real, fake, fake)
        return {name: float(number) for name, number in scalars.items()}, {}

    def check(self) -> None:
        require(self.latent >= 1, f"latent must be at least 1, not {self.latent}")
        penalty = self.gradient_penalty
        require(penalty is None or penalty > 0, f"gradient_penalty must be above 0, not {penalty}")
        require(
            penalty is None or not self.saturating,
            "saturating is for the game of log D, not for a gradient penalty",
        )
        require(
            penalty is None or getattr(self.discriminator, "normalisation", "layer") == "layer",
            'a gradient penalty is of each example alone: set discriminator.normalisation to "layer"',
        )
        shape = self.event.shape
        for network in (self.generator, self.discriminator):
            if isinstance(network, ConvGenerator | ConvDiscriminator):
                layers, factor = len(network.features), 2 ** len(network.features)
                require(
                    layers > 0 and len(shape) == 3 and not any(side % factor for side in shape[:2]),
                    f"a convolutional network of {layers} layers needs at least one layer and images whose sides"
                    f" {factor} divides, not {shape}",
                )
