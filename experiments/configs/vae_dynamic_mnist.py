"""VAE on dynamically binarised MNIST, one stochastic layer: network and schedule of Burda et al. 2015.

Command: gen-jax train experiments/configs/vae_dynamic_mnist.py
Then: gen-jax evaluate runs/vae_dynamic_mnist
Hardware: one accelerator, hours
Published: 86.76 nats, 5,000 draws, on randomly binarised test images (1509.00519, table 1; trained on 59,600)
Expected: about 86.8 nats, a bound, and a little more because of 50,000 training images; not run here

The test set is the fixed binarisation, which is one random draw, so its expectation is the same. Deviations from
github.com/yburda/iwae: 50,000 training images (59,600 there), whose frequencies initialise the decoder's bias; each
update uses the present gradient (that of the previous step there); the layer of q's mean and scale is initialised by
LeCun's rule (by Glorot's there, like all others here); the KL is in closed form (sampled there); averaged weights are
evaluated.
"""

from gen_jax import VAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, PiecewiseConstant

EPOCH = 50_000 // 20
STAGES = range(8)
RATES = tuple(1e-4 * round(10 ** (1 - i / 7), 1) for i in STAGES)
LENGTHS = tuple(EPOCH * 3**i for i in STAGES)


def experiment() -> Experiment:
    """200-200 tanh and 50 latent units; eight stages, 3,280 epochs of batches of 20.

    Adam is for the sum of nats over a batch, and its second moments start at 1.
    """
    return Experiment(
        model=VAE(image(28, 28, levels=2), latent=50, data_bias=True),
        data=Data("dynamic_mnist"),
        optimizer=Adam(
            PiecewiseConstant(RATES, LENGTHS),
            b1=0.99,
            eps=0.0,
            eps_hat=1e-4,
            second_moment=1.0,
            unit="batch",
        ),
        steps=sum(LENGTHS),
        batch_size=20,
        init_examples=50_000,
        evaluate=Evaluate(
            every=10 * EPOCH,
            batch_size=100,
            data=Data("binarized_mnist"),
            draws=5000,
            validation_draws=50,
        ),
    )
