"""FFJORD on MNIST (28x28 grey, 256 levels), the paper's network: three scales of ODEs, softplus, dims 64-64-64.

Command: gen-jax train experiments/configs/ffjord_mnist.py
Hardware: 1 accelerator, days
Published: 0.99 bits/dim on test (Grathwohl et al. 2018, 1810.01367, table 2), an estimate of a bound with one draw
Expected: not run here

800,646 parameters, as many as in the layers of the authors' code (github.com/rtqichen/ffjord, lib/odenvp.py) with one
end time for each of the 10 ODEs. Deviations: the last layer of each velocity starts small; each example is solved by
itself, and its log p has to meet the tolerance too; averaged weights are evaluated; 50,000 of the 60,000 training
images. The settings are those of the authors' command, and of their script where it names none.
"""

from gen_jax import ImageFFJORD, Solver, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam
from gen_jax.schedules import WarmupConstant

EPOCH = 50_000 // 200


def experiment() -> Experiment:
    """The learning rate rises for 1,000 steps and stays; 1,000 epochs."""
    return Experiment(
        model=ImageFFJORD(
            image(28, 28),
            mix="concat",
            activation="softplus",
            blocks=2,
            scales=3,
            alpha=1e-6,
            solver=Solver("dopri5", 1e-5, trace="hutchinson"),
        ),
        data=Data("mnist"),
        optimizer=Adam(WarmupConstant(1e-3, 1000)),
        steps=1000 * EPOCH,
        batch_size=200,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=200),
    )
