"""One problem in float64: what is minimised and how it is known to be convex, where, and what was found."""
