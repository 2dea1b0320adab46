"""One script for each published table or figure, printing ours beside the published values."""
