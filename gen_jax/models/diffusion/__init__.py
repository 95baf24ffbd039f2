"""Models that undo noise step by step: log p(x) is bounded from below, a term for each step."""
