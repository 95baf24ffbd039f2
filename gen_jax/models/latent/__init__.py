"""Models with latent variables: log p(x) = log E_p(z) p(x | z) is bounded from below."""
