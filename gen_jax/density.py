# Methods of protocols have no body.
# pyright: reportReturnType=false
"""The protocols that models implement, and the pure functions by which all other code calls them.

bits/dim = nats / (D log 2). A number is `exact`, a `bound` (printed with <=) or an `estimate` (printed with ~).
"""

import inspect
import math
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from gen_jax import inputs
from gen_jax.conditions import Cond, Condition, events_of
from gen_jax.errors import InputError
from gen_jax.ops.ode import Solver
from gen_jax.typing import Dtype, Event, Metrics, Nats, PRNGKey, Scalar, Variables

Kind = Literal["mass", "density", "none"]
Value = Literal["exact", "bound", "estimate"]
Codec = Literal["direct", "bits_back", "none"]
LossPer = Literal["dimension", "example"]
Given = ArrayLike | Condition | None


@runtime_checkable
class Density(Protocol):
    """A distribution over events, as a Linen module: what every model implements.

    kind: a probability mass over integers, a density of reals, or no likelihood. value: whether `log_prob` is exact, a
    lower bound, or an estimate by random draws or a numerical solver. codec: how an entropy coder can use the model.
    num_classes: of the labels that come with the data.
    """

    event: Event
    kind: Kind
    value: Value
    codec: Codec
    num_classes: int

    def loss(self, x: Array, key: PRNGKey, cond: Cond = None) -> tuple[Scalar, Metrics]:
        """Training loss in the unit of its paper and metrics, means over the batch; may update mutable collections.

        Collections by name:
        - `carry`: a state for each example, kept from batch to batch (evaluated by `log_prob_sites`), initially zero.
        - `counts`: sums over examples. Any collection not named here: means over the batch.
        - `schedule`: the number of steps done, written by the train step.
        - `frozen`: the weights of the field `first`, a trained model (`train/first_stage.py`).
        """

    def log_prob(self, x: Array, key: PRNGKey | None = None, cond: Cond = None) -> Nats:
        """log p(x) in nats, summed over the event; `key` is needed only if the value is not exact.

        A model that averages random draws also takes `draws`, their number for each example.
        """

    def sample(self, key: PRNGKey, n: int, cond: Cond = None, temperature: float = 1.0) -> Array:
        """n draws in the type of the data."""


# Optional protocols: certificates, codec, report and commands ask for them by `isinstance`.


@runtime_checkable
class Autoregressive(Protocol):
    """log p(x) = sum_i log p(x_i | x_<i): all conditionals of a known x at once, or one site after the other.

    `models/autoregressive/base.py` implements everything but the network. A site is one evaluation of the network;
    sites are numbered in the order of generation. `takes_reals`: x may be real, so parameters have gradients in x.
    """

    num_sites: int
    head: Any
    takes_reals: bool

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Positions in the flattened event of each site's values."""

    def __call__(
        self, x: Array, cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every p(x_i | x_<i), all sites at once."""

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The sites on which the distribution of this site depends."""

    def init_cache(self, n: int, cond: Cond = None) -> Any:
        """The cache of n empty events; `step` and `write` keep its structure."""

    def step(self, cache: Any, site: Int[Array, ""]) -> tuple[Any, Float[Array, "B P"]]:
        """Parameters of p(x_site | x_<site), once all earlier sites have been written."""

    def write(self, cache: Any, site: Int[Array, ""], value: Int[Array, "B V"]) -> Any:
        """The cache after the values of a site have become known."""

    def site_values(self, x: Array) -> Int[Array, "B sites V"]:
        """The values of each site, in the order of generation."""

    def log_prob_sites(
        self, x: Array, cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """log p(x_i | x_<i) of every site, nats."""


@runtime_checkable
class AnyOrder(Protocol):
    """An autoregressive model whose weights serve every order of generation (`ops/orders.py`).

    `order`: the order that it follows, a field. `orders`: those that it was trained on.
    """

    order: Any
    orders: Any

    def averaged(self) -> Any:
        """The mixture over `orders`; its weights are those of this model under the name `member`."""


@runtime_checkable
class Latent(Protocol):
    """p(x) = sum_z p(z) p(x | z) with latents in groups, p(z) = prod_g p(z_g | z_<g), as bits-back coding needs it.

    q(z | x) = prod_g q(z_g | z_<g, x) can be sampled; if `value` is exact, it is p(z | x). The groups are visited like
    the sites of an autoregressive model. A bound module also has `given`, which is p(x | z) with the stepping methods
    of `Autoregressive` and the state after the last group as condition.
    """

    groups: tuple[Any, ...]

    def begin(self, n: int, x: Array | None = None, cond: Cond = None) -> Any:
        """The state of n examples before the first group; without x the groups have a prior only."""

    def group(self, state: Any, k: int) -> tuple[Any, Any, Any]:
        """The state, and the parameters of p(z_k | z_<k) and, if x is known, of q(z_k | z_<k, x)."""

    def put(self, state: Any, k: int, z: Array) -> Any:
        """The state after z_k has become known."""

    def order(self, state: Any) -> Int[Array, "B D"]:
        """Positions of the flattened event in the order of `given`."""


@runtime_checkable
class Weighted(Protocol):
    """log p(x) >= E log (1/K sum_k w_k), w = p(x | z) p(z) / q(z | x), with latents as in `Latent`."""

    def draw_latents(
        self, key: PRNGKey, n: int, temperature: float = 1.0, cond: Cond = None
    ) -> tuple[Any, list[Array]]:
        """The state after all groups, drawn from the prior, and the latents of each."""

    def log_terms(
        self, x: Array, state: Any, key: PRNGKey, number: Int[Array, " K"]
    ) -> tuple[Float[Array, "K B"], tuple[Float[Array, "K B"], ...]]:
        """log p(x | z) of the draws with these numbers, and log p(z) - log q(z | x)."""

    def log_weights_at(self, x: Array, latents: list[Array], cond: Cond = None) -> Nats:
        """log w at given latents."""

    def draw(self, state: Any, key: PRNGKey, temperature: float = 1.0) -> Array:
        """A draw of x from p(x | z)."""


@runtime_checkable
class Staged(Protocol):
    """log p(x) >= sum_k log p(v_k | v_<k) with values v(x); equal if `value` is exact (`models/staged.py`)."""

    def stages(self, variables: Variables) -> tuple[Any, ...]:
        """For each stage an autoregressive model, its variables, and the earlier stages that it needs."""

    def parts(self, x: Array) -> tuple[Array, ...]:
        """v(x), the values of each stage."""

    def whole(self, parts: Any) -> Array:
        """x from the values of all stages."""


@runtime_checkable
class Bijective(Protocol):
    """A bijection z = f(x) between (dequantised) data and standard normal noise."""

    def forward(self, x: Array, train: bool = False, cond: Cond = None) -> tuple[Array, Nats]:
        """z, one vector for each example, and log |det dz/dx|; with `train` the statistics are those of the batch."""

    def inverse(self, z: Array, cond: Cond = None) -> Array:
        """x = f^-1(z)."""

    def log_density(self, x: Array, train: bool = False, cond: Cond = None) -> Nats:
        """log p of reals, nats."""


@runtime_checkable
class Chain(Protocol):
    """A diffusion model with the chain x_T, ..., x_0; -log p(x_0) <= L_0 + sum_{t=2..T} L_{t-1} + L_T.

    `timesteps`: None in continuous time, where `log_prob` is the limit for many steps, and the chain one of them.
    `now` are the coefficients of the chain at the t of x_t, `diffusion.at(chain, t, axes)`.
    """

    timesteps: int | None

    def chain(self, steps: int | None = None) -> Any:
        """The coefficients of q for t = 0..T (`ops/diffusion.py`), which may depend on weights; or of `steps` steps."""

    def time_at(self, gamma: Array) -> Array:
        """What the network is given as the time of an x_t whose -log SNR, log noise^2 / signal^2, is gamma."""

    def to_reals(self, x: Array) -> Array:
        """x_0: an event as reals."""

    def to_event(self, x_0: Array) -> Array:
        """The event nearest to x_0."""

    def back(self, x_t: Array, now: Any, train: bool = False, cond: Cond = None) -> Any:
        """The network's output at x_t, the x_0 that it implies, and log sigma of p(x_{t-1} | x_t), if t > 1."""

    def log_decoder(self, x: Array, x_1: Array, now: Any, cond: Cond = None) -> Array:
        """log p(x_0 | x_1) of each value."""

    def decode(
        self, x_1: Array, now: Any, key: PRNGKey, cond: Cond = None, temperature: float = 1.0
    ) -> Array:
        """An event drawn from p(x_0 | x_1)."""

    def terms(
        self, x: Array, key: PRNGKey, draws: int = 1, cond: Cond = None, steps: int | None = None
    ) -> Float[Array, "B terms"]:
        """L_0, ..., L_T in nats, of all steps or of a chain of `steps` steps."""


@runtime_checkable
class Computing(Protocol):
    """A network that may compute in bfloat16; None is float32."""

    dtype: Dtype


@runtime_checkable
class InNats(Protocol):
    """A model whose loss is in nats, per dimension or per example, so that an optimiser's constants can be in nats."""

    loss_per: LossPer


@runtime_checkable
class Solving(Protocol):
    """A model whose `log_prob` solves an ODE: an estimate, and `solver` is part of its protocol."""

    solver: Solver


@runtime_checkable
class Carrying(Protocol):
    """A model of text which, with `carry`, starts each window from the last state of the window before."""

    carry: bool


@runtime_checkable
class Counted(Protocol):
    """A model whose number of free parameters is not the size of `params`."""

    num_parameters: int


@runtime_checkable
class Sampled(Protocol):
    """A model whose `sample` has settings, the fields of the dataclass `sampler`."""

    sampler: Any


class Functional(NamedTuple):
    """A model as pure functions of its variables."""

    model: Any
    init: Callable[..., dict]
    loss: Callable[..., tuple[Scalar, tuple[Metrics, dict]]]
    log_prob: Callable[..., Nats]
    sample: Callable[..., Array]


def functional(model: Any) -> Functional:
    """Wrap a module once: init(key, x), loss(variables, x, key), log_prob(variables, x), sample(variables, key, n).

    `loss` returns (loss, (metrics, updated collections)), with `sizes` of the first values of each example only. Each
    takes `cond`; a random `log_prob` takes `draws`. InputError on examples of another shape or type, on a condition
    that is missing, superfluous or of another length or type, and on values out of range; inside `jit` such values
    give NaN, or -1 as samples of integers (`inputs.py`).
    A module that is no `Density` has no checks.
    """
    known = isinstance(model, Density)

    def condition(cond: Given, n: int) -> inputs.Checked:
        if not known:
            return inputs.Checked(cond)
        name, events = type(model).__name__, events_of(model)
        return inputs.condition(name, model.num_classes, events, cond, n)

    def checked(x: ArrayLike, cond: Given) -> tuple[inputs.Checked, inputs.Checked]:
        batch = inputs.examples(model.event if known else None, x)
        return batch, condition(cond, len(batch.values))

    @inputs.as_written()
    def init(key: PRNGKey, x: ArrayLike, cond: Given = None) -> dict:
        rngs = {name: fold_in(key, name) for name in ("params", "dropout")}
        batch, context = checked(x, cond)
        return model.init(rngs, batch.values, fold_in(key, "loss"), context.values, method="loss")

    @inputs.as_written()
    def loss(variables: Variables, x: ArrayLike, key: PRNGKey, cond: Given = None, sizes=None):
        batch, context = checked(x, cond)
        inputs.number(len(batch.values), "examples of a loss", least=1)
        mutable = [name for name in variables if name != "params"]
        rngs = {"dropout": fold_in(key, "dropout")}
        args = (batch.values, key, context.values, *inputs.counted(model, sizes))
        results, updated = model.apply(variables, *args, method="loss", mutable=mutable, rngs=rngs)
        value, metrics = inputs.marked_mean(results, batch, context)
        return value, (metrics, updated)

    @inputs.as_written()
    def log_prob(
        variables: Variables,
        x: ArrayLike,
        key: PRNGKey | None = None,
        cond: Given = None,
        draws: int = 1,
    ):
        batch, context = checked(x, cond)
        options = {"draws": inputs.number(draws, "draws", least=1)} if takes_draws(model) else {}
        nats = lambda x, cond: model.apply(variables, x, key, cond, method="log_prob", **options)  # noqa: E731
        if not len(batch.values):
            return inputs.empty_result(nats, batch.values, context.values)
        return inputs.marked(nats(batch.values, context.values), batch, context)

    @inputs.as_written()
    def sample(
        variables: Variables,
        key: PRNGKey,
        n: int,
        cond: Given = None,
        temperature: ArrayLike = 1.0,
    ):
        n, context = inputs.number(n, "samples"), condition(cond, n)
        heat = inputs.temperature(temperature)
        draw = lambda cond: model.apply(variables, key, n or 1, cond, heat.values, method="sample")  # noqa: E731
        if not n:
            return inputs.empty_result(draw, context.values)
        return inputs.marked(draw(context.values), context, heat)

    return Functional(model, init, loss, log_prob, sample)


def takes_draws(model: Any) -> bool:
    """Whether `log_prob` averages random draws, and so takes a key and the number of draws.

    With an exact trace an ODE of reals has no noise.
    """
    drawn = "draws" in inspect.signature(model.log_prob).parameters
    reals, solving = model.kind == "density", isinstance(model, Solving)
    return drawn and not (reals and solving and model.solver.trace == "exact")


def root_key(seed: int) -> PRNGKey:
    """The key of a seed, always for Threefry (Salmon et al. 2011); InputError if JAX is set to draw other bits."""
    if not jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            "JAX_THREEFRY_PARTITIONABLE is off, under which a seed draws other numbers: unset it"
        )
    return jax.random.key(seed, impl="threefry2x32")


def fold_in(key: PRNGKey, data: int | str | Array) -> PRNGKey:
    """A new key from a key and a step or a name."""
    return jax.random.fold_in(key, zlib.crc32(data.encode()) if isinstance(data, str) else data)


def bits_per_dim(nats: Float[Array, "*batch"], event: Event) -> Float[Array, "*batch"]:
    """nats / (D log 2); `nats` is a negative log-likelihood of the whole event."""
    return nats / (event.size * math.log(2.0))


def num_parameters(model: Any, variables: Variables) -> int:
    """Free parameters: `params`, a frozen first stage, and the vectors of a codebook; or the number in `Counted`."""
    if isinstance(model, Counted):
        return model.num_parameters
    count = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables.get("codebook", {})):
        count += leaf.size * (path[-1].key == "sums")
    frozen = variables.get("frozen", {}).values()
    return count + sum(num_parameters(model.first, tree) for tree in frozen)
