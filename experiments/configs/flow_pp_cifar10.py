"""Flow++ on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 9 steps, 10 blocks of 96 features in each.

Command: gen-jax train experiments/configs/flow_pp_cifar10.py
Hardware: 8 accelerators, some days
Published: 3.08 bits/dim on test (Ho et al. 2019, 1902.00275), a bound with 4,096 draws; 3.29 with uniform noise
Expected: <= 3.1 bits/dim; not run here

31,443,440 parameters. Deviations from the authors' flows/run_cifar.py (github.com/aravindsrinivas/flowpp): the
normalisation has log-scales as parameters (there scales, at least 1e-10), the first batch of 64 sets the scales (there
one of 128), the log-determinants of the 1x1 maps are float32 in training, and 45,000 of the 50,000 training images are
used.
"""

from gen_jax import FlowPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupConstant

EPOCH = 45_000 // 64


def experiment() -> Experiment:
    """For nats per example: norm clipped at 1; TensorFlow's Adam, whose epsilon is added to the uncorrected root."""
    return Experiment(
        model=FlowPP(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(
            WarmupConstant(3e-4, 2000), eps=0.0, eps_hat=1e-8, clip_norm=1.0, unit="example"
        ),
        steps=400 * EPOCH,
        batch_size=64,
        ema=0.999,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
