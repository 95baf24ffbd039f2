"""The picture of README.md: 15 samples of each of eight systems, trained on digits.

    make zoo                                   # or: python experiments/zoo/run.py --only SYSTEM ...
    python experiments/strip.py runs/zoo       # reads runs/zoo/SYSTEM_0, writes experiments/results/strip_digits.png

The samples are those of `gen-jax sample runs/zoo/SYSTEM_0 --num 15 --seed 0`: the first ones, not chosen.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import gen_jax
from gen_jax.disk import write_atomically
from gen_jax.included import RESULTS
from gen_jax.media import pictures

SYSTEMS = {  # and the names under their samples
    "gated_pixel_cnn": "Gated PixelCNN",
    "pixel_rnn_diagonal": "Diagonal BiLSTM",
    "sparse_transformer": "Sparse Transformer",
    "vd_vae": "VDVAE",
    "vq_vae_2_prior": "VQ-VAE-2",
    "tar_flow": "TarFlow",
    "ddpm": "DDPM",
    "gan": "GAN",
}
TRAINED = {"gated_pixel_cnn": "gated_pixel_cnn_digits"}  # comes with the package
COLUMNS, ROWS, SCALE, LETTERS = 5, 3, 4, 16
MARGINS = (2 * LETTERS, LETTERS)  # pixels below a panel, for its name, and beside it
PER_LINE = 4  # systems
WHITE = 255


def strip(samples: dict[str, np.ndarray], levels: int) -> Image.Image:
    """Samples (N, H, W, 1) above their names, N = COLUMNS x ROWS each, on white."""
    panels = [
        pictures.grid(pictures.to_grey(x, levels), COLUMNS, gap=1, background=WHITE)[..., 0]
        for x in samples.values()
    ]
    large = [panel.repeat(SCALE, axis=0).repeat(SCALE, axis=1) for panel in panels]
    height, width = (side + pad for side, pad in zip(large[0].shape, MARGINS, strict=True))
    lines = -(-len(panels) // PER_LINE)
    picture = Image.new("L", (width * min(PER_LINE, len(panels)), height * lines), WHITE)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTERS)
    for number, (name, panel) in enumerate(zip(samples, large, strict=True)):
        line, column = divmod(number, PER_LINE)
        picture.paste(Image.fromarray(panel), (column * width, line * height))
        place = (
            column * width + panel.shape[1] / 2,
            line * height + panel.shape[0] + LETTERS * 0.8,
        )
        draw.text(place, name, fill=0, font=font, anchor="mm")
    return picture


def main() -> int:
    """Draw the samples and write the picture."""
    runs, samples, levels = Path(sys.argv[1] if sys.argv[1:] else "runs/zoo"), {}, 0
    for system, name in SYSTEMS.items():
        fitted = gen_jax.load(TRAINED.get(system, runs / f"{system}_0"))
        samples[name] = np.asarray(fitted.sample(COLUMNS * ROWS, seed=0))
        levels = fitted.model.event.levels
    write_atomically(RESULTS / "strip_digits.png", pictures.png(strip(samples, levels)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
