"""The refusal of what is not known to be convex, for the methods that work on modules of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from jensen.errors import ArgumentError
from jensen.nn import Architecture

Function: TypeAlias = Callable[..., Tensor]
"""A module or function that maps (batch, ...) tensors, y last, to (batch,) values."""


def require_convex(f: Function, arguments: int, assume_convex: bool) -> None:
    """Refuse a function that is not known to be convex in its last argument.

    Parameters
    ----------
    f : callable
    arguments : int
        How many arguments it is called with: 1 for f(y), 2 for f(x, y).
    assume_convex : bool
        Whether the caller vouches for it.

    Raises
    ------
    ArgumentError
        If nothing is known about the function, or it is convex in other arguments only.
    """
    if not callable(f):
        raise ArgumentError(f"f must be a module or a function of tensors, not a {type(f).__name__}")
    if assume_convex:
        return
    last = arguments - 1
    if not isinstance(f, Architecture):
        raise ArgumentError(
            f"a {type(f).__name__} is not known to be convex: use an architecture of jensen.nn, or prove it "
            "with jensen.check and pass assume_convex=True"
        )
    if last not in f.convex_arguments:
        known = (
            f"it is convex in its arguments {f.convex_arguments}"
            if f.convex_arguments
            else "its weights are not constrained"
        )
        raise ArgumentError(
            f"this {type(f).__name__} is not known to be convex in its argument {last}: {known}; prove it "
            "with jensen.check and pass assume_convex=True"
        )
