"""Data, models and training of the multi-label experiment."""
