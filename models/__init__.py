"""Small real models, and the scripts that trained them."""
