"""`minimize_batch` and `minimize_entropy`, and the methods for smooth and smoothed functions."""
