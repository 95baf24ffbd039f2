"""One file per system, by family; each opens with its law, its equation and its paper."""
