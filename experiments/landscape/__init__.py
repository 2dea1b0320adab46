"""The landscape of two-layer ReLU networks, seen: gradient descent beside convex programmes."""
