"""VQ-VAE: log p(x) >= log p(z(x)) + log p(x | z(x)), where z(x) are the codes nearest to the encoder's outputs.

The loss is -log p(x | z) + |sg(z_e) - e|^2 + beta |z_e - sg(e)|^2; the decoder's gradient passes straight through to
the encoder (van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, equations 1 to 3). The code vectors e are
parameters, or moving averages (appendix A.1). The decoder gives independent values of images, or it is an
autoregressive model that is conditioned on e, such as a WaveNet for sound (section 4.3). The prior here is uniform: N
codes cost N log K nats. `VQVAEPrior` learns a prior.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_integers
from gen_jax.conditions import Cond, label_of, values_of
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.baseline.uniform import Uniform
from gen_jax.models.latent.given_codes import GivenCodes, given_vectors
from gen_jax.models.staged import Stage, Staged
from gen_jax.nn.codebook import Codebook
from gen_jax.nn.grids import GridDecoder, GridEncoder
from gen_jax.ops import vq
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar, Variables

COLLAPSED = 2.0  # least perplexity of a codebook that has not collapsed
IGNORED = 0.1  # nats an example: the codes of another example cost a decoder that ignores them less


class Quantised(NamedTuple):
    """The encoder's outputs at each place of a grid, the nearest codes, and the vectors of these."""

    outputs: Float[Array, "B *grid G D"]
    codes: Int[Array, "B *grid G"]
    vectors: Float[Array, "B *grid G D"]


class Pixels(Autoregressive):
    """p(x | z) = prod_i p(x_i | z), conditioned on the codes z: one pass of the decoder gives all sites."""

    whole: "VQVAE"

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The codes z."""
        return self.whole.code_events

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
        codes = values_of(cond)
        if codes[0] is None:
            raise InputError("p(x | z) needs the codes z")
        return self.whole.decode_codes(codes)


class VQVAE(Staged):
    """Images (H, W, C) or sequences (L,). Each entry of `strided` halves the sides; a place has `groups` codes.

    `blocks` and `residual`: number and hidden features of the residual blocks. `codes`: K. `size`: length of a code's
    vector. `mixtures` None: a softmax for each value, else that many logistics for a pixel. `decay` None: the codes are
    learned by their loss, else by moving averages. `restart`: a code restarts below this fraction of even use.
    `likelihood`: instead of independent sites an autoregressive model of x given the code vectors, (h, w, groups size)
    numbers for images and (T, groups size) for sequences. If it has classes, it is given the label too.
    """

    system: ClassVar[str] = "vq_vae"
    names: ClassVar[tuple[str, ...]] = ("codes",)  # of the grids of codes
    books: ClassVar[tuple[str, ...]] = ("codebook",)  # their codebooks in the tree of variables

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
    likelihood: Autoregressive | None = None

    def setup(self):
        self.check()
        self.codebook = self.new_codebook()
        network = (self.strided, self.blocks, self.residual)
        self.encoder = GridEncoder(*network, self.groups * self.size)
        if self.likelihood is None:
            self.decoder = GridDecoder(*network)

    def new_codebook(self, **options: Any) -> Codebook:
        """A codebook of K vectors."""
        return Codebook(self.codes, self.size, self.decay, self.restart, **options)

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The classes of the likelihood."""
        return 0 if self.likelihood is None else self.likelihood.num_classes

    @property
    def sides(self) -> tuple[int, ...]:
        """(H, W) or (L,)."""
        require(
            len(self.event.shape) in (1, 3),
            f"{self.system} is a model of images (H, W, C) or sequences (L,), not of {self.event.shape}",
        )
        return self.event.shape[:2]

    @property
    def halvings(self) -> tuple[int, ...]:
        """The features of each layer that halves the sides."""
        return self.strided

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The sides of each grid of codes."""
        return (tuple(side // 2 ** len(self.strided) for side in self.sides),)

    @property
    def code_events(self) -> tuple[Event, ...]:
        """Each grid of codes as an event; those of a sequence stand in one row, place after place."""
        shapes = [(*grid, self.groups) for grid in self.grids]
        if len(self.sides) == 1:
            shapes = [(math.prod(shape),) for shape in shapes]
        return tuple(Event(shape, self.codes) for shape in shapes)

    @property
    def code_event(self) -> Event:
        """The finest grid of codes as an event."""
        return self.code_events[-1]

    @property
    def codebooks(self) -> dict[str, Event]:
        """Each grid of codes as an event, by its name."""
        return dict(zip(self.names, self.code_events, strict=True))

    def codes_of(self, x: Integer[Array, "B *event"]) -> dict[str, Integer[Array, "B ..."]]:
        """Each grid of codes of x, by its name."""
        return dict(zip(self.names, self.parts(x)[:-1], strict=True))

    @property
    def vector_events(self) -> tuple[Event, ...]:
        """The code vectors of each grid as an event."""
        return tuple(Event((*grid, self.groups * self.size)) for grid in self.grids)

    @property
    def levels(self) -> int:
        return require_integers(self.event, self.system)

    @property
    def values(self) -> int:
        """The number of values of a site: the channels of a pixel under a mixture, else 1."""
        return self.event.shape[-1] if self.mixtures and len(self.sides) == 2 else 1

    @property
    def head(self) -> Head:
        return head_for(self.levels, self.values, self.mixtures)

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The codes under the uniform prior; x given the codes."""
        pairs = self.codebooks.items()
        codes = [Stage(name, Uniform(event, parent=None), {}) for name, event in pairs]
        needs = tuple(range(len(codes)))
        if self.likelihood is None:
            below = {name: {"whole": tree} for name, tree in variables.items()}
            last = Pixels(self.event, self.clone(parent=None), parent=None)
        else:
            books = tuple(self.new_codebook(parent=None) for _ in self.books)
            network = self.likelihood.clone(parent=None)
            last = GivenCodes(self.event, network, books, self.code_events, parent=None)
            within = {"likelihood": "network"}
            within |= {book: f"codebooks_{k}" for k, book in enumerate(self.books)}
            below = {
                name: {within[key]: tree for key, tree in trees.items() if key in within}
                for name, trees in variables.items()
            }
        return (*codes, Stage("reconstruction", last, below, needs))

    def scaled(self, x: Integer[Array, "B *event"]) -> Float[Array, "B *sides C"]:
        """The encoder's input."""
        return to_symmetric(x, self.levels).reshape(len(x), *self.sides, -1)

    def encode(self, x: Integer[Array, "B *event"]) -> Float[Array, "B *grid G D"]:
        """The encoder's outputs."""
        return self.encoder(self.scaled(x)).reshape(len(x), *self.grids[0], self.groups, self.size)

    def quantise(self, x: Integer[Array, "B *event"]) -> tuple[Quantised, ...]:
        """Each grid of codes."""
        return (quantised(self.codebook, self.encode(x)),)

    def features(self, vectors: Sequence[Array]) -> Float[Array, "B *grid F"]:
        """What the decoder reads of the code vectors of each grid."""
        return vectors[0].reshape(len(vectors[0]), *self.grids[0], -1)

    def decode(self, vectors: Sequence[Array]) -> Float[Array, "B sites P"]:
        """Parameters of every site, all at once."""
        outputs = self.event.size // math.prod(self.sides) // self.values * self.head.size
        params = self.decoder(self.features(vectors), self.sides, outputs)
        return params.reshape(len(params), -1, self.head.size)

    def decode_codes(self, codes: Sequence[Integer[Array, "B ..."]]) -> Float[Array, "B sites P"]:
        """Parameters of every site given codes."""
        books = [getattr(self, book) for book in self.books]
        return self.decode([book(z) for book, z in zip(books, codes, strict=True)])

    def log_likelihood(
        self, x: Integer[Array, "B *event"], vectors: Sequence[Array], label: Any, train: bool
    ) -> Nats:
        """log p(x | z, label) from the code vectors."""
        if self.likelihood is None:
            values = x.reshape(len(x), -1, self.values)
            return jnp.sum(self.head.log_prob(self.decode(vectors), values), axis=-1)
        cond = given_vectors(self.likelihood, label if self.num_classes else None, vectors)
        return jnp.sum(self.likelihood.log_prob_sites(x, cond, train), axis=-1)

    def parts(self, x: Integer[Array, "B *event"]) -> tuple[Integer[Array, "B ..."], ...]:
        pairs = zip(self.quantise(x), self.code_events, strict=True)
        return (*(grid.codes.reshape(len(x), *event.shape) for grid, event in pairs), x)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Equation 3 with means for sums: -log p(x | z) per dimension, squared errors per number of a vector.

        The weighting follows the authors' code. Also logged: nats per example, the bound in bits/dim, and the codes'
        perplexity and number in use in the batch (under pmap the means over the devices' parts of the batch).
        """
        grids = self.quantise(x)
        vectors = [vq.straight_through(grid.outputs, grid.vectors) for grid in grids]
        nats = -jnp.mean(self.log_likelihood(x, vectors, label_of(cond), train=True))
        errors = [vq.commitment_loss(grid.outputs, grid.vectors) for grid in grids]
        commitment = sum(errors[1:], errors[0])
        loss = nats / self.event.size + self.commitment * commitment
        metrics = {"reconstruction": nats, "commitment": commitment}
        for k, (name, grid) in enumerate(zip(self.names, grids, strict=True)):
            flat, suffix = grid.outputs.reshape(-1, self.size), self.suffix(name)
            used = vq.uses(flat, grid.codes.reshape(-1), self.codes)
            metrics[f"perplexity{suffix}"] = vq.perplexity(used.shares)
            metrics[f"codes_in_use{suffix}"] = jnp.sum(used.shares > 0).astype(nats.dtype)
            if self.decay is None:
                loss = loss + vq.codebook_loss(grid.outputs, grid.vectors)
            elif not self.is_initializing():
                own = fold_in(key, k) if k else key
                getattr(self, self.books[k]).update(flat, used, own)
        code_nats = sum(event.size for event in self.code_events) * math.log(self.codes)
        return loss, {**metrics, "bits_per_dim": bits_per_dim(nats + code_nats, self.event)}

    def suffix(self, name: str) -> str:
        """What the names of a grid's metrics end in, if there are several grids."""
        return f"_{name}" if len(self.names) > 1 else ""

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """The codes; -log p(x | z) in nats, and by how much it rises under a grid of codes of another example."""
        del key  # no noise
        module, variables = self.unbind()
        last = module.stages(variables)[-1]
        codes = self.codes_of(x)

        def nats(codes: dict[str, Array]) -> Nats:
            given = last.cond(label_of(cond), [*codes.values()])
            return -last.model.apply(last.variables, x, None, given, method="log_prob")

        rows = {name: z.reshape(len(x), -1) for name, z in codes.items()}
        rows["reconstruction"] = nats(codes)
        for name, z in codes.items() if len(x) > 1 else ():
            others = {**codes, name: jnp.roll(z, 1, axis=0)}
            rows[f"shuffled_{name}"] = nats(others) - rows["reconstruction"]
        return rows

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Means over the split of -log p(x | z), and of its rise where a grid of codes is shuffled over the examples.

        Perplexity and number of codes in use over the split; whether a codebook collapsed or its codes are ignored.
        """
        scalars, findings = {"reconstruction": float(measured["reconstruction"].mean())}, {}
        for name in self.names:
            suffix, grid = self.suffix(name), f"{name}: " if len(self.names) > 1 else ""
            counts = np.bincount(measured[name].ravel(), minlength=self.codes)
            perplexity = float(vq.perplexity(jnp.asarray(counts / counts.sum())))
            scalars[f"perplexity{suffix}"] = perplexity
            scalars[f"codes_in_use{suffix}"] = float(np.sum(counts > 0))
            if perplexity < COLLAPSED:
                findings[f"codebook collapse{suffix}"] = (
                    f"{grid}codebook collapse: perplexity {perplexity:.2f} of {self.codes} codes; x is modelled without"
                    " them, which a restart of dead codes can prevent"
                )
            shuffled = measured.get(f"shuffled_{name}")
            if shuffled is not None:
                scalars[f"shuffled_{name}"] = nats = float(shuffled.mean())
                if nats < IGNORED:
                    findings[f"codes ignored{suffix}"] = (
                        f"{grid}codes ignored: those of another example cost {nats:.3f} nats; p(x | z) does without z"
                    )
        return scalars, findings

    def check(self) -> None:
        name, sides = self.system, self.sides
        require_integers(self.event, name)
        factor = 2 ** len(self.halvings)
        require(
            bool(self.strided) and not any(side % factor for side in sides),
            f"{name} halves images at least once and needs sides that {factor} divides, not {self.event.shape}",
        )
        require(
            min(self.size, self.groups, *self.halvings) >= 1,
            f"{name} needs size, groups and features of at least 1",
        )
        require(
            0 <= (self.decay or 0) < 1 and 0 <= self.restart < 1,
            f"{name} needs decay and restart in [0, 1)",
        )
        require(
            self.decay is not None or not self.restart,
            f"{name} restarts codes that follow by averages only: give it a decay",
        )
        if (network := self.likelihood) is not None:
            require(
                network.event == self.event and network.conditions == self.vector_events,
                f"model.likelihood is a model of {network.event} given {network.conditions}; it should be of"
                f" {self.event} given {self.vector_events}",
            )
            require(
                self.mixtures is None, f"mixtures belong to model.likelihood, not to {name} itself"
            )


def quantised(codebook: Codebook, outputs: Float[Array, "B *grid G D"]) -> Quantised:
    """The nearest codes of an encoder's outputs."""
    codes = codebook.nearest(outputs)
    return Quantised(outputs, codes, codebook(codes))
