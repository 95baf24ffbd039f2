"""Classifier: p(y | x) = softmax(W h(x) + b) of a label y, h a small convolutional network.

It is no distribution of x. Distances between sets of images are computed from its last hidden layer
(`evaluate/distances.py`), so they need no network from elsewhere.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require
from gen_jax.density import Codec, Kind, Value
from gen_jax.errors import InputError
from gen_jax.nn.conv import Dense
from gen_jax.nn.encoders import ConvEncoder
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class Classifier(nn.Module):
    """Images of integers, scaled to [-1, 1]; dropout before both dense layers."""

    system: ClassVar[str] = "classifier"

    event: Event
    num_classes: int
    encoder: ConvEncoder = ConvEncoder()
    hidden: int = 64
    dropout: float = 0.5

    kind: ClassVar[Kind] = "none"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"

    def setup(self):
        self.check()
        self.layer = Dense(self.hidden)
        self.logits = Dense(self.num_classes)
        self.drop = nn.Dropout(self.dropout)

    def embed(self, x: Num[Array, "B H W C"], train: bool = False) -> Float[Array, "B F"]:
        """The last hidden layer."""
        x = self.encoder(to_symmetric(x, self.event.num_levels))
        return nn.tanh(self.layer(self.drop(x, deterministic=not train)))

    def log_probs(self, x: Num[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        """log p(label | x) for every label."""
        features = self.drop(self.embed(x, train), deterministic=not train)
        return jax.nn.log_softmax(self.logits(features))

    def loss(
        self, x: Num[Array, "B H W C"], key: PRNGKey, cond: Int[Array, " B"] | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(label | x), nats an example, with the labels as `cond`; InputError without them."""
        del key  # dropout has its own key
        log_probs = self.log_probs(x, train=True)
        correct, nats = _judged(log_probs, cond)
        return jnp.mean(nats), {"accuracy": jnp.mean(correct)}

    def log_prob(
        self, x: Num[Array, "B H W C"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        """InputError: a classifier has no distribution of images."""
        raise InputError("a classifier has no distribution of images")

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n H W C"]:
        """InputError: a classifier has no distribution of images."""
        raise InputError("a classifier has no distribution of images to sample from")

    def measure(
        self, x: Num[Array, "B H W C"], key: PRNGKey, cond: Int[Array, " B"] | None = None
    ) -> dict[str, Array]:
        """1 if the most probable label is right, else 0, and -log p of the right label."""
        del key  # no noise
        correct, nats = _judged(self.log_probs(x), cond)
        return {"accuracy": correct, "cross_entropy": nats}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Means over the split; no findings."""
        return {name: float(rows.mean()) for name, rows in measured.items()}, {}

    def check(self) -> None:
        require(
            len(self.event.shape) == 3 and self.event.levels is not None,
            f"classifier is for images of integers, not for {self.event}",
        )
        require(
            self.num_classes >= 2 and self.hidden >= 1,
            "classifier needs at least two classes and one hidden unit",
        )


def _judged(
    log_probs: Float[Array, "B K"], labels: Int[Array, " B"] | None
) -> tuple[Float[Array, " B"], Nats]:
    if labels is None:
        raise InputError("a classifier needs labels")
    nats = -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]
    return (jnp.argmax(log_probs, axis=-1) == labels).astype(nats.dtype), nats
