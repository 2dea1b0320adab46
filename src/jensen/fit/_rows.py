"""Samples that a network is to be evaluated on."""

from __future__ import annotations

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.network._numbers import as_floats


def as_rows(x: object, columns: int) -> Floats:
    """Read samples with as many columns as a network has inputs: an (n, columns) array.

    Raises
    ------
    ArgumentError
        If they hold no numbers, or are of another shape.
    """
    data = as_floats(x, "X", ArgumentError)
    if data.ndim != 2 or data.shape[1] != columns:
        raise ArgumentError(f"X must have {columns} columns, got shape {data.shape}")
    return data
