"""Continuous control by Q-learning with networks that are convex in the action."""
