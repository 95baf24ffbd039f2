"""The public name of every class that a config can hold, and the module that has it.

Records (config.json, result files, compressed files) name a class `gen_jax:NAME`, which is `gen_jax.NAME` in Python, so
no record depends on where a class lies.

To move a class: change its module here, and nothing else. `former.py` is complete already: it holds the path of each
class from the time when records had paths. To add a class that a config can hold: add its line here. A class keeps its
public name for ever, and its fields keep their names and defaults; a new field needs a default.
"""

MODULES = {
    "Adam": "gen_jax.optimizer",
    "Autoencoder": "gen_jax.models.latent.autoencoder",
    "Classifier": "gen_jax.models.discriminative.classifier",
    "ConvDecoder": "gen_jax.nn.encoders",
    "ConvDiscriminator": "gen_jax.models.adversarial.gan",
    "ConvEncoder": "gen_jax.nn.encoders",
    "ConvGenerator": "gen_jax.models.adversarial.gan",
    "CosineSchedule": "gen_jax.models.diffusion.ddpm",
    "DDPM": "gen_jax.models.diffusion.ddpm",
    "DDPMSampler": "gen_jax.models.diffusion.ddpm",
    "Data": "gen_jax.data.prepared",
    "DenseDecoder": "gen_jax.nn.encoders",
    "DenseDiscriminator": "gen_jax.models.adversarial.gan",
    "DenseEncoder": "gen_jax.nn.encoders",
    "DenseGenerator": "gen_jax.models.adversarial.gan",
    "Evaluate": "gen_jax.experiment",
    "Event": "gen_jax.typing",
    "Experiment": "gen_jax.experiment",
    "ExponentialDecay": "gen_jax.optimizer",
    "FVSBN": "gen_jax.models.baseline.fvsbn",
    "FullTable": "gen_jax.models.baseline.full_table",
    "GAN": "gen_jax.models.adversarial.gan",
    "GRU": "gen_jax.models.autoregressive.recurrent",
    "GatedPixelCNN": "gen_jax.models.autoregressive.gated_pixel_cnn",
    "IWAE": "gen_jax.models.latent.iwae",
    "ImageRealNVP": "gen_jax.models.flow.real_nvp",
    "Independent": "gen_jax.models.baseline.independent",
    "KLTerm": "gen_jax.models.latent.base",
    "L2": "gen_jax.optimizer",
    "LSTM": "gen_jax.models.autoregressive.recurrent",
    "LinearSchedule": "gen_jax.models.diffusion.ddpm",
    "MADE": "gen_jax.models.autoregressive.made",
    "MADEEnsemble": "gen_jax.models.autoregressive.made",
    "Markov": "gen_jax.models.baseline.markov",
    "NADE": "gen_jax.models.autoregressive.nade",
    "OptimizerGroups": "gen_jax.optimizer",
    "PiecewiseConstant": "gen_jax.optimizer",
    "PixelCNN": "gen_jax.models.autoregressive.pixel_cnn",
    "PixelCNNPP": "gen_jax.models.autoregressive.pixel_cnn_pp",
    "PixelSNAIL": "gen_jax.models.autoregressive.pixel_snail",
    "PixelVAE": "gen_jax.models.latent.pixel_vae",
    "RMSProp": "gen_jax.optimizer",
    "RNN": "gen_jax.models.autoregressive.recurrent",
    "RealNVP": "gen_jax.models.flow.real_nvp",
    "UNet": "gen_jax.nn.unet",
    "Uniform": "gen_jax.models.baseline.uniform",
    "VAE": "gen_jax.models.latent.vae",
    "VQVAE": "gen_jax.models.latent.vq_vae",
    "VQVAEPrior": "gen_jax.models.latent.vq_vae_prior",
    "WarmupCosine": "gen_jax.optimizer",
    "WaveNet": "gen_jax.models.autoregressive.wavenet",
}
