"""Bundle methods for batches, and the pieces of f that they find to meet at a minimiser."""
