"""Pure functions on arrays: the mathematics, without parameters and without flax."""
