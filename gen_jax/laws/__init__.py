"""The laws of each family: a law is a function of a `Subject` (model, variables, events, seed) that yields rows."""
