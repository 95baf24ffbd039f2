"""Which tests judge a source file: the most specific first, a pytest -k expression where not all of a file."""

Tests = list[tuple[str, str]]

LAWS = "laws"


def laws(*cases: str) -> tuple[str, str]:
    """Those cases of the laws."""
    return LAWS, " or ".join(cases)


def inputs(*systems: str) -> tuple[str, str]:
    """Those systems of `test_every_input`."""
    return "every_input", " or ".join(systems)


def losses(*systems: str) -> tuple[str, str]:
    """Those systems of `test_losses`."""
    return "losses", " or ".join(systems)


def all_of(*names: str) -> Tests:
    """Whole files."""
    return [(name, "") for name in names]


SNAIL, PP, GATED, WAVE = "pixel_snail", "pixel_cnn_pp", "gated_pixel_cnn", "wavenet"
CELLS = ("rnn", "lstm", "gru")
LATENT = [
    *all_of("bounds", "certify_bounds"),
    losses("vae"),
    inputs("vae"),
    ("latent", "autoencoder or collapse"),
]
FLOW = [*all_of("initialisation", "flows"), losses("flow", "level")]
DIFFUSION = [
    *all_of("initialisation", "diffusion", "ddpm"),
    losses("diffusion", "time"),
    inputs("diffusion"),
]
GATED_TESTS = [laws(GATED), inputs(GATED), ("models", "gated or class or dropout or leak")]
SHIFTED = [
    *all_of("initialisation", "shifted_conv"),
    laws(PP, SNAIL),
    inputs(PP, SNAIL, "place"),
    ("models", "pp or snail or impossible"),
]
TRANSFORMERS = [*all_of("patterns", "transformer"), laws("sparse"), inputs("sparse")]
WAVENET = [*all_of("wavenet"), laws(WAVE), inputs(WAVE, "frames")]
VQ = [*all_of("vq", "vq_vae"), losses("vq"), inputs("vq")]
RECURRENT = [*all_of("recurrent"), laws(*CELLS), losses("lstm")]
COUNTS = [
    ("models", "histogram or table or lecture or counting"),
    laws("independent", "markov", "full"),
]

TESTS: dict[str, Tests] = {
    "heads": [*all_of("ops", "logistic_mixture"), laws(GATED, PP, "nade")],
    "ops/attention": [*all_of("attention", "patterns"), ("diffusion", "attention"), laws(SNAIL)],
    "ops/categorical": [*all_of("ops"), laws("independent", WAVE)],
    "ops/convolution": [*all_of("convolution"), laws(GATED)],
    "ops/coupling": FLOW,
    "ops/dequantize": FLOW,
    "ops/diffusion": DIFFUSION,
    "ops/gates": [*all_of("ops", "shifted_conv"), laws(GATED, PP)],
    "ops/gaussian": [("diffusion", "gaussian"), *LATENT, *FLOW],
    "ops/logistic_mixture": [*all_of("logistic_mixture"), laws(PP)],
    "ops/masks": [*all_of("ops"), ("flows", ""), ("nade", ""), laws(GATED)],
    "ops/mu_law": [("wavenet", ""), ("sound", "")],
    "ops/orders": all_of("orders", "nade"),
    "ops/patterns": TRANSFORMERS,
    "ops/recurrent": RECURRENT,
    "ops/scaling": [*all_of("ops", "logistic_mixture", "diffusion"), *all_of("gan")],
    "ops/shifted_conv": SHIFTED,
    "ops/sinusoidal": all_of("diffusion"),
    "ops/squeeze": FLOW,
    "ops/vq": VQ,
    "nn/bijections": FLOW,
    "nn/blocks": all_of("probe"),
    "nn/at": [*all_of("raster"), *GATED_TESTS],
    "nn/causal_conv": [*all_of("ops", "raster"), *GATED_TESTS],
    "nn/conv.py": [*all_of("convolution", "gan"), *VQ, inputs("diffusion")],
    "nn/encoders": LATENT,
    "nn/gated_resnet": SHIFTED,
    "nn/shifted_conv": SHIFTED,
    "nn/transformer": TRANSFORMERS,
    "nn/unet": DIFFUSION,
    "models/adversarial": [*all_of("gan"), inputs("gan"), ("families", "gan")],
    "models/baseline/full_table": COUNTS,
    "models/baseline/fvsbn": [laws("fvsbn"), *COUNTS],
    "models/baseline": COUNTS,
    "models/autoregressive/gated_pixel_cnn": [
        *all_of("raster"),
        *GATED_TESTS,
        ("bounds", "pixel"),
        ("latent", "untrained"),
    ],
    "models/autoregressive/raster": [*all_of("raster"), *GATED_TESTS],
    "models/autoregressive/made": [*all_of("nade"), laws("made"), losses("mask")],
    "models/autoregressive/nade": [*all_of("nade", "initialisation"), laws("nade"), losses("nade")],
    "models/autoregressive/pixel_cnn_pp": [*SHIFTED, ("models", "spot or sees")],
    "models/autoregressive/pixel_cnn": [
        laws("[pixel_cnn]"),
        ("models", ""),
        *all_of("raster", "receptive_field"),
    ],
    "models/autoregressive/pixel_snail": [*all_of("attention"), *SHIFTED],
    "models/autoregressive/pixelwise": SHIFTED,
    "models/autoregressive/sparse_transformer": TRANSFORMERS,
    "models/autoregressive/wavenet": WAVENET,
    "models/autoregressive/recurrent": RECURRENT,
    "models/autoregressive/sequence": [*WAVENET, *RECURRENT, laws("nade", "made", "fvsbn")],
    "models/autoregressive/base": [
        laws("nade", GATED),
        losses("nade", "lstm"),
        ("models", "counting"),
    ],
    "models/latent/staged": VQ,
    "models/diffusion": DIFFUSION,
    "models/discriminative": [("distances", "classifier"), inputs("classifier")],
    "models/flow": FLOW,
    "models/latent/vq": VQ,
    "models/latent/pixel_vae": [("bounds", ""), *LATENT],
    "models/latent": LATENT,
}


def tests_of(path: str) -> Tests:
    """Those of the longest entry that the path, from the package on, begins with."""
    within = path.removeprefix("gen_jax/")
    return TESTS[max((name for name in TESTS if within.startswith(name)), key=len)]


def selected(tests: Tests) -> tuple[list[str], str]:
    """The files in order, and one -k expression for them all."""
    wanted: dict[str, list[str]] = {}
    for name, expression in tests:
        wanted.setdefault(name, []).append(expression)
    files = [f"tests/test_{name}.py" for name in wanted]
    parts = []
    for name, expressions in wanted.items():
        whole = "" in expressions
        parts.append(f"test_{name}.py" + ("" if whole else f" and ({' or '.join(expressions)})"))
    return files, " or ".join(f"({part})" for part in parts)
