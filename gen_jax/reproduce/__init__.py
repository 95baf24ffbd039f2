"""Reproduction: a recorded result is computed again and compared with the record."""
