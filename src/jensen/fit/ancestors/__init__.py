"""Earlier algorithms for the same problem: networks as convex programmes over infinitely many neurons."""
