"""Models that learn from a discriminator."""
