"""Pure functions on arrays: the mathematics, without parameters of its own and without flax."""
