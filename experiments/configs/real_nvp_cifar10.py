"""RealNVP on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 8 residual blocks, 64 features, two scales.

Command: gen-jax train experiments/configs/real_nvp_cifar10.py
Hardware: 1 accelerator; the paper gives no time
Published: 3.49 bits/dim on test (Dinh et al. 2016, 1605.08803, table 1), a bound with one draw, trained with flips
Expected: <= 3.5 bits/dim; not run here

19,615,830 parameters. Deviations from the authors' real_nvp_multiscale_dataset.py (github.com/tensorflow/models): batch
norm after a coupling is over all values, and its running means change by 1 % per step (there over the transformed
values, with epsilon 1e-4, by 10 %). There is no batch norm on the input of s and t, nor inside them; instead the data
initialise their weights. Every weight-normalised layer has a learned and penalised magnitude (there only layers not
followed by batch norm). The scale of tanh starts at 1 after a last layer of zeros (there it starts at 0). Averaged
weights are evaluated; 45,000 of the 50,000 training images.
"""

from gen_jax import Flip, ImageRealNVP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import L2, Adam

EPOCH = 45_000 // 64


def experiment() -> Experiment:
    """For nats per example: norm clipped at 100, and a penalty of 5e-5 on weight scales in the loss (section 4.1)."""
    return Experiment(
        model=ImageRealNVP(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(
            1e-3,
            eps=0.0,
            eps_hat=1e-8,
            clip_norm=100.0,
            unit="example",
            l2=L2(5e-5, ("scale",)),
        ),
        steps=1000 * EPOCH,
        batch_size=64,
        ema=0.99,
        augment=(Flip(),),
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
