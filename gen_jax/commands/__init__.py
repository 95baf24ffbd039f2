"""The commands of gen-jax, a file a group: arguments and what a command does. Heavy imports wait until it runs."""
