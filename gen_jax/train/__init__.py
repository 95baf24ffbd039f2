"""One train loop for all systems: state, step, loop, sharding, checkpoints, optimisers, logs."""
