"""`ArgminLayer`, proximal maps, conjugates and losses: minimisers with gradients."""
