"""VQ-VAE of sound, codes and samples by WaveNets given the class: alignment, enumeration, laws, planted mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, conditions, random_events
from test_codec import content, same
from test_experiment import CONFIGS

from gen_jax import (
    VQVAE,
    GatedPixelCNN,
    InputError,
    MapReader,
    VQVAEPrior,
    WaveNet,
    functional,
    image,
    sound,
)
from gen_jax.coding.codec import Codec
from gen_jax.density import bits_per_dim, num_parameters
from gen_jax.experiment import load_config
from gen_jax.laws import staged
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive import wavenet
from gen_jax.models.latent import given_codes
from gen_jax.nn.grids import GridEncoder

WAVE = {"cycles": 1, "depth": 2, "features": 4, "skip_features": 4}
NET = {"strided": (3, 3), "blocks": 1, "residual": 2, "size": 2, "codes": 3}


def coded(event, groups=1, classes=2, **options):
    """A VQ-VAE of a sound with a code for four samples, and its decoder."""
    decoder = WaveNet(event, num_classes=classes, local=2 * groups, hop=4, **WAVE)
    return VQVAE(event, groups=groups, likelihood=decoder, **{**NET, **options})


TINY, LONG = coded(sound(8, 2)), coded(sound(12, 5), groups=2)
PRIOR = VQVAEPrior(TINY, WaveNet(TINY.code_event, num_classes=2, **WAVE))
IMAGE = image(2, 4, 1, 3)
GRID = VQVAE(IMAGE, strided=(3,), blocks=0, codes=3, size=2)
GATED = {"depth": 1, "features": 4, "head_features": 4, "first_kernel": 3}
MODELS = {
    "tiny": TINY,
    "prior": PRIOR,
    "long": VQVAEPrior(LONG, WaveNet(LONG.code_event, num_classes=2, **WAVE)),
    "image": GRID.clone(
        likelihood=GatedPixelCNN(IMAGE, maps=GRID.vector_events, reader=MapReader(4, 1, 1), **GATED)
    ),
}


@functools.cache
def built(name):
    return build(MODELS[name], scale=0.7)


def by_stages(model):
    return jax.jit(functools.partial(model.apply, method="log_prob_stages"))


def subject(name, n=6):
    pure, variables = built(name)
    cond = jax.tree.map(np.asarray, conditions(pure.model, n))
    return Subject(pure, variables, np.asarray(random_events(pure.model, n)), cond, 0)


def reached(hop=4, frames=3, size=2):
    """Whether each number of each frame reaches what the layers read at each sample, by the Jacobian."""
    model = WaveNet(sound(hop * frames, 3), local=size, hop=hop, **WAVE)
    _, variables = build(model)

    def terms(vectors):
        return model.apply(variables, vectors[None], method="terms")[0]

    slopes = jax.jacobian(terms)(jnp.ones((frames, size)))
    return np.any(np.asarray(slopes) != 0, axis=1)


def test_a_code_reaches_its_own_samples_and_no_others():
    """WaveNet, section 2.5: y = f(h) has the code of frame t at samples t hop to (t + 1) hop - 1."""
    own = np.repeat(np.eye(3, dtype=bool), 4, axis=0)
    np.testing.assert_array_equal(reached(), np.repeat(own[..., None], 2, axis=-1))


def test_codes_that_come_a_sample_late_are_caught(monkeypatch):
    class Late(wavenet.FrameUpsample):
        def __call__(self, frames):
            return jnp.roll(super().__call__(frames), 1, axis=1)

    monkeypatch.setattr(wavenet, "FrameUpsample", Late)
    with pytest.raises(AssertionError):
        test_a_code_reaches_its_own_samples_and_no_others()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_encoder_sees_as_far_before_a_block_of_samples_as_after_it(layers):
    """A window of 4 and a stride of 2 are centred on each block of 2^layers samples; so is the one of 3 after them."""
    hop = 2**layers
    length = 9 * hop
    encoder = GridEncoder((2,) * layers, blocks=0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, length, 1)))
    variables = encoder.init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, variables)  # no ReLU is closed
    slopes = jax.jacobian(lambda x: encoder.apply(variables, jnp.abs(x)))(x)
    seen = np.flatnonzero(np.any(np.asarray(slopes)[0, 4, :, 0, :, 0] != 0, axis=0))
    before, after = 4 * hop - seen[0], seen[-1] - (5 * hop - 1)
    assert before == after == 2 * hop - 1
    assert len(seen) == seen[-1] - seen[0] + 1


@pytest.mark.usefixtures("x64")
def test_codes_and_samples_are_a_distribution_for_every_class():
    """sum over z and x of p(z | c) p(x | z, c) = 1, of which log_prob is one term."""
    pure, variables = build(PRIOR, scale=0.7)
    codes, last = pure.model.stages(variables)
    x, z = all_events(pure.model), all_events(codes.model)
    taken = np.asarray(jax.jit(lambda x: pure.model.apply(variables, x, method="parts"))(x)[0])
    index = taken @ np.array([3, 1])
    assert len(np.unique(index)) > 2
    given = jax.jit(functional(last.model).log_prob)
    prior = jax.jit(functional(codes.model).log_prob)
    bound = jax.jit(pure.log_prob)
    sums = []
    for label in (0, 1):
        labels = np.full(len(x), label)
        log_z = np.asarray(prior(codes.variables, z, cond=labels[: len(z)]))
        each = [np.repeat(z[k : k + 1], len(x), axis=0) for k in range(len(z))]
        joint = np.stack(
            [
                log_z[k] + given(last.variables, x, cond=last.cond(labels, [code]))
                for k, code in enumerate(each)
            ]
        )
        np.testing.assert_allclose(np.exp(joint).sum(), 1.0, atol=1e-10)
        log_prob = np.asarray(bound(variables, x, cond=labels))
        np.testing.assert_allclose(log_prob, joint[index, np.arange(len(x))], rtol=1e-9)
        sums.append(np.exp(log_prob).sum())
    assert sums[0] != sums[1]
    assert max(sums) < 0.999


slow_image = pytest.param("image", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["long", slow_image])
def test_every_stage_obeys_the_laws(name):
    rows = list(staged.each_stage(subject(name)))
    assert [row for row in rows if not row.passed] == []
    names = {row.law for row in rows}
    assert {f"reconstruction: {law}" for law in ("causal", "step = parallel")} <= names
    assert "reconstruction: depends on its conditions" in names
    assert laws_of(MODELS[name])[:2] == (staged.joint, staged.each_stage)


@pytest.mark.parametrize("name", ["prior", slow_image])
def test_the_joint_law_holds_on_a_small_model(name):
    assert [row for row in staged.joint(subject(name)) if not row.passed] == []


def test_a_decoder_that_ignores_the_codes_is_caught(monkeypatch):
    right = given_codes.given_vectors

    def without(network, label, vectors):
        return right(network, label, [0 * part for part in vectors])

    monkeypatch.setattr(given_codes, "given_vectors", without)
    failed = {row.law for row in staged.each_stage(subject("long")) if not row.passed}
    assert failed == {"reconstruction: depends on its conditions"}


def test_the_loss_is_that_of_the_bound():
    """The decoder is given vectors that are those of the codes bit for bit; every parameter is read."""
    pure, variables = built("tiny")
    x, cond = random_events(TINY, 4), conditions(TINY, 4)
    stages = by_stages(TINY)(variables, x, cond)
    np.testing.assert_allclose(stages[0], -2 * np.log(3), rtol=1e-6)

    @jax.jit
    def gradients(params):
        loss = lambda params: pure.loss({**variables, "params": params}, x, jax.random.key(0), cond)  # noqa: E731
        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, (metrics, _)), slopes = gradients(variables["params"])
    nats = -np.mean(stages[1])
    np.testing.assert_allclose(metrics["reconstruction"], nats, rtol=1e-5)
    np.testing.assert_allclose(loss, nats / 8 + 0.25 * metrics["commitment"], rtol=1e-5)
    bits = bits_per_dim(nats + 2 * np.log(3), TINY.event)
    np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-5)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(slopes))


def test_the_prior_logs_the_nats_of_the_codes():
    pure, variables = built("prior")
    x, cond = random_events(PRIOR, 4), conditions(PRIOR, 4)
    loss, (metrics, _) = jax.jit(pure.loss)(variables, x, jax.random.key(0), cond)
    stages = by_stages(PRIOR)(variables, x, cond)
    assert metrics.keys() == {"codes"}
    np.testing.assert_allclose(metrics["codes"], -np.mean(stages[0]), rtol=1e-5)
    np.testing.assert_allclose(loss, -np.mean(stages[0]) / 2, rtol=1e-5)


def test_a_file_is_labels_codes_and_samples_at_the_models_own_bits():
    pure, variables = built("long")
    codec, x = Codec(pure.model, variables), np.asarray(random_events(pure.model, 6), np.uint8)
    labels = np.arange(6) % 2
    data, size = codec.compress(content(x, labels))
    assert same(codec.decompress(data), content(x, labels))
    bits = 6 - jnp.sum(jax.jit(pure.log_prob)(variables, x, cond=labels)) / np.log(2)
    np.testing.assert_allclose(size.model_bits, bits, rtol=1e-4)


def test_codes_of_another_example_cost_nats():
    """log p(x | z) less log p(x | z of the example before); nothing where the decoder does not read z."""
    _, variables = built("tiny")
    x, cond = random_events(TINY, 8), conditions(TINY, 8)
    measure = jax.jit(functools.partial(TINY.apply, method="measure"))
    rows = measure(variables, x, jax.random.key(0), cond)
    _, last = TINY.stages(variables)
    given = jax.jit(functional(last.model).log_prob)
    codes, _ = jax.jit(functools.partial(TINY.apply, method="parts"))(variables, x)
    own, others = (
        given(last.variables, x, cond=last.cond(cond, [z]))
        for z in (codes, codes[np.arange(-1, 7)])
    )
    np.testing.assert_allclose(rows["shuffled_codes"], own - others, atol=1e-5)
    np.testing.assert_allclose(rows["reconstruction"], -own, rtol=1e-5)
    scalars, findings = TINY.diagnosis(jax.device_get(rows))
    assert scalars["shuffled_codes"] == pytest.approx(float(np.mean(own - others)), abs=1e-5)

    params = variables["params"]
    closed = {
        **params["likelihood"],
        "upsample": jax.tree.map(jnp.zeros_like, params["likelihood"]["upsample"]),
    }
    deaf = {**variables, "params": {**params, "likelihood": closed}}
    scalars, findings = TINY.diagnosis(jax.device_get(measure(deaf, x, jax.random.key(0), cond)))
    assert scalars["shuffled_codes"] == 0
    assert "another example cost 0.000 nats" in findings["codes ignored"]
    one = measure(variables, x[:1], jax.random.key(0), cond[:1])
    assert "shuffled_codes" not in one  # there is no other example


def test_sounds_are_rebuilt_from_their_codes_and_their_class():
    _, variables = built("prior")
    x, cond = random_events(PRIOR, 4), conditions(PRIOR, 4)
    again = jax.jit(functools.partial(PRIOR.apply, method="reconstruct"))
    drawn = again(variables, x, jax.random.key(1), cond)
    assert drawn.shape == x.shape
    samples = jax.jit(functional(PRIOR).sample, static_argnums=2)
    assert samples(variables, jax.random.key(1), 4, cond).shape == x.shape


def test_parameter_count():
    """By hand: six convolutions of window 4, one of 3 and one of 1, 512 vectors of 64 numbers, a WaveNet given them."""
    model = load_config(CONFIGS / "vq_vae_vctk.py").model
    x, cond = jnp.zeros((1, 16_000), jnp.int32), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x, cond)
    F = 256
    encoder = (4 * F + F) + 5 * (4 * F * F + F) + (3 * F * F + F) + (F * 64 + 64)
    conditioned = 50 * (109 + 64) * 64 + 64 * 64 * 64  # V of each layer, and the upsampling
    assert model.code_event.shape == (250,)
    assert num_parameters(model, shapes) == encoder + 512 * 64 + 1_514_944 + conditioned


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (coded(sound(10, 2)), "needs sides that 4 divides, not (10,)"),
        (TINY.clone(groups=2), "it should be of"),
        (TINY.clone(mixtures=2), "mixtures belong to model.likelihood"),
        (
            VQVAEPrior(TINY, WaveNet(TINY.code_event, num_classes=3, **WAVE)),
            "the stages have 2 and 3 classes",
        ),
        (
            VQVAEPrior(TINY, WaveNet(TINY.code_event, codes=(TINY.code_event,), **WAVE)),
            "model.prior is given",
        ),
    ],
)
def test_refusals(model, sentence):
    x, cond = jnp.zeros((1, *model.event.shape), jnp.int32), conditions(model, 1)
    with pytest.raises(InputError) as refusal:
        jax.eval_shape(functools.partial(functional(model).init, jax.random.key(0)), x, cond)
    assert sentence in str(refusal.value)
