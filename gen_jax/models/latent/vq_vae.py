"""VQ-VAE: log p(x) >= log p(z(x)) + log p(x | z(x)), z(x) the codes nearest to the encoder's outputs.

Loss -log p(x | z) + |sg(z_e) - e|^2 + beta |z_e - sg(e)|^2 with the decoder's gradient straight through to the encoder
(van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, equations 1 to 3), or the codes by averages (appendix A.1).
By itself its prior is uniform: N codes cost N log K.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_image, require_integers
from gen_jax.density import bits_per_dim
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.baseline.uniform import Uniform
from gen_jax.models.latent.staged import Stage, Staged
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.ops import vq
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Event, Metrics, PRNGKey, Scalar, Variables

COLLAPSED = 2.0  # perplexity
EPSILON = 1e-5  # of even use, added to the share of each code
INIT = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=-1, out_axis=-2)


class ResidualStack(nn.Module):
    """x + (ReLU, 3x3 to `hidden`, ReLU, 1x1 back) `blocks` times, then ReLU."""

    blocks: int
    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W F"]) -> Float[Array, "B H W F"]:
        """As many features as came in."""
        for _ in range(self.blocks):
            h = nn.relu(Conv(self.hidden, (3, 3))(nn.relu(x)))
            x = x + Conv(x.shape[-1], (1, 1))(h)
        return nn.relu(x)


class GridEncoder(nn.Module):
    """4x4 convolutions of stride 2 under ReLU, a 3x3, residual blocks, a 1x1 to the outputs."""

    strided: tuple[int, ...]
    blocks: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        """The image halved once for each entry of `strided`."""
        for features in self.strided:
            x = nn.relu(Conv(features, (4, 4), stride=2)(x))
        x = Conv(self.strided[-1], (3, 3))(x)
        return Conv(self.outputs, (1, 1))(ResidualStack(self.blocks, self.hidden)(x))


class GridDecoder(nn.Module):
    """The mirror image: a 3x3, residual blocks, transposed 4x4 convolutions of stride 2, the last to the outputs."""

    strided: tuple[int, ...]
    blocks: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, z: Float[Array, "B h w D"]) -> Float[Array, "B H W O"]:
        """The grid doubled once for each entry of `strided`."""
        z = ResidualStack(self.blocks, self.hidden)(Conv(self.strided[-1], (3, 3))(z))
        for features in self.strided[-2::-1]:
            z = nn.relu(ConvTranspose(features, (4, 4), stride=2)(z))
        return ConvTranspose(self.outputs, (4, 4), stride=2)(z)


class Codebook(nn.Module):
    """`codes` vectors of `size` numbers; `decay` None makes them parameters.

    Else they are quotients of averages in the collection `codebook`, which begin at the initial vectors under even use.
    Codes used less than `restart` times even use begin anew.
    """

    codes: int
    size: int
    decay: float | None
    restart: float

    def setup(self):
        """Declare parameters or averages."""
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
        """The averages that the codes follow."""
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
        """Average in a batch of vectors and their `used`; whether a code is dead depends on the batches before.

        Devices that saw parts of the batch average their results, a restarted code the vectors that each has drawn.
        """
        before = self.average
        after = vq.averaged(before, used, self.decay or 0.0)
        if self.restart:
            dead = before.shares < self.restart / self.codes
            after = vq.restarted(after, dead, z, key)
        self.shares.value, self.sums.value = after


class Pixels(Autoregressive):
    """p(x | z) = prod_i p(x_i | z), conditioned on codes: one pass of the decoder gives all sites."""

    whole: "VQVAE"

    @property
    def condition(self) -> Event:
        """The codes."""
        return self.whole.code_event

    @property
    def head(self) -> Head:
        """The head of the VQ-VAE."""
        return self.whole.head

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Pixels, or single values, in raster order."""
        return np.arange(self.event.size).reshape(-1, self.whole.values)

    def __call__(
        self, x: Array, cond: Integer[Array, "B h w G"] | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters given the codes, whatever x is."""
        return self._decoded(cond)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """No site depends on another."""
        return np.zeros(self.num_sites, bool)

    def init_cache(
        self, n: int, cond: Integer[Array, "n h w G"] | None = None
    ) -> Float[Array, "n sites P"]:
        """The parameters of all sites, from one pass of the decoder."""
        return self._decoded(cond)

    def step(
        self, cache: Float[Array, "n sites P"], site: Int[Array, ""]
    ) -> tuple[Float[Array, "n sites P"], Float[Array, "n P"]]:
        """Read one site."""
        return cache, cache[:, site]

    def write(
        self, cache: Float[Array, "n sites P"], site: Int[Array, ""], value: Int[Array, "n V"]
    ) -> Float[Array, "n sites P"]:
        """The cache as it is: nothing depends on the values."""
        return cache

    def sample(
        self,
        key: PRNGKey,
        n: int,
        cond: Integer[Array, "n h w G"] | None = None,
        temperature: float | Scalar = 1.0,
    ) -> Int[Array, "n *event"]:
        """All sites at once."""
        x = self.head.sample(self._decoded(cond), key, temperature)
        return x.reshape(n, *self.event.shape)

    def _decoded(self, codes):
        if codes is None:
            raise InputError("p(x | z) needs the codes z")
        return self.whole.decode_codes(codes)


class VQVAE(Staged):
    """Images (H, W, C); each entry of `strided` halves the sides. `groups` codes of one codebook stand at a place.

    `blocks`, `residual`: of the residual stacks. `codes` K, `size`: numbers of a code's vector. `mixtures` None is a
    softmax for each value, else they are logistics for a pixel. `decay` None learns the codes by their loss; `restart`
    is the share of even use below which a code begins anew.
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
        """Declare encoder, codebook and decoder."""
        self.check()
        self.codebook = Codebook(self.codes, self.size, self.decay, self.restart)
        network = (self.strided, self.blocks, self.residual)
        self.encoder = GridEncoder(*network, self.groups * self.size)
        sites = self.event.shape[-1] // self.values
        self.decoder = GridDecoder(*network, sites * self.head.size)

    @property
    def code_event(self) -> Event:
        """The grid of codes."""
        require_image(self.event, "vq_vae")
        high, wide = (side // 2 ** len(self.strided) for side in self.event.shape[:2])
        return Event((high, wide, self.groups), self.codes)

    @property
    def levels(self) -> int:
        """Number of levels of each value."""
        return require_integers(self.event, "vq_vae")

    @property
    def values(self) -> int:
        """Values of a site: a pixel's channels under a mixture, else one."""
        return self.event.shape[-1] if self.mixtures else 1

    @property
    def head(self) -> Head:
        """The distribution of a site's values."""
        return head_for(self.levels, self.values, self.mixtures)

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """Codes under the uniform prior; the image given the codes."""
        given = {name: {"whole": tree} for name, tree in variables.items()}
        pixels = Pixels(self.event, self.clone(parent=None), parent=None)
        return Stage(Uniform(self.code_event, parent=None), {}), Stage(pixels, given)

    def encode(self, x: Integer[Array, "B H W C"]) -> Float[Array, "B h w G D"]:
        """The encoder's outputs."""
        outputs = self.encoder(to_symmetric(x, self.levels))
        return outputs.reshape(*outputs.shape[:-1], self.groups, self.size)

    def decode(self, vectors: Float[Array, "B h w G D"]) -> Float[Array, "B sites P"]:
        """Parameters of every site."""
        params = self.decoder(vectors.reshape(*vectors.shape[:3], -1))
        return params.reshape(len(params), -1, self.head.size)

    def decode_codes(self, codes: Integer[Array, "B h w G"]) -> Float[Array, "B sites P"]:
        """Parameters of every site given codes."""
        return self.decode(self.codebook(codes))

    def parts(self, x: Integer[Array, "B H W C"]) -> tuple[Integer[Array, "B *of"], ...]:
        """The codes and the image."""
        return self.codebook.nearest(self.encode(x)), x

    def loss(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Equation 3 by means: nats per dimension of x given its codes, squares per number of the vectors.

        The weighting follows the authors' code. Also logged: nats per example, the bound in bits/dim, perplexity of the
        batch and the number of codes in use; under pmap these two are means over the devices' parts of the batch.
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
        metrics = {
            "reconstruction": nats,
            "commitment": commitment,
            "perplexity": vq.perplexity(used.shares),
            "codes_in_use": jnp.sum(used.shares > 0).astype(nats.dtype),
            "bits_per_dim": bits_per_dim(nats + self._code_nats, self.event),
        }
        if self.decay is None:
            loss = loss + vq.codebook_loss(outputs, vectors)
        elif not self.is_initializing():
            self.codebook.update(flat, used, key)
        return loss, metrics

    def measure(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Array | None = None
    ) -> dict[str, Array]:
        """Codes and -log p(x | z), nats."""
        del key, cond  # no noise, no classes
        return {
            "codes": self.parts(x)[0].reshape(len(x), -1),
            "reconstruction": -self.log_prob_stages(x)[1],
        }

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Reconstruction, perplexity and number of the codes in use over the split; whether the codebook collapsed."""
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

    @property
    def _code_nats(self) -> float:
        return self.code_event.size * math.log(self.codes)

    def check(self) -> None:
        """InputError on sizes that cannot work."""
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
