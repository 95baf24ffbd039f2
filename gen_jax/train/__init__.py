"""One train loop for all systems: the step, its compiled program, the loop, first stages, several seeds."""
