"""VQ-VAE: log p(x) >= log p(z(x)) + log p(x | z(x)), where z(x) are the codes nearest to the encoder's outputs.

The loss is -log p(x | z) + |sg(z_e) - e|^2 + beta |z_e - sg(e)|^2; the decoder's gradient passes straight through to
the encoder (van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, equations 1 to 3). The code vectors e are
parameters, or moving averages (appendix A.1). The prior here is uniform: N codes cost N log K nats. `VQVAEPrior` learns
a prior.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_image, require_integers
from gen_jax.conditions import Cond, values_of
from gen_jax.density import bits_per_dim
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.baseline.uniform import Uniform
from gen_jax.models.staged import Stage, Staged
from gen_jax.nn.grids import GridDecoder, GridEncoder
from gen_jax.ops import vq
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Event, Metrics, PRNGKey, Scalar, Variables

COLLAPSED = 2.0  # least perplexity of a codebook that has not collapsed
EPSILON = 1e-5  # added to the share of each code, as a fraction of even use
INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=-1, out_axis=-2)


class Codebook(nn.Module):
    """`codes` vectors of `size` numbers: parameters if `decay` is None, else quotients of two moving averages.

    The averages are in the collection `codebook`; they start from random vectors and even use. A code whose share is
    below `restart` times even use restarts at an encoder output.
    """

    codes: int
    size: int
    decay: float | None
    restart: float

    def setup(self):
        shape = (self.codes, self.size)
        if self.decay is None:
            self.table = self.param("vectors", INIT, shape)
            return

        def even() -> Float[Array, " K"]:
            return jnp.full(self.codes, 1 / self.codes)

        def initial() -> Float[Array, "K D"]:
            return INIT(self.make_rng("params"), shape) / self.codes

        self.shares = self.variable("codebook", "shares", even)
        self.sums = self.variable("codebook", "sums", initial)

    @property
    def average(self) -> vq.Uses:
        """The moving averages."""
        return vq.Uses(self.shares.value, self.sums.value)

    @property
    def vectors(self) -> Float[Array, "K D"]:
        """The vector of every code."""
        if self.decay is None:
            return self.table
        return vq.vectors(self.average, EPSILON / self.codes)

    def nearest(self, z: Float[Array, "*batch D"]) -> Int[Array, "*batch"]:
        """The code of each vector."""
        return vq.nearest(z, self.vectors)

    def __call__(self, codes: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """The vector of each code."""
        return self.vectors[codes]

    def update(self, z: Float[Array, "N D"], used: vq.Uses, key: PRNGKey) -> None:
        """Move the averages towards the uses of a batch; whether a code restarts depends on earlier batches only.

        Under pmap the results are means over the devices: a restarted code is the mean of one vector from each.
        """
        before = self.average
        after = vq.averaged(before, used, self.decay or 0.0)
        if self.restart:
            dead = before.shares < self.restart / self.codes
            after = vq.restarted(after, dead, z, key)
        self.shares.value, self.sums.value = after


class Pixels(Autoregressive):
    """p(x | z) = prod_i p(x_i | z), conditioned on the codes z: one pass of the decoder gives all sites."""

    whole: "VQVAE"

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The codes z."""
        return (self.whole.code_event,)

    @property
    def head(self) -> Head:
        return self.whole.head

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        return np.arange(self.event.size).reshape(-1, self.whole.values)

    def __call__(
        self, x: Array, cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        return self._decoded(cond)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return np.zeros(self.num_sites, bool)

    def init_cache(self, n: int, cond: Cond = None) -> Float[Array, "n sites P"]:
        """The parameters of all sites."""
        return self._decoded(cond)

    def step(
        self, cache: Float[Array, "n sites P"], site: Int[Array, ""]
    ) -> tuple[Float[Array, "n sites P"], Float[Array, "n P"]]:
        return cache, cache[:, site]

    def write(
        self, cache: Float[Array, "n sites P"], site: Int[Array, ""], value: Int[Array, "n V"]
    ) -> Float[Array, "n sites P"]:
        return cache  # no other site depends on the values

    def sample(
        self,
        key: PRNGKey,
        n: int,
        cond: Cond = None,
        temperature: float | Scalar = 1.0,
    ) -> Int[Array, "n *event"]:
        x = self.head.sample(self._decoded(cond), key, temperature)
        return x.reshape(n, *self.event.shape)

    def _decoded(self, cond):
        (codes,) = values_of(cond)
        if codes is None:
            raise InputError("p(x | z) needs the codes z")
        return self.whole.decode_codes(codes)


class VQVAE(Staged):
    """Images (H, W, C). Each entry of `strided` halves the sides; `groups` codes stand at each place of the small grid.

    `blocks` and `residual`: number and hidden features of the residual blocks. `codes`: K. `size`: length of a code's
    vector. `mixtures` None: a softmax for each value, else that many logistics for a pixel. `decay` None: the codes are
    learned by their loss, else by moving averages. `restart`: a code restarts below this fraction of even use.
    """

    system: ClassVar[str] = "vq_vae"

    event: Event
    strided: tuple[int, ...] = (64, 128)
    blocks: int = 2
    residual: int = 32
    codes: int = 512
    size: int = 64
    groups: int = 1
    mixtures: int | None = None
    commitment: float = 0.25
    decay: float | None = 0.99
    restart: float = 0.0

    def setup(self):
        self.check()
        self.codebook = Codebook(self.codes, self.size, self.decay, self.restart)
        network = (self.strided, self.blocks, self.residual)
        self.encoder = GridEncoder(*network, self.groups * self.size)
        self.decoder = GridDecoder(*network)

    @property
    def code_event(self) -> Event:
        """The grid of codes as an event."""
        require_image(self.event, "vq_vae")
        high, wide = (side // 2 ** len(self.strided) for side in self.event.shape[:2])
        return Event((high, wide, self.groups), self.codes)

    @property
    def codebooks(self) -> dict[str, Event]:
        """The event of the codes."""
        return {"codes": self.code_event}

    @property
    def levels(self) -> int:
        return require_integers(self.event, "vq_vae")

    @property
    def values(self) -> int:
        """The number of values of a site: the channels of a pixel under a mixture, else 1."""
        return self.event.shape[-1] if self.mixtures else 1

    @property
    def head(self) -> Head:
        return head_for(self.levels, self.values, self.mixtures)

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The codes under the uniform prior; the image given the codes."""
        below = {name: {"whole": tree} for name, tree in variables.items()}
        pixels = Pixels(self.event, self.clone(parent=None), parent=None)
        codes = Uniform(self.code_event, parent=None)
        return Stage("codes", codes, {}), Stage("reconstruction", pixels, below, needs=(0,))

    def encode(self, x: Integer[Array, "B H W C"]) -> Float[Array, "B h w G D"]:
        """The encoder's outputs."""
        outputs = self.encoder(to_symmetric(x, self.levels))
        return outputs.reshape(*outputs.shape[:-1], self.groups, self.size)

    def decode(self, vectors: Float[Array, "B h w G D"]) -> Float[Array, "B sites P"]:
        """Parameters of every site."""
        outputs = self.event.shape[-1] // self.values * self.head.size
        z = vectors.reshape(*vectors.shape[:3], -1)
        params = self.decoder(z, self.event.shape[:2], outputs)
        return params.reshape(len(params), -1, self.head.size)

    def decode_codes(self, codes: Integer[Array, "B h w G"]) -> Float[Array, "B sites P"]:
        """Parameters of every site given codes."""
        return self.decode(self.codebook(codes))

    def parts(self, x: Integer[Array, "B H W C"]) -> tuple[Integer[Array, "B ..."], ...]:
        return self.codebook.nearest(self.encode(x)), x

    def codes_of(self, x: Integer[Array, "B H W C"]) -> dict[str, Integer[Array, "B h w G"]]:
        """The codes nearest to the encoder's outputs."""
        return {"codes": self.parts(x)[0]}

    def loss(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Equation 3 with means for sums: -log p(x | z) per dimension, squared errors per number of a vector.

        The weighting follows the authors' code. Also logged: nats per example, the bound in bits/dim, and the codes'
        perplexity and number in use in the batch (under pmap the means over the devices' parts of the batch).
        """
        del cond  # no classes
        outputs = self.encode(x)
        codes = self.codebook.nearest(outputs)
        vectors = self.codebook(codes)
        params = self.decode(vq.straight_through(outputs, vectors))
        values = x.reshape(len(x), -1, self.values)
        nats = -jnp.mean(jnp.sum(self.head.log_prob(params, values), axis=-1))
        commitment = vq.commitment_loss(outputs, vectors)
        loss = nats / self.event.size + self.commitment * commitment
        flat = outputs.reshape(-1, self.size)
        used = vq.uses(flat, codes.reshape(-1), self.codes)
        code_nats = self.code_event.size * math.log(self.codes)
        metrics = {
            "reconstruction": nats,
            "commitment": commitment,
            "perplexity": vq.perplexity(used.shares),
            "codes_in_use": jnp.sum(used.shares > 0).astype(nats.dtype),
            "bits_per_dim": bits_per_dim(nats + code_nats, self.event),
        }
        if self.decay is None:
            loss = loss + vq.codebook_loss(outputs, vectors)
        elif not self.is_initializing():
            self.codebook.update(flat, used, key)
        return loss, metrics

    def measure(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """The codes, and -log p(x | z) in nats."""
        del key, cond  # no noise, no classes
        return {
            "codes": self.parts(x)[0].reshape(len(x), -1),
            "reconstruction": -self.log_prob_stages(x)[1],
        }

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Mean -log p(x | z), perplexity and number of codes in use over the split; whether the codebook collapsed."""
        counts = np.bincount(measured["codes"].ravel(), minlength=self.codes)
        perplexity = float(vq.perplexity(jnp.asarray(counts / counts.sum())))
        findings = {}
        if perplexity < COLLAPSED:
            findings["codebook collapse"] = (
                f"codebook collapse: perplexity {perplexity:.2f} of {self.codes} codes; x is modelled without them,"
                " which a restart of dead codes can prevent"
            )
        scalars = {"reconstruction": float(measured["reconstruction"].mean())}
        scalars |= {"perplexity": perplexity, "codes_in_use": float(np.sum(counts > 0))}
        return scalars, findings

    def check(self) -> None:
        require_image(self.event, "vq_vae")
        require_integers(self.event, "vq_vae")
        height, width, _ = self.event.shape
        factor = 2 ** len(self.strided)
        require(
            bool(self.strided) and not (height % factor or width % factor),
            f"vq_vae halves images at least once and needs sides that {factor} divides, not {self.event.shape}",
        )
        require(
            min(self.size, self.groups, *self.strided) >= 1,
            "vq_vae needs size, groups and features of at least 1",
        )
        require(
            0 <= (self.decay or 0) < 1 and 0 <= self.restart < 1,
            "vq_vae needs decay and restart in [0, 1)",
        )
        require(
            self.decay is not None or not self.restart,
            "vq_vae restarts codes that follow by averages only: give it a decay",
        )
