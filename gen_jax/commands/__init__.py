"""The commands of gen-jax, one file per group: arguments and actions. Heavy imports happen when a command runs."""
