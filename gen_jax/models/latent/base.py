"""The evidence lower bound, for every model with a Gaussian latent vector.

log p(x) = log E_q(z|x) w >= E log (1/K sum_k w_k), w = p(x | z) p(z) / q(z | x), with p(z) = N(0, I) and
q(z | x) = N(m(x), s(x)^2) (Kingma and Welling 2013, 1312.6114, equation 3 for K = 1; Burda, Grosse and Salakhutdinov
2015, 1509.00519, equation 8). A subclass defines p(x | z). Likelihood, sampling and diagnosis are written here.

The loss may weight the KL term; the bound never does. At training step t the loss is
    E_q -log p(x | z) + beta min(1, t / annealing) sum_g max(free_bits, KL_g),
where KL_g is the sum over the latent units of group g.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require, require_integers, require_key
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.nn.encoders import DenseEncoder, require_vectors
from gen_jax.ops import gaussian
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.ops.scaling import to_unit
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar

VALUES_AT_ONCE = 2**21  # draws x examples x dimensions in one chunk
ACTIVE = 0.01  # least variance of E[z | x] over the data of an active unit (Burda et al. 2015, section 5)
COLLAPSED = 0.1  # greatest KL of a collapsed posterior, nats


@dataclass(frozen=True)
class KLTerm:
    """The weight of the KL in the loss: it grows to `beta` (Higgins et al. 2017) over `annealing` steps.

    (Bowman et al. 2015, 1511.06349; 0: `beta` from the first step.) `free_bits` is the least KL, in nats, that counts
    for each of `groups` groups of equal size (Kingma et al. 2016, 1606.04934, equation 15).
    """

    beta: float = 1.0
    annealing: int = 0
    free_bits: float = 0.0
    groups: int = 1

    def __post_init__(self):
        if min(self.beta, self.annealing, self.free_bits) < 0 or self.groups < 1:
            raise InputError("kl needs beta, annealing and free_bits >= 0 and groups >= 1")

    def weight(self, step: Int[Array, ""] | int) -> Float[Array, ""]:
        """beta min(1, step / annealing)."""
        return self.beta * jnp.minimum(1.0, step / self.annealing if self.annealing else 1.0)

    def floored(self, kl: Float[Array, " Z"]) -> Float[Array, ""]:
        """sum_g max(free_bits, KL_g) from the mean KL of each unit; no gradient below the floor."""
        groups = jnp.sum(kl.reshape(self.groups, -1), axis=1)
        return jnp.sum(jnp.maximum(groups, self.free_bits))


class GaussianLatent(nn.Module):
    """A probability mass over integers with a latent vector of `latent` units.

    `encoder` is any Linen module from values in [0, 1], (B, *event), to features (B, F); some are in `nn/encoders.py`.
    At validation `measure` and `diagnosis` log KL, reconstruction and active units, and report posterior collapse.
    """

    event: Event
    latent: int = 50
    encoder: nn.Module = DenseEncoder()

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "bound"
    codec: ClassVar[Codec] = "bits_back"
    loss_per: ClassVar[LossPer] = "example"

    @property
    def latents(self) -> Event:
        """z: reals with the prior N(0, I)."""
        return Event((self.latent,))

    @property
    def given(self) -> Any:
        """p(x | z) in the stepping interface of `autoregressive.base.Autoregressive`, with z as the condition."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def order(self, z: Float[Array, "B Z"]) -> Int[Array, "B D"]:
        """Positions of the event in the order of `given`: here unchanged."""
        return jnp.broadcast_to(jnp.arange(self.event.size), (len(z), self.event.size))

    def setup(self):
        self.check()
        self.posterior = nn.Dense(2 * self.latent)

    def log_likelihood(
        self, x: Integer[Array, "B *event"], z: Float[Array, "B Z"], train: bool = False
    ) -> Nats:
        """log p(x | z) in nats."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def draw(
        self, z: Float[Array, "B Z"], key: PRNGKey, temperature: float | Scalar = 1.0
    ) -> Int[Array, "B *event"]:
        """A draw of x from p(x | z)."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def encode(
        self, x: Integer[Array, "B *event"]
    ) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and log of the standard deviation of q(z | x); InputError if the encoder gives no vectors."""
        features = self.encoder(to_unit(x, self.event.num_levels))
        require_vectors(self.encoder, features, len(x))
        mean, log_scale = jnp.split(self.posterior(features), 2, axis=-1)
        return mean, log_scale

    def log_weights(
        self,
        x: Integer[Array, "B *event"],
        mean: Float[Array, "B Z"],
        log_scale: Float[Array, "B Z"],
        noise: Float[Array, "K B Z"],
        train: bool = False,
    ) -> tuple[Float[Array, "K B"], Float[Array, "K B"]]:
        """log p(x | z) and log p(z) - log q(z | x) at z = mean + exp(log_scale) noise; their sum is log w."""
        z = gaussian.sample(mean, log_scale, noise)
        log_q = gaussian.log_prob(noise) - log_scale
        ratio = jnp.sum(gaussian.log_prob(z) - log_q, axis=-1)
        tiled = jnp.broadcast_to(x, (len(noise), *x.shape)).reshape(-1, *x.shape[1:])
        likelihood = self.log_likelihood(tiled, z.reshape(-1, self.latent), train)
        return likelihood.reshape(ratio.shape), ratio

    def noise(self, key: PRNGKey, number: Int[Array, " K"], examples: int) -> Float[Array, "K B Z"]:
        """Standard normal noise for the draws with these numbers; each depends on the key and its number only."""
        normal = functools.partial(jax.random.normal, shape=(examples, self.latent))
        return jax.vmap(lambda k: normal(fold_in(key, k)))(number)

    def log_prob(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Array | None = None,
        draws: int = 1,
    ) -> Nats:
        """The bound with `draws` importance samples, nats; memory does not grow with them."""
        key = require_key(key, type(self).__name__)
        del cond  # no classes
        module, variables = self.unbind()
        mean, log_scale = self.encode(x)

        def log_weights(number: Int[Array, " k"]) -> Float[Array, "k B"]:
            noise = self.noise(key, number, len(x))
            parts = module.apply(variables, x, mean, log_scale, noise, method="log_weights")
            return parts[0] + parts[1]

        chunk = max(1, VALUES_AT_ONCE // (len(x) * self.event.size))
        return importance_weighted_bound_in_chunks(log_weights, draws, chunk)

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """z from N(0, temperature^2 I), then x from p(x | z)."""
        del cond  # no classes
        z = temperature * jax.random.normal(fold_in(key, "z"), (n, self.latent))
        return self.draw(z, fold_in(key, "x"), temperature)

    def reconstruct(self, x: Integer[Array, "B *event"], key: PRNGKey) -> Int[Array, "B *event"]:
        """x from p(x | z) at z = E[z | x]."""
        return self.draw(self.encode(x)[0], key)

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> dict[str, Array]:
        """KL in closed form and -log p(x | z) at one draw of z, both in nats, and E[z | x]."""
        del cond  # no classes
        mean, log_scale = self.encode(x)
        noise = self.noise(key, jnp.arange(1), len(x))
        likelihood, _ = self.log_weights(x, mean, log_scale, noise)
        kl = jnp.sum(gaussian.kl_to_standard(mean, log_scale), axis=-1)
        return {"kl": kl, "reconstruction": -likelihood[0], "mean": mean}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Mean KL and reconstruction, and the number of active units, whose E[z | x] has a variance above 0.01."""
        active = int(np.sum(np.var(measured["mean"], axis=0) > ACTIVE))
        scalars = {name: float(measured[name].mean()) for name in ("kl", "reconstruction")}
        findings = {}
        if not active and scalars["kl"] < COLLAPSED:
            findings["posterior collapse"] = (
                f"posterior collapse: KL {scalars['kl']:.3f} nats, none of {self.latent} units active; x is modelled"
                " without z, which free bits or annealing of the KL can prevent"
            )
        return {**scalars, "active_units": float(active)}, findings

    def check(self) -> None:
        require_integers(self.event, type(self).__name__)
        require(self.latent >= 1, f"latent must be at least 1, not {self.latent}")


class KLWeighted(GaussianLatent):
    """The loss with one draw of z and the KL in closed form, weighted by `kl`; `log_prob` is the plain bound."""

    kl: KLTerm = KLTerm()

    def setup(self):
        super().setup()
        if self.kl.annealing:
            self.step = self.variable("schedule", "step", jnp.zeros, (), jnp.int32)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(x | z) plus the weighted KL, nats an example; the logged bits/dim and `kl` are unweighted."""
        del cond  # no classes
        mean, log_scale = self.encode(x)
        noise = self.noise(key, jnp.arange(1), len(x))
        likelihood, _ = self.log_weights(x, mean, log_scale, noise, train=True)
        units = jnp.mean(gaussian.kl_to_standard(mean, log_scale), axis=0)
        reconstruction, kl = -jnp.mean(likelihood), jnp.sum(units)
        weight = self.kl.weight(self.step.value if self.kl.annealing else 0)
        metrics = {"reconstruction": reconstruction, "kl": kl, "kl_weight": weight}
        metrics["bits_per_dim"] = bits_per_dim(reconstruction + kl, self.event)
        return reconstruction + weight * self.kl.floored(units), metrics

    def check(self) -> None:
        super().check()
        require(
            self.latent % self.kl.groups == 0,
            f"{self.latent} units do not split into kl.groups = {self.kl.groups}",
        )
