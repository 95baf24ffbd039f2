"""Autoregressive models: exact likelihood by the chain rule."""
