"""NADE, and an ensemble of MADE masks, on nine data sets of binary vectors; `gen-jax list` lists each of them.

Command: gen-jax data import dna dna.npz; gen-jax train experiments/configs/binary_sets.py:made_dna
Hardware: 2 CPU cores, half a minute to a minute

Optimiser, budget and averaged weights are ours. `made_*` draws one of its masks for each batch. The best checkpoint on
validation is evaluated. `dna_made` is dna with the split of the NADE and MADE papers.

- made_accidents: MADE under 16 masks on accidents (111 binary values, traffic accidents), split 12758/1700/2551
  Expected: 26.60 nats on test, exact
- made_bnetflix: MADE under 16 masks on bnetflix (100 binary values, binarised film ratings), split 15000/2000/3000
  Expected: 54.77 nats on test, exact
- made_dna: MADE under 64 masks on dna (180 binary values, splice junctions), split 1600/400/1186
  Expected: 78.07 nats on test, exact
- made_dna_made: MADE under 64 masks on dna (180 binary values), split 1400/600/1186
  Published: 79.66 nats, MADE with mask sampling; 83.63 with one mask (Germain et al. 2015, 1502.03509, table 4)
  Expected: 79.02 nats on test, exact
- made_jester: MADE under 16 masks on jester (100 binary values, binarised ratings of jokes), split 9000/1000/4116
  Expected: 51.55 nats on test, exact
- made_mushrooms: MADE under 16 masks on mushrooms (112 binary values), split 2000/500/5624
  Published: 9.69 nats, MADE with mask sampling; 9.68 with one mask (Germain et al. 2015, 1502.03509, table 4)
  Expected: 9.63 nats on test, exact
- made_nips: MADE under 16 masks on nips (500 binary values, words of 400 articles), split 400/100/1240
  Published: 277.28 nats, MADE with mask sampling; 280.25 with one mask (Germain et al. 2015, 1502.03509, table 4)
  Expected: 276.38 nats on test, exact
- made_nltcs: MADE under 16 masks on nltcs (16 binary values, the National Long Term Care Survey), split 16181/2157/3236
  Expected: 5.99 nats on test, exact
- made_pumsb_star: MADE under 16 masks on pumsb_star (163 binary values, census), split 12262/1635/2452
  Expected: 21.86 nats on test, exact
- nade_accidents: NADE on accidents (111 binary values, traffic accidents), split 12758/1700/2551
  Expected: 27.06 nats on test, exact
- nade_bnetflix: NADE on bnetflix (100 binary values, binarised film ratings), split 15000/2000/3000
  Expected: 54.76 nats on test, exact
- nade_dna: NADE on dna (180 binary values, splice junctions), split 1600/400/1186
  Expected: 82.19 nats on test, exact
- nade_dna_made: NADE on dna (180 binary values), split 1400/600/1186
  Published: 84.81 nats (Germain et al. 2015, 1502.03509, table 4)
  Expected: 82.87 nats on test, exact
- nade_jester: NADE on jester (100 binary values, binarised ratings of jokes), split 9000/1000/4116
  Expected: 51.57 nats on test, exact
- nade_mushrooms: NADE on mushrooms (112 binary values), split 2000/500/5624
  Published: 9.81 nats (Germain et al. 2015, 1502.03509, table 4)
  Expected: 9.73 nats on test, exact
- nade_nips: NADE on nips (500 binary values, words of 400 articles), split 400/100/1240
  Published: 273.08 nats (Germain et al. 2015, 1502.03509, table 4)
  Expected: 272.98 nats on test, exact
- nade_nltcs: NADE on nltcs (16 binary values, the National Long Term Care Survey), split 16181/2157/3236
  Expected: 6.02 nats on test, exact
- nade_pumsb_star: NADE on pumsb_star (163 binary values, census), split 12262/1635/2452
  Expected: 22.40 nats on test, exact
"""

from typing import Any

from gen_jax import NADE, MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

SIZES = {
    "accidents": 111,
    "bnetflix": 100,
    "dna": 180,
    "dna_made": 180,
    "jester": 100,
    "mushrooms": 112,
    "nips": 500,
    "nltcs": 16,
    "pumsb_star": 163,
}


def experiments() -> dict[str, Experiment]:
    """MADE and NADE on every data set, by name."""
    every = {f"made_{name}": made(name) for name in SIZES}
    return every | {f"nade_{name}": nade(name) for name in SIZES}


def made(name: str) -> Experiment:
    """The small dna gets 300 epochs and more masks; nips has 400 examples and needs a strong weight decay."""
    masks, peak, steps, decay, every, batch = {
        "dna": (64, 2e-2, 4200, 0.0, 200, 400),
        "dna_made": (64, 2e-2, 4200, 0.0, 200, 600),
        "mushrooms": (16, 3e-2, 4200, 0.0, 200, 500),
        "nips": (16, 3e-3, 600, 3.0, 25, 100),
    }.get(name, (16, 1e-2, 4000, 0.0, 100, 500))
    return Experiment(
        model=MADEEnsemble(binary(SIZES[name]), hidden=(500,), num_masks=masks),
        data=Data(name),
        optimizer=Adam(WarmupCosine(peak, 50, steps), weight_decay=decay),
        steps=steps,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=every, batch_size=batch),
    )


def nade(name: str) -> Experiment:
    """Raster order suits dna's codes of three bits per base; nips takes a random order and small batches."""
    hidden, peak, steps, size, every, batch = {
        "dna": (500, 3e-3, 1000, 100, 50, 600),
        "dna_made": (500, 3e-3, 1000, 100, 50, 600),
        "mushrooms": (500, 1e-2, 1500, 100, 50, 500),
        "nips": (500, 3e-3, 600, 20, 20, 100),
        "nltcs": (100, 3e-3, 3000, 100, 100, 500),
    }.get(name, (300, 3e-3, 3000, 100, 100, 500))
    order: dict[str, Any] = {"order_seed": 0} if name == "nips" else {}
    return Experiment(
        model=NADE(binary(SIZES[name]), hidden=hidden, **order),
        data=Data(name),
        optimizer=Adam(WarmupCosine(peak, 50, steps)),
        steps=steps,
        batch_size=size,
        ema=0.99,
        evaluate=Evaluate(every=every, batch_size=batch),
    )
