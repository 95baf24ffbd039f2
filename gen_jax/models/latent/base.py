"""The evidence lower bound, for every model with latents in groups z = (z_1, ..., z_G).

log p(x) = log E_q(z|x) w >= E log (1/K sum_k w_k), w = p(x | z) p(z) / q(z | x) (Kingma and Welling 2013, 1312.6114,
equation 3 for K = 1; Burda, Grosse and Salakhutdinov 2015, 1509.00519, equation 8). Prior and posterior go through the
groups in the same order: p(z) = prod_g p(z_g | z_<g) and q(z | x) = prod_g q(z_g | z_<g, x).

A subclass defines its `groups`, how it visits them (`begin`, `group`, `put`) and p(x | z). The state after the last
group is what p(x | z) is conditioned on. Likelihood, sampling, training and diagnosis are written here, the codec in
`coding/bits_back.py`. With classes y all of these are of log p(x | y): `begin` puts the class into the state (Kingma et
al. 2014, 1406.5298, section 2.1; Sohn, Lee and Yan 2015).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require_integers, require_key
from gen_jax.conditions import Cond
from gen_jax.density import Codec, Kind, LossPer, Value, fold_in
from gen_jax.encoding import Interpolation
from gen_jax.models.latent.estimators import Draw, reparameterised
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.ops.latents import Group
from gen_jax.typing import Event, Nats, PRNGKey, Scalar

VALUES_AT_ONCE = 2**21  # draws x examples x numbers of the largest activation in one chunk
ACTIVE = 0.01  # least variance of an active unit's location over the data (Burda et al. 2015)
COLLAPSED = 0.1  # greatest KL of a collapsed group, nats
MEASURED = 4096  # most numbers of an example that a diagnosis keeps

State = Any
# Called at each group with (number, group, prior, posterior or None): z, and any arrays to collect.
Choose = Callable[[Any, Group, Any, Any], tuple[Array, Any]]


def visit(model: Any, state: State, choose: Choose, first: int = 0) -> tuple[State, list[Any]]:
    """Go through the groups from `first`; `choose` decides each z. The last state, and what `choose` collected."""
    collected = []
    for k in range(first, len(model.groups)):
        state, p, q = model.group(state, k)
        z, result = choose(k, model.groups[k], p, q)
        state = model.put(state, k, z)
        collected.append(result)
    return state, collected


class LatentModel(nn.Module):
    """A probability mass over integers with latents in groups.

    At validation `measure` and `diagnosis` log KL, reconstruction and active units, and report posterior collapse.
    """

    event: Event

    num_classes = 0  # a class-conditional model makes a field of it, its last
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "bound"
    codec: ClassVar[Codec] = "bits_back"
    loss_per: ClassVar[LossPer] = "example"

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of latents, in the order of generation."""
        raise TypeError(f"{type(self).__name__} does not define its latents")

    @property
    def given(self) -> Any:
        """p(x | z) in the stepping interface of `Autoregressive`, with the state after the last group as condition."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    @property
    def largest(self) -> int:
        """The numbers of an example in the largest activation, by which draws are split into chunks."""
        return self.event.size

    @property
    def interpolation(self) -> Interpolation:
        """Spherical between Gaussian latents, in the noise of the prior."""
        return "spherical" if all(group.continuous for group in self.groups) else "none"

    def setup(self):
        self.check()

    def begin(
        self, n: int, x: Integer[Array, "n *event"] | None = None, cond: Cond = None
    ) -> State:
        """The state of n examples before the first group; without x the groups have a prior only."""
        raise TypeError(f"{type(self).__name__} does not define its latents")

    def group(self, state: State, k: int) -> tuple[State, Any, Any]:
        """The state, and the parameters of p(z_k | z_<k) and, if x is known, of q(z_k | z_<k, x)."""
        raise TypeError(f"{type(self).__name__} does not define its latents")

    def put(self, state: State, k: int, z: Array) -> State:
        """The state after z_k has become known."""
        raise TypeError(f"{type(self).__name__} does not define its latents")

    def order(self, state: State) -> Int[Array, "B D"]:
        """Positions of the event in the order of `given`: here unchanged."""
        n = len(jax.tree.leaves(state)[0])
        return jnp.broadcast_to(jnp.arange(self.event.size), (n, self.event.size))

    def log_likelihood(
        self, x: Integer[Array, "B *event"], state: State, train: bool = False
    ) -> Nats:
        """log p(x | z) in nats; `state` is that after the last group."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def draw(
        self, state: State, key: PRNGKey, temperature: float | Scalar = 1.0
    ) -> Int[Array, "B *event"]:
        """A draw of x from p(x | z)."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def visit(self, state: State, choose: Choose, first: int = 0) -> tuple[State, list[Any]]:
        """`visit` of this model; a model with many equal groups may scan over them."""
        return visit(self, state, choose, first)

    def key_of(self, key: PRNGKey, k: int | Int[Array, ""]) -> PRNGKey:
        """The key of the noise of group k; a single group has the key itself."""
        return fold_in(key, k) if len(self.groups) > 1 else key

    def log_terms(
        self,
        x: Integer[Array, "B *event"],
        state: State,
        key: PRNGKey,
        number: Int[Array, " K"],
        draw: Draw = reparameterised,
        train: bool = False,
    ) -> tuple[Float[Array, "K B"], tuple[Float[Array, "K B"], ...]]:
        """log p(x | z) of the draws with these numbers, and the terms of `draw`, summed over all latents.

        By default the only term is log p(z) - log q(z | x). `state` is that of `begin` with x. The noise of a draw
        depends on the key and its number only.
        """
        shape = len(number), len(x)
        rows = functools.partial(_repeated, number=len(number))

        def noise(k, group):
            one = lambda draw: group.noise(self.key_of(fold_in(key, draw), k), len(x))  # noqa: E731
            return jax.vmap(one)(number)

        def totals(terms):
            return tuple(jnp.sum(term.reshape(*shape, -1), axis=-1) for term in terms)

        def choose(k, group, p, q):
            z, terms = draw(group, p, q, _flat(noise(k, group)))
            return z, totals(terms)

        state, p, q = self.group(state, 0)  # the first group has the same parameters for every draw
        z, terms = draw(self.groups[0], p, q, noise(0, self.groups[0]))
        state = self.put(jax.tree.map(rows, state), 0, _flat(z))
        state, later = self.visit(state, choose, first=1)
        likelihood = self.log_likelihood(rows(x), state, train).reshape(shape)
        every = zip(totals(terms), *later, strict=True)
        return likelihood, tuple(functools.reduce(operator.add, parts) for parts in every)

    def log_weights_at(
        self, x: Integer[Array, "B *event"], latents: list[Array], cond: Cond = None
    ) -> Nats:
        """log w of each example at given latents, one array for each group."""

        def choose(k, group, p, q):
            ratio = group.log_prob(p, latents[k]) - group.log_prob(q, latents[k])
            return latents[k], jnp.sum(ratio.reshape(len(x), -1), axis=-1)

        state, ratios = visit(self, self.begin(len(x), x, cond), choose)
        return self.log_likelihood(x, state) + functools.reduce(operator.add, ratios)

    def log_prob(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
        draws: int = 1,
    ) -> Nats:
        """The bound with `draws` importance samples, nats; memory does not grow with them."""
        key = require_key(key, type(self).__name__)
        module, variables = self.unbind()
        state = self.begin(len(x), x, cond)

        def log_weights(number: Int[Array, " k"]) -> Float[Array, "k B"]:
            likelihood, (ratio,) = module.apply(
                variables, x, state, key, number, method="log_terms"
            )
            return likelihood + ratio

        chunk = max(1, VALUES_AT_ONCE // (len(x) * self.largest))
        return importance_weighted_bound_in_chunks(log_weights, draws, chunk)

    def draw_latents(
        self, key: PRNGKey, n: int, temperature: float | Scalar = 1.0, cond: Cond = None
    ) -> tuple[State, list[Array]]:
        """The state after all groups, drawn from the prior, and the latents of each."""

        def choose(k, group, p, q):
            z, _ = group.draw(p, temperature * group.noise(self.key_of(key, k), n))
            return z, z

        return self.visit(self.begin(n, None, cond), choose)

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """z from the prior, its noise times `temperature`, then x from p(x | z)."""
        state, _ = self.draw_latents(fold_in(key, "z"), n, temperature, cond)
        return self.draw(state, fold_in(key, "x"), temperature)

    def reconstruct(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """x from p(x | z) at the most probable z of each q(z_k | z_<k, x)."""
        choose = lambda k, group, p, q: (group.mode(q), None)  # noqa: E731
        state, _ = self.visit(self.begin(len(x), x, cond), choose)
        return self.draw(state, key)

    def latents_of(
        self, x: Integer[Array, "B *event"], cond: Cond = None
    ) -> list[Float[Array, "B ..."]]:
        """For each group the noise with which p(z_k | z_<k) draws the most probable z of q(z_k | z_<k, x).

        It is the mode's distance from the prior's mean in standard deviations of the prior: z itself under N(0, I).
        """
        choose = lambda k, group, p, q: (group.mode(q), group.location(q, p)[..., 0])  # noqa: E731
        _, noise = visit(self, self.begin(len(x), x, cond), choose)
        return noise

    def event_at(
        self, latents: list[Float[Array, "B ..."]], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """x from p(x | z), z drawn from the prior with this noise; of several groups, exact but for rounding."""
        choose = lambda k, group, p, q: (group.draw(p, latents[k])[0], None)  # noqa: E731
        state, _ = visit(self, self.begin(len(latents[0]), None, cond), choose)
        return self.draw(state, key)

    def measured(self, k: int) -> Int[np.ndarray, " units"]:
        """The units of group k that a diagnosis looks at: all, or evenly spaced ones if the model has over 4,096."""
        size, parts = int(np.prod(self.groups[k].shape)), self.groups[k].parts
        numbers = sum(int(np.prod(group.shape)) * group.parts for group in self.groups)
        share = MEASURED // (len(self.groups) * parts)
        count = size if numbers <= MEASURED else min(size, max(1, share))
        return np.linspace(0, size - 1, count).astype(int)

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """KL of each group in closed form and -log p(x | z), nats, at one draw of z; locations of the units."""

        def choose(k, group, p, q):
            z, _ = group.draw(q, group.noise(self.key_of(fold_in(key, 0), k), len(x)))
            kl = jnp.sum(group.kl(q, p).reshape(len(x), -1), axis=-1)
            location = group.location(q, p).reshape(len(x), -1, group.parts)
            return z, (kl, location[:, self.measured(k)].reshape(len(x), -1))

        state, parts = visit(self, self.begin(len(x), x, cond), choose)
        kl, locations = zip(*parts, strict=True)
        likelihood = self.log_likelihood(x, state)
        return {
            "kl": jnp.stack(kl, axis=1),
            "reconstruction": -likelihood,
            "location": jnp.concatenate(locations, axis=1),
        }

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Mean KL, of several groups also of each, reconstruction, and the number of active units.

        A unit is active if its location (for N(0, I) this is E[z | x]) has a variance above 0.01 over the data. A group
        without active units and with a KL below 0.1 nats has collapsed.
        """
        kl = measured["kl"].mean(axis=0)
        ends = np.cumsum([len(self.measured(k)) * g.parts for k, g in enumerate(self.groups)])
        active = []
        for group, columns in zip(
            self.groups, np.split(measured["location"], ends[:-1], axis=1), strict=True
        ):
            variance = np.var(columns, axis=0).reshape(-1, group.parts).sum(axis=1)
            active.append(int(np.sum(variance > ACTIVE)))
        scalars = {
            "kl": float(kl.sum()),
            "reconstruction": float(measured["reconstruction"].mean()),
        }
        scalars["active_units"] = float(sum(active))
        if len(kl) > 1:
            scalars |= {f"kl_{k + 1}": float(nats) for k, nats in enumerate(kl)}
        return scalars, self._collapse(kl, active)

    def _collapse(self, kl: Float[np.ndarray, " G"], active: list[int]) -> dict[str, str]:
        """The finding that groups have collapsed, if any have."""
        dead = [k for k, units in enumerate(active) if not units and kl[k] < COLLAPSED]
        if not dead:
            return {}
        every = len(dead) == len(kl)
        where = (
            ""
            if every
            else f" of group{'s' * (len(dead) > 1)} " + ", ".join(str(k + 1) for k in dead)
        )
        units = sum(len(self.measured(k)) for k in dead)
        without = "z" if every else "them"
        sentence = (
            f"posterior collapse{where}: KL {sum(kl[dead]):.3f} nats, none of {units} units active; x is modelled"
            f" without {without}, which free bits or annealing of the KL can prevent"
        )
        return {"posterior collapse": sentence}

    def check(self) -> None:
        require_integers(self.event, type(self).__name__)


def _repeated(x: Array, number: int) -> Array:
    """The rows of x `number` times, one copy after the other."""
    return jnp.broadcast_to(x, (number, *x.shape)).reshape(-1, *x.shape[1:])


def _flat(x: Array) -> Array:
    """(K, B, ...) as (K B, ...)."""
    return x.reshape(-1, *x.shape[2:])
