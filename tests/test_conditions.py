"""JAX settings in the environment change no bit and cause no traceback."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import conditions, of_systems
from test_families import SYSTEMS

from gen_jax import InputError, functional, runtime
from gen_jax.density import root_key
from gen_jax.optimizer import Adam
from gen_jax.runs.state import create_state
from gen_jax.train.step import train_step

PACKAGE = Path(__file__).resolve().parents[1] / "gen_jax"


@pytest.fixture(autouse=True)
def as_before():
    names = ("jax_compilation_cache_dir", *runtime.SETTINGS)
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def programs(model, x, optimizer):
    """One train step, log_prob and samples, traced."""
    pure, optimizer, key = functional(model), optimizer.build(), root_key(0)
    batch = {"x": jnp.asarray(x), "cond": conditions(model, len(x))}

    def step(batch):
        state = create_state(pure, optimizer, key, batch)
        return train_step(state, batch, model=pure, optimizer=optimizer, key=key, ema=0.9)

    def judge(variables, batch):
        drawn = pure.sample(variables, key, 2, conditions(model, 2))
        if model.kind == "none":
            return drawn
        return drawn, pure.log_prob(variables, batch["x"], key, cond=batch["cond"])

    state, _ = jax.eval_shape(step, batch)
    variables = {"params": state.ema, **state.collections}
    return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(judge)(variables, batch)))


@pytest.mark.parametrize("case", of_systems(in_float32=True))
def test_every_system_runs_where_promotion_is_refused(case):
    """Tracing raises TypeError or ValueError wherever types or ranks would be promoted."""
    x = np.zeros((2, *case.model.event.shape), np.uint8)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        programs(case.model, x, Adam(weight_decay=0.1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_so_does_every_family_by_the_very_programs(name):
    model, x, optimizer, _ = SYSTEMS[name]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        refusing = programs(model, x[:4], optimizer)
    assert refusing == programs(model, x[:4], optimizer)


def test_a_seed_draws_the_same_under_every_generator():
    expected = jax.random.bits(jax.random.key(3, impl="threefry2x32"), (4,))
    for generator in ("rbg", "unsafe_rbg", "threefry2x32"):
        with jax.default_prng_impl(generator):
            np.testing.assert_array_equal(jax.random.bits(root_key(3), (4,)), expected)
    with jax.threefry_partitionable(False), pytest.raises(InputError, match="THREEFRY_PARTITION"):
        root_key(3)


def test_keys_are_made_in_one_place():
    made = re.compile(r"random\.(key|PRNGKey|wrap_key_data)\(")
    makers = {path.name for path in PACKAGE.rglob("*.py") if made.search(path.read_text())}
    assert makers == {"density.py"}


def test_a_process_computes_under_conditions_of_its_own():
    asked = ("strict", "raise", "disallow", False)
    for name, value in zip(runtime.SETTINGS, asked, strict=True):
        jax.config.update(name, value)
    runtime.set_up()
    found = {name: getattr(jax.config, name) for name in runtime.SETTINGS}
    assert found == runtime.SETTINGS


def test_64_bits_are_refused_by_their_name(x64):
    with pytest.raises(InputError, match="JAX_ENABLE_X64 is on"):
        runtime.set_up()


def test_a_flag_that_xla_does_not_know_is_one_sentence(monkeypatch):
    runtime._check_flags("")
    monkeypatch.setenv("XLA_FLAGS", "--xla_nonsense=3")
    with pytest.raises(InputError, match="Unknown flag in XLA_FLAGS: --xla_nonsense=3"):
        runtime._check_flags("--xla_nonsense=3")


def test_a_platform_that_is_not_there_is_one_sentence(monkeypatch):
    def refused():
        raise RuntimeError("Unable to initialize backend 'tpux'\nmore")

    monkeypatch.setattr(jax, "devices", refused)
    with pytest.raises(InputError, match=r"no device.*: Unable to initialize backend 'tpux'$"):
        runtime.set_up()


def test_a_setting_that_jax_does_not_take_is_one_sentence(monkeypatch, capsys):
    """The sentence is that of `import jax`, wherever it is imported first."""
    from gen_jax import cli

    def importing():
        raise ValueError('Invalid value "x" for JAX flag jax_num_cpu_devices')

    monkeypatch.setattr(runtime, "set_up", importing)
    assert cli.main(["export", "nowhere", "--out", "x"]) == 2
    assert capsys.readouterr().err == (
        "gen-jax: JAX rejects an environment variable:"
        ' Invalid value "x" for JAX flag jax_num_cpu_devices\n'
    )
