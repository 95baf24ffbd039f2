"""`gen-jax data import`: from a user's files to a prepared data set; everything is checked before writing."""
