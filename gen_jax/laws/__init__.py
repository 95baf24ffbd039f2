"""The laws of each family, each once: a function of a `Subject` (model, variables, events, seed) that yields rows."""
