"""The tests that check a source file, the most specific ones first.

An entry is a test file and a pytest -k expression that selects tests in it; an empty expression selects all.
"""

Tests = list[tuple[str, str]]

LAWS = "laws"


def laws(*cases: str) -> tuple[str, str]:
    """The tests of `test_laws` with these cases."""
    return LAWS, " or ".join(cases)


def inputs(*systems: str) -> tuple[str, str]:
    """The tests of `test_every_input` with these systems."""
    return "every_input", " or ".join(systems)


def losses(*systems: str) -> tuple[str, str]:
    """The tests of `test_losses` with these systems."""
    return "losses", " or ".join(systems)


def all_of(*names: str) -> Tests:
    """All tests of these files."""
    return [(name, "") for name in names]


SNAIL, PP, GATED, WAVE = "pixel_snail", "pixel_cnn_pp", "gated_pixel_cnn", "wavenet"
CELLS = ("rnn", "lstm", "gru")
LATENT = [
    *all_of("bounds", "certify_bounds"),
    losses("vae"),
    inputs("vae"),
    ("latent", "autoencoder or collapse"),
    *all_of("latent_groups", "latent_classes"),
]
FLOW = [*all_of("initialisation", "flows", "class_conditional"), losses("flow", "level")]
FLOW_PP = all_of("flow_pp", "dequantizers")
DIFFUSION = [
    *all_of("initialisation", "diffusion", "ddpm", "vdm", "importance_times", "class_conditional"),
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
VQ = [*all_of("vq", "vq_vae", "vq_vae_sound", "vq_vae_2"), losses("vq"), inputs("vq")]
RECURRENT = [*all_of("recurrent"), laws(*CELLS), losses("lstm")]
COUNTS = [
    ("models", "histogram or table or lecture or counting"),
    laws("independent", "markov", "full"),
]

TESTS: dict[str, Tests] = {
    "heads": [*all_of("ops", "logistic_mixture"), laws(GATED, PP, "nade")],
    "ops/attention": [*all_of("attention", "patterns"), ("diffusion", "attention"), laws(SNAIL)],
    "ops/augment": [*all_of("augment"), ("image_models", "transform or identity or kind")],
    "ops/categorical": [*all_of("ops"), laws("independent", WAVE)],
    "ops/convolution": [*all_of("convolution"), laws(GATED)],
    "ops/coupling": FLOW,
    "ops/dequantize": FLOW,
    "ops/diffusion": DIFFUSION,
    "ops/gates": [*all_of("ops", "shifted_conv"), laws(GATED, PP)],
    "ops/gaussian": [("diffusion", "gaussian"), ("paths", "quantiles"), *LATENT, *FLOW],
    "ops/importance": [*LATENT, *FLOW],
    "ops/latents": [*LATENT, *all_of("vimco", "bits_back")],
    "ops/local_mask": [laws("lm_conv"), *all_of("lm_conv")],
    "ops/logistic_mixture": [*all_of("logistic_mixture"), laws(PP)],
    "ops/loops": [*all_of("raster", "patterns"), laws("[made")],
    "ops/lu": all_of("glow"),
    "ops/masks": [*all_of("ops"), ("flows", ""), ("nade", ""), laws(GATED)],
    "ops/mixture_cdf": [*all_of("mixture_cdf"), *FLOW_PP],
    "ops/mu_law": [("wavenet", ""), ("sound", "")],
    "ops/nade": [*all_of("nade"), ("pieces", ""), laws("nade"), losses("nade")],
    "ops/ode": all_of("ode", "ffjord"),
    "ops/orders": all_of("orders", "nade"),
    "ops/paths": all_of("paths"),
    "ops/patterns": TRANSFORMERS,
    "ops/rectangle": TRANSFORMERS,
    "ops/recurrent": RECURRENT,
    "ops/scaling": [*all_of("ops", "logistic_mixture", "diffusion"), *all_of("gan")],
    "ops/shifted_conv": SHIFTED,
    "ops/sinusoidal": all_of("diffusion"),
    "ops/squeeze": [*FLOW, *FLOW_PP],
    "ops/vq": VQ,
    "nn/bijections": [*FLOW, *all_of("glow")],
    "nn/blocks": all_of("probe"),
    "nn/at": [*all_of("raster"), *GATED_TESTS],
    "nn/causal_conv": [*all_of("ops", "raster"), *GATED_TESTS],
    "nn/masked_conv": [laws("[pixel_cnn]"), *all_of("raster", "pixel_rnn"), ("models", "")],
    "nn/conv.py": [*all_of("convolution", "gan"), *VQ, inputs("diffusion")],
    "nn/codebook": VQ,
    "nn/conditioning": [laws("given", "maps"), *all_of("auxiliary")],
    "nn/encoders": LATENT,
    "nn/gated_attention": FLOW_PP,
    "nn/mixture_coupling": FLOW_PP,
    "nn/grids": [*VQ, ("vimco", "grid")],
    "nn/gated_resnet": SHIFTED,
    "nn/recurrent": RECURRENT,
    "nn/repeated": all_of("repeated"),
    "nn/shifted_conv": SHIFTED,
    "nn/transformer": TRANSFORMERS,
    "nn/time_dense": all_of("probability_flow"),
    "nn/unet": DIFFUSION,
    "models/adversarial": [*all_of("gan", "class_conditional"), inputs("gan"), ("families", "gan")],
    "models/baseline/full_table": COUNTS,
    "models/baseline/fvsbn": [laws("fvsbn"), *COUNTS],
    "models/baseline": COUNTS,
    "models/autoregressive/gated_pixel_cnn": [
        *all_of("raster"),
        *GATED_TESTS,
        ("bounds", "pixel"),
        ("latent", "untrained"),
    ],
    "models/autoregressive/dist_aug": [*all_of("image_models"), laws("dist_aug")],
    "models/autoregressive/image_gpt": [*all_of("image_models"), laws("image_gpt")],
    "models/autoregressive/image_transformer": [*all_of("image_models"), laws("image_transformer")],
    "models/autoregressive/raster": [*all_of("raster"), *GATED_TESTS],
    "models/autoregressive/made": [*all_of("nade"), laws("made"), losses("mask")],
    "models/autoregressive/nade": [*all_of("nade", "initialisation"), laws("nade"), losses("nade")],
    "models/autoregressive/pixel_cnn_pp": [*SHIFTED, ("models", "spot or sees")],
    "models/autoregressive/pixel_cnn_auxiliary": [*all_of("auxiliary"), laws("pyramid")],
    "models/autoregressive/pixel_cnn": [
        laws("[pixel_cnn]"),
        ("models", ""),
        *all_of("raster", "receptive_field"),
    ],
    "models/autoregressive/pixel_rnn": [laws("pixel_rnn"), *all_of("pixel_rnn")],
    "models/autoregressive/masked_stack": [
        laws("[pixel_cnn]", "pixel_rnn"),
        ("models", ""),
        *all_of("pixel_rnn", "raster"),
    ],
    "models/autoregressive/lm_conv": [laws("lm_conv"), *all_of("lm_conv")],
    "models/autoregressive/mixture": all_of("lm_conv", "bits_back"),
    "models/autoregressive/pixel_snail": [*all_of("attention"), *SHIFTED],
    "models/autoregressive/pixelwise": SHIFTED,
    "models/autoregressive/sparse_transformer": TRANSFORMERS,
    "models/autoregressive/wavenet": WAVENET,
    "models/autoregressive/recurrent": RECURRENT,
    "models/autoregressive/rnn_nade": [("pieces", ""), laws("rnn_nade")],
    "models/autoregressive/sequence": [*WAVENET, *RECURRENT, laws("nade", "made", "fvsbn")],
    "models/autoregressive/base": [
        laws("nade", GATED),
        losses("nade", "lstm"),
        ("models", "counting"),
    ],
    "models/staged": [*VQ, *all_of("auxiliary")],
    "models/diffusion": DIFFUSION,
    "models/discriminative": [("distances", "classifier"), inputs("classifier")],
    "models/flow/tar_flow": [*all_of("tar_flow"), laws("patch_flow")],
    "models/flow": FLOW,
    "models/latent/given_codes": VQ,
    "models/latent/vq": VQ,
    "models/latent/pixel_vae": [("bounds", ""), *LATENT],
    "models/latent/vd_vae": all_of("vd_vae"),
    "models/latent/vimco": all_of("vimco"),
    "models/latent/estimators": all_of("latent_groups", "vimco"),
    "models/latent": [*LATENT, *all_of("vd_vae")],
}


def tests_of(path: str) -> Tests:
    """The tests under the longest key of `TESTS` with which the path inside the package begins."""
    within = path.removeprefix("gen_jax/")
    return TESTS[max((name for name in TESTS if within.startswith(name)), key=len)]


def selected(tests: Tests) -> tuple[list[str], str]:
    """The test files in order, and one -k expression for all of them."""
    wanted: dict[str, list[str]] = {}
    for name, expression in tests:
        wanted.setdefault(name, []).append(expression)
    files = [f"tests/test_{name}.py" for name in wanted]
    parts = []
    for name, expressions in wanted.items():
        whole = "" in expressions
        parts.append(f"test_{name}.py" + ("" if whole else f" and ({' or '.join(expressions)})"))
    return files, " or ".join(f"({part})" for part in parts)
