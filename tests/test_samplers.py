"""The samplers of a diffusion with fewer steps, on Gaussian data, where each step is linear."""

import math

import jax
import numpy as np
import pytest
from test_ddpm import CHAIN, STEPS, gaussian_model

from gen_jax import InputError, functional
from gen_jax.density import fold_in
from gen_jax.models.diffusion.ddpm import DDPMSampler


def test_ddim_on_gaussian_data(x64):
    """Without noise x_0 is a linear map of x_T; with it, as for ancestral steps, its variance follows a recursion."""
    mean, variance, n = 0.4, 0.3, 20_000
    for settings in (
        DDPMSampler(3, 0.0),
        DDPMSampler(5, 0.0),
        DDPMSampler(3, 1.0),
        DDPMSampler(5, 0.5),
        DDPMSampler(),
    ):
        model = gaussian_model(mean, variance, variance="posterior", sampler=settings)
        pure, key, steps = functional(model), jax.random.key(0), settings.steps or STEPS
        drawn = np.asarray(jax.jit(pure.sample, static_argnums=2)({}, key, n))
        times = np.round(np.linspace(0, STEPS, steps + 1)).astype(int)
        slope, level, spread = 1.0, 0.0, 1.0  # x_t in terms of x_T, its mean, its variance
        for t, s in zip(times[:0:-1], times[-2::-1], strict=True):
            signal, noise = CHAIN.signal[[t, s]], CHAIN.noise[[t, s]]
            total = signal[0] ** 2 * variance + noise[0] ** 2
            known = signal[0] * variance / total  # E[x_0 | x_t] = mean + known (x_t - signal mean)
            added = (1 - signal[0] ** 2 / signal[1] ** 2) * noise[1] ** 2 / noise[0] ** 2
            added *= (1.0 if settings.eta is None else settings.eta) ** 2
            rest = math.sqrt(noise[1] ** 2 - added) / noise[0]
            gain = (signal[1] - rest * signal[0]) * known + rest
            shift = (signal[1] - rest * signal[0]) * mean * (1 - known * signal[0])
            if s == 0 and settings.eta is None:
                added = np.exp(2 * CHAIN.posterior[1])
            slope, level, spread = gain * slope, gain * level + shift, gain**2 * spread + added
        if settings.eta == 0:
            start = jax.random.normal(fold_in(key, steps + 1), (n, 1))
            np.testing.assert_allclose(drawn, level + slope * start, atol=1e-12)
        assert abs(drawn.mean() - level) < 4.5 * math.sqrt(spread / n)
        assert abs(drawn.var() / spread - 1) < 4.5 * math.sqrt(2 / n)


def test_temperature_scales_every_draw(x64):
    """The samples of a linear sampler without a mean scale by the temperature."""
    model = gaussian_model(0.0, 0.5)
    draw = jax.jit(functional(model).sample, static_argnums=2)
    key = jax.random.key(0)
    np.testing.assert_allclose(draw({}, key, 9, None, 0.3), 0.3 * draw({}, key, 9), atol=1e-12)


def test_too_many_steps_are_refused():
    with pytest.raises(InputError, match="must be at least 1"):
        DDPMSampler(steps=0)
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        DDPMSampler(eta=2.0)
    model = gaussian_model(0.0, 1.0, sampler=DDPMSampler(steps=6))
    with pytest.raises(InputError, match="6 exceeds the model's 5 timesteps"):
        functional(model).sample({}, jax.random.key(0), 2)
