"""gen_jax: likelihood-based generative models in JAX and Flax.

Every model is a value with three methods (`loss`, `log_prob`, `sample`), and every printed number says whether it is
exact, a bound or an estimate. Public names are imported on first use, so that `--help` stays fast.
"""

import importlib

from gen_jax.registry import MODULES

_NAMES = {
    **MODULES,
    "Bernoulli": "gen_jax.heads",
    "Categorical": "gen_jax.heads",
    "Condition": "gen_jax.conditions",
    "Density": "gen_jax.density",
    "InputError": "gen_jax.errors",
    "LogisticMixture": "gen_jax.heads",
    "Order": "gen_jax.ops.orders",
    "binary": "gen_jax.typing",
    "bits_per_dim": "gen_jax.density",
    "Fitted": "gen_jax.fitted",
    "fit": "gen_jax.fitting",
    "from_datasets": "gen_jax.data.hugging_face",
    "functional": "gen_jax.density",
    "image": "gen_jax.typing",
    "load": "gen_jax.fitted",
    "points": "gen_jax.typing",
    "sound": "gen_jax.typing",
    "tokens": "gen_jax.typing",
}

__version__ = "0.1.0"
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module 'gen_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__():
    return [*__all__, "__version__"]
