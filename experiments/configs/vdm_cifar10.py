"""VDM on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 30,577,669 parameters.

Command: gen-jax train experiments/configs/vdm_cifar10.py
Hardware: accelerators, weeks on one: ten million steps
Published: 2.65 bits/dim on test, a bound (Kingma et al. 2021, 2107.00630, table 1)
Expected: <= 2.65 bits/dim; not run here

The network in github.com/google-research/vdm has an input more, always zero, of 512 weights. Deviations from
that code: 45,000 of the 50,000 training images; convolutions begin as in `ddpm_cifar10.py`; the decay spares the gains
of the norms and the schedule (that code spares such parameters by names that do not occur); the average of the weights
warms up; evaluation takes 128 times for each example (one there).
"""

from gen_jax import VDM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupConstant

STEPS, RATE = 10_000_000, 2e-4


def experiment() -> Experiment:
    """Continuous time, 32 + 33 blocks of 128 features, dropout 0.1, a linear gamma with learned ends, no flips."""
    return Experiment(
        model=VDM(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(WarmupConstant(RATE, 100), b2=0.99, weight_decay=0.01, decay="matrices"),
        steps=STEPS,
        batch_size=128,
        ema=0.9999,
        evaluate=Evaluate(
            every=10_000, batch_size=128, examples=500, draws=128, validation_draws=16
        ),
    )
