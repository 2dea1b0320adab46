"""Exact minimisation of input convex ReLU networks from kink to kink, compiled."""
