"""Agreement with a CPU: the same SGD steps, losses during training, and log p(x) of held-out images at the end.

numpy draws weights and images, so that they are bit-identical on every machine and version.
"""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from stage import LeftOutError, Setting, drawn

from gen_jax.density import functional
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.latent.vae import VAE
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder
from gen_jax.runs.state import TrainState
from gen_jax.train.step import train_step
from gen_jax.typing import image

REFERENCE = Path(__file__).with_name("reference.json")
WRITTEN = "reference"  # the variant with which the others are compared
STEPS, BATCH = 50, 16
RATES = {
    "gated_pixel_cnn": 1.0,
    "pixel_cnn_pp": 0.1,
    "vae": 1e-3,
}  # SGD; the losses have their papers' units
LOSS_RTOL, NATS_ATOL = 1e-4, 1e-3
GREY, COLOUR = image(8, 8, levels=16), image(8, 8, channels=3)
MODELS = {
    "gated_pixel_cnn": GatedPixelCNN(GREY, depth=3, features=32, head_features=32),
    "pixel_cnn_pp": PixelCNNPP(
        COLOUR, features=16, resnets=1, resolutions=2, mixtures=5, dropout=0.0
    ),
    "vae": VAE(GREY, latent=8, encoder=ConvEncoder((16, 32)), decoder=ConvDecoder((32, 16))),
}


def run(case: str, setting: Setting) -> dict[str, Any]:
    """Losses in bits/dim and log p(x) in nats, compared with the reference; in float32 also whether they agree."""
    name, precision = case.split(", ")
    model = MODELS[name]
    trained = model
    if precision == "bfloat16":
        if not hasattr(model, "dtype"):
            raise LeftOutError(f"{name} has no compute type")
        trained = model.clone(dtype="bfloat16")
    losses, params = train(trained, RATES[name], precision)
    with jax.default_matmul_precision("highest"):
        log_prob = log_probs(model, params)
    measured = {"losses": losses, "log_prob": log_prob}
    if setting.variant == WRITTEN:
        return measured
    return measured | compared(model, measured, json.loads(REFERENCE.read_text())[name], precision)


def train(model: Any, rate: float, precision: str) -> tuple[list[float], Any]:
    """The loss before each step, in bits/dim, and the weights after the last step."""
    pure, optimizer = functional(model), optax.sgd(rate)
    x = images(model.event, STEPS * BATCH).reshape(STEPS, BATCH, *model.event.shape)
    shapes = jax.eval_shape(pure.init, jax.random.key(0), x[0])
    params = jax.tree.map(lambda z: jnp.asarray(z, jnp.result_type(float)), drawn(shapes["params"]))
    ema = jax.tree.map(jnp.copy, params)
    state = TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params), {})
    step = functools.partial(
        train_step, model=pure, optimizer=optimizer, key=jax.random.key(1), ema=0.99
    )
    losses = []
    with jax.default_matmul_precision("highest" if precision == "float32" else precision):
        step = jax.jit(step, donate_argnums=0)
        for batch in x:
            state, metrics = step(state, {"x": batch, "cond": None})
            losses.append(metrics["bits_per_dim"])
    return [float(loss) for loss in losses], state.params


def log_probs(model: Any, params: Any) -> list[float]:
    """log p(x) of images outside the training set; for the VAE its bound with one draw."""
    x = images(model.event, (STEPS + 1) * BATCH)[-BATCH:]
    evaluate = jax.jit(functional(model).log_prob)
    return np.asarray(evaluate({"params": params}, x, jax.random.key(2)), np.float64).tolist()


def compared(model: Any, measured: dict, reference: dict, precision: str) -> dict[str, Any]:
    """The largest differences, and differences in bits/dim of the first loss and of log p(x) after training."""
    both = {
        place: {name: np.asarray(numbers[name], float) for name in ("losses", "log_prob")}
        for place, numbers in (("here", measured), ("there", reference))
    }
    here, there, size = both["here"], both["there"], model.event.size * math.log(2)
    loss = np.max(np.abs(here["losses"] / there["losses"] - 1))
    nats = np.max(np.abs(here["log_prob"] - there["log_prob"]))
    bits = {place: -np.mean(numbers["log_prob"]) / size for place, numbers in both.items()}
    fields = {
        "loss_difference": float(loss),
        "log_prob_difference": float(nats),
        "bits_per_dim": float(bits["here"]),
        "bits_per_dim_difference": float(bits["here"] - bits["there"]),
        "first_bits_per_dim_difference": float(here["losses"][0] - there["losses"][0]),
    }
    if precision == "float32":  # NaN does not agree
        fields["agrees"] = bool(loss <= LOSS_RTOL and nats <= NATS_ATOL)
    return fields


def images(event: Any, count: int) -> np.ndarray:
    """Smooth random images: sums of waves, quantised to levels."""
    rng = np.random.default_rng(0)
    height, width, channels = event.shape
    rows, columns = np.mgrid[:height, :width, :channels][:2] / max(height, width)
    x = np.zeros((count, *event.shape))
    for _ in range(3):
        a, b, phase, size = rng.normal(size=(4, count, 1, 1, channels)) * 2
        x += size * np.sin(2 * np.pi * (a * rows + b * columns) + phase)
    unit = 1 / (1 + np.exp(-x / 2))
    return np.minimum(unit * event.levels, event.levels - 1).astype(np.int32)
