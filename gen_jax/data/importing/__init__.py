"""`gen-jax data import`: a user's own files to a prepared data set; all is checked before anything is written."""
