"""Names of classes in old records, before classes had public names: module and class, with every field.

A row has the class, its public name if that is different, and the fields that old records always had. The names serve
to read old records; the fields reproduce the identity to which old compressed files are bound (`config_tree.former`).

The table is complete: records have public names now, so moving a class needs no row here, only its new module in
`registry.py`.
"""

from typing import NamedTuple


class Former(NamedTuple):
    """A class in old records: its path, its public name and its fields."""

    path: str
    name: str
    fields: tuple[str, ...]


_TABLE = """
gen_jax.data.prepared
    Data: name
gen_jax.experiment
    Evaluate: every batch_size examples data draws validation_draws
    Experiment: model data steps batch_size optimizer seed ema evaluate first_stage
gen_jax.models.adversarial.gan
    GAN: event latent generator discriminator saturating
gen_jax.models.autoregressive.gated_pixel_cnn
    GatedPixelCNN: event num_classes vector depth features first_kernel kernel head_features dropout embedding dtype
gen_jax.models.autoregressive.gru
    GRU: event features depth dropout carry
gen_jax.models.autoregressive.lstm
    LSTM: event features depth dropout carry
gen_jax.models.autoregressive.made
    MADE: event hidden direct order_seed mask_seed
    MADEEnsemble: event hidden direct num_masks seed
gen_jax.models.autoregressive.nade
    NADE: event hidden order_seed
gen_jax.models.autoregressive.pixel_cnn
    PixelCNN: event depth features first_kernel head_features dtype
gen_jax.models.autoregressive.pixel_cnn_pp
    PixelCNNPP: event num_classes features mixtures dropout dtype resnets resolutions two_streams skips
gen_jax.models.autoregressive.pixel_snail
    PixelSNAIL: event num_classes features mixtures dropout dtype blocks resnets key_size
gen_jax.models.autoregressive.rnn
    RNN: event features depth dropout carry
gen_jax.models.autoregressive.wavenet
    WaveNet: event num_classes local hop cycles depth kernel features skip_features mixtures dtype
gen_jax.models.baseline.full_table
    FullTable: event alpha
gen_jax.models.baseline.fvsbn
    FVSBN: event
gen_jax.models.baseline.independent
    Independent: event alpha
gen_jax.models.baseline.markov
    Markov: event alpha
gen_jax.models.baseline.uniform
    Uniform: event
gen_jax.models.diffusion.ddpm
    DDPM: event network timesteps schedule predicted variance objective sampler
    Sampler = DDPMSampler: steps eta
gen_jax.models.diffusion.schedules
    Cosine = CosineSchedule: offset most
    Linear = LinearSchedule: first last
gen_jax.models.discriminative.classifier
    Classifier: event num_classes encoder hidden dropout
gen_jax.models.flow.real_nvp
    ImageRealNVP: event features blocks scales alpha
    RealNVP: event depth hidden
gen_jax.models.latent.autoencoder
    Autoencoder: event latent encoder decoder
gen_jax.models.latent.iwae
    IWAE: event latent encoder decoder mixtures draws
gen_jax.models.latent.kl_term
    KLTerm: beta annealing free_bits groups
gen_jax.models.latent.pixel_vae
    PixelVAE: event latent encoder kl depth features first_kernel kernel head_features dropout dtype
gen_jax.models.latent.vae
    VAE: event latent encoder decoder mixtures kl
gen_jax.models.latent.vq_vae
    VQVAE: event strided blocks residual codes size groups mixtures commitment decay restart
gen_jax.models.latent.vq_vae_prior
    VQVAEPrior: first prior
gen_jax.nn.adversarial
    ConvDiscriminator: features
    ConvGenerator: features
    DenseDiscriminator: hidden
    DenseGenerator: hidden
gen_jax.nn.encoders
    ConvDecoder: features
    ConvEncoder: features
    DenseDecoder: hidden
    DenseEncoder: hidden
gen_jax.nn.unet
    UNet: features multipliers blocks attention groups dropout dtype
gen_jax.train.optimizer
    Adam: learning_rate b1 b2 eps eps_root weight_decay clip_norm accumulate
    Exponential = ExponentialDecay: start rate
    Groups = OptimizerGroups: names optimizers accumulate
    L2: coefficient names
    RMSProp: learning_rate decay eps accumulate
    Stages = PiecewiseConstant: rates lengths
    WarmupCosine: peak warmup steps end
gen_jax.typing
    Event: shape levels
"""


def _read(table: str) -> list[Former]:
    rows, module = [], ""
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            module = line
            continue
        names, _, fields = line.strip().partition(": ")
        cls, _, name = names.partition(" = ")
        rows.append(Former(f"{module}:{cls}", name or cls, tuple(fields.split())))
    return rows


BY_PATH = {row.path: row for row in _read(_TABLE)}
BY_NAME = {row.name: row for row in BY_PATH.values()}
