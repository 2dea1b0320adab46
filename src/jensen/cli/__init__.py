"""The `jensen` command."""

from jensen.cli._main import main

__all__ = ["main"]
