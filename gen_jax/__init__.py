"""gen_jax: likelihood-based generative models in JAX and Flax.

Every model is a value with three verbs (`loss`, `log_prob`, `sample`), and every number it prints says whether it is
exact, a bound or an estimate. The public names are imported when they are first used, so that `--help` stays fast.
"""

import importlib

_NAMES = {
    "Autoencoder": "gen_jax.models.latent.autoencoder",
    "Bernoulli": "gen_jax.heads",
    "Categorical": "gen_jax.heads",
    "Classifier": "gen_jax.models.discriminative.classifier",
    "DDPM": "gen_jax.models.diffusion.ddpm",
    "Density": "gen_jax.density",
    "Event": "gen_jax.typing",
    "FVSBN": "gen_jax.models.baseline.fvsbn",
    "FullTable": "gen_jax.models.baseline.full_table",
    "GAN": "gen_jax.models.adversarial.gan",
    "GRU": "gen_jax.models.autoregressive.gru",
    "GatedPixelCNN": "gen_jax.models.autoregressive.gated_pixel_cnn",
    "IWAE": "gen_jax.models.latent.iwae",
    "ImageRealNVP": "gen_jax.models.flow.real_nvp",
    "Independent": "gen_jax.models.baseline.independent",
    "InputError": "gen_jax.errors",
    "LSTM": "gen_jax.models.autoregressive.lstm",
    "LogisticMixture": "gen_jax.heads",
    "MADE": "gen_jax.models.autoregressive.made",
    "MADEEnsemble": "gen_jax.models.autoregressive.made",
    "Markov": "gen_jax.models.baseline.markov",
    "NADE": "gen_jax.models.autoregressive.nade",
    "PixelCNN": "gen_jax.models.autoregressive.pixel_cnn",
    "PixelCNNPP": "gen_jax.models.autoregressive.pixel_cnn_pp",
    "PixelSNAIL": "gen_jax.models.autoregressive.pixel_snail",
    "PixelVAE": "gen_jax.models.latent.pixel_vae",
    "RNN": "gen_jax.models.autoregressive.rnn",
    "Uniform": "gen_jax.models.baseline.uniform",
    "RealNVP": "gen_jax.models.flow.real_nvp",
    "VAE": "gen_jax.models.latent.vae",
    "VQVAE": "gen_jax.models.latent.vq_vae",
    "VQVAEPrior": "gen_jax.models.latent.vq_vae_prior",
    "WaveNet": "gen_jax.models.autoregressive.wavenet",
    "binary": "gen_jax.typing",
    "bits_per_dim": "gen_jax.density",
    "functional": "gen_jax.density",
    "image": "gen_jax.typing",
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
