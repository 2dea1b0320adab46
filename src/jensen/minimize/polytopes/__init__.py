"""Polytopes of batches: points inside, flat ones unfolded, boxes around unbounded and bounded ones."""
