"""Data sets: prepared once by TFDS builders, read without TensorFlow; batches are a function of (seed, step)."""
