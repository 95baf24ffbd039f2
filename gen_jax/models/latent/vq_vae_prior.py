"""VQ-VAE with a learned prior: log p(x) >= log p(z(x)) + log p(x | z(x)), p(z) autoregressive over the grid of codes.

This is the second stage of van den Oord, Vinyals and Kavukcuoglu 2017, 1711.00937, section 3.3: encoder, codebook and
decoder are those of a trained `VQVAE` and are not trained further.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond, label_of, zeros
from gen_jax.density import bits_per_dim, fold_in, functional
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.latent.vq_vae import VQVAE
from gen_jax.models.staged import Stage, Staged, stage_condition
from gen_jax.typing import Event, Metrics, PRNGKey, Scalar, Variables


class CodePriors(Staged):
    """`first`: the trained model, frozen. A subclass has an autoregressive model of each grid of its codes.

    Each is given all grids before it. The label goes to those with classes.
    """

    first: VQVAE

    @property
    def priors(self) -> dict[str, Autoregressive]:
        """The model of each grid by its field, in the order of the grids."""
        raise TypeError(f"{type(self).__name__} does not define its priors")

    @property
    def event(self) -> Event:
        """The events of the first stage."""
        return self.first.event

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The classes of the models that have any."""
        return max(model.num_classes for model in (self.first, *self.priors.values()))

    @property
    def codebooks(self) -> dict[str, Event]:
        """Each grid of the first stage's codes as an event, by its name."""
        return self.first.codebooks

    def setup(self):
        self.check()
        first = functional(self.first.clone(parent=None))
        blank, label = jnp.zeros((1, *self.event.shape), jnp.int32), zeros(first.model, 1)
        self.frozen = self.variable(
            "frozen", "first_stage", lambda: first.init(self.make_rng("params"), blank, label)
        )

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The codes under the priors; x given the codes."""
        stages, names = [], self.first.names
        for k, (field, prior) in enumerate(self.priors.items()):
            below = {name: tree[field] for name, tree in variables.items() if field in tree}
            stages.append(Stage(names[k], prior.clone(parent=None), below, tuple(range(k))))
        return (*stages, self.decoder(variables["frozen"]["first_stage"]))

    def decoder(self, frozen: Variables) -> Stage:
        """The last stage, x given the codes."""
        return self.first.clone(parent=None).stages(frozen)[-1]

    def parts(self, x: Integer[Array, "B *event"]) -> tuple[Integer[Array, "B ..."], ...]:
        first = self.first.clone(parent=None)
        parts: tuple[Array, ...] = first.apply(self.frozen.value, x, method="parts")  # pyright: ignore[reportAssignmentType]
        return parts

    def codes_of(self, x: Integer[Array, "B *event"]) -> dict[str, Integer[Array, "B ..."]]:
        """Each grid of the first stage's codes of x, by its name."""
        return dict(zip(self.first.names, self.parts(x)[:-1], strict=True))

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """The loss of the priors on the codes, nats per code. Metrics: all stages in nats, the bound in bits/dim.

        Of a decoder that is an autoregressive model only the nats of the codes: it costs more than most priors. Initial
        values that depend on data are for random codes, as those of an untrained encoder hardly vary.
        """
        *codes, _ = self.parts(x)
        if self.is_initializing():
            draw = functools.partial(jax.random.randint, fold_in(key, "codes"), minval=0)
            codes = [draw(shape=z.shape, maxval=self.first.codes) for z in codes]
        label, names, sizes = label_of(cond), self.first.names, [z[0].size for z in codes]
        losses, metrics = [], {}
        for k, prior in enumerate(self.priors.values()):
            given = stage_condition(prior, range(k), label, codes)
            loss, _ = prior.loss(codes[k], fold_in(key, k) if k else key, given)
            losses.append(loss * (sizes[k] / sum(sizes)))
            metrics[names[k]] = loss * sizes[k]
        loss = sum(losses[1:], losses[0])
        if self.first.likelihood is not None:
            return loss, metrics
        code_nats = sum([*metrics.values()][1:], metrics[names[0]])
        last = self.decoder(self.frozen.value)
        log_p = last.model.apply(
            last.variables, x, None, last.cond(label, codes), method="log_prob"
        )
        reconstruction = -jnp.mean(log_p)
        metrics["reconstruction"] = reconstruction
        metrics["bits_per_dim"] = bits_per_dim(code_nats + reconstruction, self.event)
        return loss, metrics

    def check(self) -> None:
        events = self.first.code_events
        for k, (field, prior) in enumerate(self.priors.items()):
            require(
                prior.event == events[k],
                f"model.{field} is a model of {prior.event}, the first stage's codes are {events[k]}",
            )
            require(
                tuple(prior.conditions) == events[:k],
                f"model.{field} is given {prior.conditions}, it should be given {events[:k]}",
            )
        for model in (self.first, *self.priors.values()):
            require(
                model.num_classes in (0, self.num_classes),
                f"the stages have {model.num_classes} and {self.num_classes} classes: these should be equal",
            )


class VQVAEPrior(CodePriors):
    """`prior`: any autoregressive model of the codes of a `VQVAE`, with or without classes."""

    system: ClassVar[str] = "vq_vae_prior"

    prior: Autoregressive

    @property
    def priors(self) -> dict[str, Autoregressive]:
        return {"prior": self.prior}
