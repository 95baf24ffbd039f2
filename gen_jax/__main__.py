"""`python -m gen_jax` is `gen-jax`."""

import sys

from gen_jax.cli import main

sys.exit(main())
