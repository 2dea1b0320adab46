"""The lowering engine: symbolic tensors that become layers of ReLUs, shared by all importers."""
