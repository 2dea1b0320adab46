"""Counting convex networks among random draws: drawing, deciding, keeping, showing."""
