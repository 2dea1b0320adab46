"""Other architectures whose training is a convex programme too."""
