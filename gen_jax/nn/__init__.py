"""Thin Flax (Linen) modules: declare parameters, call the op; a parallel and a one-site form."""
