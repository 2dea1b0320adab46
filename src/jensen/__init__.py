"""Is this neural network convex? Exact verdicts, with proof."""
