"""What the makers say of accelerators, for predictions."""

from typing import NamedTuple

from gen_jax.errors import InputError, near


class Chip(NamedTuple):
    """Peak rate of bfloat16 products in FLOP/s, bytes of memory, bytes/s of memory, bytes/s that it sends in a ring."""

    peak: float
    memory: float
    memory_rate: float
    ring_rate: float


# TPU: cloud.google.com/tpu/docs/v5e, v5p, v6e (July 2025). `ring_rate` is that of the two links along one axis in one
# direction: of the bidirectional rate of all links a half for the direction, two of four links (v5p: of six).
# GPU: NVIDIA's data sheets of A100 80GB SXM, H100 SXM and H200 SXM, dense; half of NVLink's bidirectional rate.
CHIPS = {
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 400e9 / 4),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 1200e9 / 6),
    "v6e": Chip(918e12, 32 * 2**30, 1638e9, 800e9 / 4),
    "a100": Chip(312e12, 80e9, 2039e9, 300e9),
    "h100": Chip(989e12, 80e9, 3350e9, 450e9),
    "h200": Chip(989e12, 141e9, 4800e9, 450e9),
}


def named(name: str) -> Chip:
    """The chip; InputError for one that is not known."""
    if name not in CHIPS:
        raise InputError(
            f"no rates are known of {name!r}, only of {', '.join(CHIPS)}{near(name, CHIPS)}"
        )
    return CHIPS[name]
