"""Models that are not autoregressive, on events small enough to enumerate; a new one adds one line."""

from cases import SMALL, TINY_LOCAL

from gen_jax import (
    DDPM,
    FFJORD,
    VDM,
    VQVAE,
    FlowPP,
    GatedPixelCNN,
    Glow,
    ImageRealNVP,
    LinearGamma,
    LMConvEnsemble,
    MADEEnsemble,
    MapReader,
    PixelCNNPyramid,
    PointGlow,
    RealNVP,
    SCurve,
    Shuffled,
    Solver,
    TarFlow,
    VariationalDequantizer,
    VDMSampler,
    VQVAEPrior,
    image,
)
from gen_jax.models.diffusion.ddpm import LinearSchedule
from gen_jax.nn.unet import UNet

TINY_ATTENTION = {"features": 4, "components": 2, "heads": 2}
FAMILIES = {
    "ensemble": MADEEnsemble(image(2, 3, 1, 3), hidden=(7, 6), num_masks=3),
    "orders": LMConvEnsemble(
        image(2, 3, 1, 3), orders=(SCurve(0), SCurve(7), Shuffled(1)), **TINY_LOCAL
    ),
    "flow": RealNVP(depth=3, hidden=(8,)),
    "image_flow": ImageRealNVP(image(1, 2, 1, 3), features=3, blocks=1, scales=1, alpha=0.1),
    "glow_points": PointGlow(depth=2, hidden=(5,)),
    "glow": Glow(image(4, 4, 1, 3), scales=2, depth=2, width=4, num_classes=3),
    "patch_flow": TarFlow(image(2, 4, 1, 3), patch=2, blocks=2, layers=1, features=4, heads=2),
    "continuous_flow": FFJORD(hidden=(4,), solver=Solver("bosh3", 1e-4)),
    "attention_flow": FlowPP(
        image(2, 4, 1, 3),
        blocks=1,
        couplings=(1, 1, 1),
        dropout=0.0,
        dequantizer=VariationalDequantizer(blocks=1, couplings=2, context=3, **TINY_ATTENTION),
        **TINY_ATTENTION,
    ),
    "diffusion": DDPM(
        image(2, 2, 1, 3), UNet(4, (1,), 1, (), 2), timesteps=4, schedule=LinearSchedule(0.5, 0.8)
    ),
    "vdm": VDM(
        image(2, 2, 1, 3),
        UNet(4, (1,), 2, (), 2, zero_time=True, scan=True),
        schedule=LinearGamma(-2.0, 2.0),
        fourier=(0,),
        sampler=VDMSampler(3),
    ),
    "pyramid": PixelCNNPyramid(
        image(4, 4, 1, 2),
        (
            GatedPixelCNN(image(1, 1, 1, 2), features=4, **SMALL),
            *(
                GatedPixelCNN(
                    image(side, side, 1, 2),
                    maps=(image(side // 2, side // 2, 1, 2),),
                    reader=MapReader(4, 0, 1, embedding=2),
                    features=4,
                    **SMALL,
                )
                for side in (2, 4)
            ),
        ),
        view="subsample",
    ),
    "stages": VQVAEPrior(
        VQVAE(image(2, 4, 1, 2), strided=(3,), codes=3, blocks=1, residual=2, size=2),
        GatedPixelCNN(image(1, 2, 1, 3), features=4, **SMALL),
    ),
}
