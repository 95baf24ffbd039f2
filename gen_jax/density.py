"""The protocol that every model answers to, and the pure functions that everything else calls.

bits/dim = nats / (D log 2). A number is `exact`, a `bound` (printed with <=) or an `estimate` (printed with ~).
"""

import contextlib
import inspect
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from gen_jax import inputs
from gen_jax.errors import InputError
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar, Variables

Kind = Literal["mass", "density", "none"]
Value = Literal["exact", "bound", "estimate"]
Codec = Literal["direct", "bits_back", "none"]
LossPer = Literal["dimension", "example"]


@runtime_checkable
class Density(Protocol):
    """A distribution over events, as a Linen module.

    kind: probability of integers, density of reals, or no likelihood at all. value: what `log_prob` returns, the exact
    log p, a lower bound of it, or an unbiased or numerical estimate. codec: how an entropy coder can use it. What a
    model is conditioned on, where that is no class, is an event too: its `condition`.
    """

    event: Event
    kind: Kind
    value: Value
    codec: Codec
    num_classes: int

    def loss(self, x: Array, key: PRNGKey, cond: Array | None = None) -> tuple[Scalar, Metrics]:
        """Training loss in the unit of its paper and metrics, means over the batch; may update mutable collections.

        Where the loss is in nats, `loss_per` of the class says of what, a dimension or an example: an optimiser's
        constants may be in another unit (`optimizer.py`).

        A collection's name says how it goes over devices: `carry` has a row for each example, `counts` holds sums over
        examples, any other means over a batch (`sharding.py`). Two are not the loss's to update: each integer of
        `schedule` is the number of steps done, written by the train step; `frozen` holds the weights of the model's
        field `first`, a trained model (`train/first_stage.py`).

        Where there is a `carry`, row b of a batch goes on where row b of the batch before ended; zeros are what a
        stream begins with. Evaluation hands it on too, through `log_prob_sites`; not mutable, it stands for nothing.
        """
        ...

    def log_prob(self, x: Array, key: PRNGKey | None = None, cond: Array | None = None) -> Nats:
        """log p(x) in nats, summed over the event; `key` only where the value is not exact.

        A model whose number is made of random draws takes `draws` too, how many an example.
        """
        ...

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float = 1.0
    ) -> Array:
        """n draws in the data's own type."""
        ...


@runtime_checkable
class Diagnosed(Protocol):
    """What a model may have beside: numbers of validation other than its likelihood, and what to warn of."""

    def measure(self, x: Array, key: PRNGKey, cond: Array | None = None) -> dict[str, Array]:
        """Named numbers, a row for each example."""
        ...

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Scalars of a whole split to log, and findings: a name and a sentence each."""
        ...


@runtime_checkable
class Curved(Protocol):
    """What a model may have beside: rows of numbers that the report draws, as one curve under each name."""

    def curves(self, x: Array, key: PRNGKey) -> dict[str, Array]:
        """By title, with the unit in it, numbers that add up to something: a row for each example."""
        ...


@runtime_checkable
class Bijective(Protocol):
    """What a flow has beside: z = f(x), standard normal, and back, of reals; of integers x stands x + u."""

    def forward(self, x: Array, train: bool = False) -> tuple[Array, Nats]:
        """z, one vector an example, and log |det dz/dx|, in training as the loss sees them."""
        ...

    def inverse(self, z: Array) -> Array:
        """x."""
        ...

    def log_density(self, x: Array, train: bool = False) -> Nats:
        """log p of reals, nats."""
        ...


class Functional(NamedTuple):
    """A model as pure functions of its variables."""

    model: Any
    init: Callable[..., dict]
    loss: Callable[..., tuple[Scalar, tuple[Metrics, dict]]]
    log_prob: Callable[..., Nats]
    sample: Callable[..., Array]


def functional(model: Any) -> Functional:
    """Wrap a module once: init(key, x), loss(variables, x, key), log_prob(variables, x), sample(variables, key, n).

    `loss` returns (loss, (metrics, updated collections)); `cond` is a keyword of each. `draws` are where it takes them.
    The model is asked only for what it is a distribution of: InputError on examples of another shape or type, on a
    condition of another length or type, missing or superfluous, and, where they are known, on values out of range;
    inside `jit` these give NaN, and -1 as samples of integers (`inputs`). No examples have no numbers, and no loss.
    """
    event = getattr(model, "event", None)

    def given(x: ArrayLike, cond: ArrayLike | None) -> tuple[inputs.Given, inputs.Given]:
        batch = inputs.examples(event, x)
        return batch, inputs.condition(model, cond, len(batch.values))

    @as_written()
    def init(key: PRNGKey, x: ArrayLike, cond: ArrayLike | None = None) -> dict:
        names = ("params", "dropout")
        rngs = {name: fold_in(key, name) for name in names}
        batch, of = given(x, cond)
        return model.init(rngs, batch.values, fold_in(key, "loss"), of.values, method="loss")

    @as_written()
    def loss(variables: Variables, x: ArrayLike, key: PRNGKey, cond: ArrayLike | None = None):
        batch, of = given(x, cond)
        inputs.number(len(batch.values), "examples of a loss", least=1)
        mutable = [name for name in variables if name != "params"]
        rngs = {"dropout": fold_in(key, "dropout")}
        found, updated = model.apply(
            variables, batch.values, key, of.values, method="loss", mutable=mutable, rngs=rngs
        )
        value, metrics = inputs.averaged(found, batch, of)
        return value, (metrics, updated)

    @as_written()
    def log_prob(
        variables: Variables,
        x: ArrayLike,
        key: PRNGKey | None = None,
        cond: ArrayLike | None = None,
        draws: int = 1,
    ):
        batch, of = given(x, cond)
        options = {}
        if takes_draws(model):
            options["draws"] = inputs.number(draws, "draws", least=1)

        def found(x, cond):
            return model.apply(variables, x, key, cond, method="log_prob", **options)

        if not len(batch.values):
            return _nothing(found, batch.values, of.values)
        return inputs.answered(found(batch.values, of.values), batch, of)

    @as_written()
    def sample(
        variables: Variables,
        key: PRNGKey,
        n: int,
        cond: ArrayLike | None = None,
        temperature: ArrayLike = 1.0,
    ):
        n, of = inputs.number(n, "samples"), inputs.condition(model, cond, n)
        heat = inputs.temperature(temperature)

        def drawn(cond):
            return model.apply(variables, key, n or 1, cond, heat.values, method="sample")

        return inputs.answered(drawn(of.values), of, heat) if n else _nothing(drawn, of.values)

    return Functional(model, init, loss, log_prob, sample)


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """What runs in it, or under it as a decorator, promotes types and ranks also where the process refuses to."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _nothing(found: Callable[..., Array], *of: Array | None) -> Array:
    """What there is of no example, by what there would be of one."""
    one = [None if rows is None else jnp.zeros((1, *rows.shape[1:]), rows.dtype) for rows in of]
    like = jax.eval_shape(found, *one)
    return jnp.zeros((0, *like.shape[1:]), like.dtype)


def takes_draws(model: Any) -> bool:
    """Its log_prob is made of random draws, so it depends on their number and on a key."""
    return "draws" in inspect.signature(model.log_prob).parameters


def root_key(seed: int) -> PRNGKey:
    """The key that a seed stands for, of Threefry whatever the process prefers; InputError where it draws other bits.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
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


def importance_weighted_bound(log_weights: Float[Array, "K B"]) -> Nats:
    """log (1/K sum_k w_k), a lower bound of log p that grows with K (Burda et al. 2015, 1509.00519, eq. 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def importance_weighted_bound_in_chunks(
    log_weights: Callable[[Int[Array, " k"]], Float[Array, "k B"]], draws: int, chunk: int
) -> Nats:
    """`importance_weighted_bound` of the draws numbered 0 to `draws` - 1, `chunk` at a time.

    `log_weights` gives those of the draws with these numbers, so that the noise does not depend on the chunks.
    """
    chunk = min(chunk, draws)

    def total(first: Int[Array, ""]) -> Nats:
        number = first + jnp.arange(chunk)
        counted = jnp.where((number < draws)[:, None], log_weights(number), -jnp.inf)
        return jax.nn.logsumexp(counted, axis=0)

    totals = lax.map(total, jnp.arange(0, draws, chunk))
    return jax.nn.logsumexp(totals, axis=0) - math.log(draws)


def num_parameters(model: Any, variables: Variables) -> int:
    """Free parameters: the model's own count where it states one (tables of counts), else the size of `params`.

    Those of a frozen first stage count too, and so do the vectors of a codebook that follows by averages.
    """
    stated = getattr(model, "num_parameters", None)
    if stated is not None:
        return stated
    own = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables.get("codebook", {})):
        own += leaf.size * (path[-1].key == "sums")
    frozen = variables.get("frozen", {}).values()
    return own + sum(num_parameters(model.first, held) for held in frozen)
