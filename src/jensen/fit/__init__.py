"""Two-layer ReLU networks trained to global optimality, with a gap that proves it."""
