"""Data sets: prepared once by TFDS builders, read without TensorFlow, batched as a pure function of (seed, step)."""
