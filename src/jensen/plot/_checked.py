"""Arrays of numbers that pictures are drawn from: finite, of the right shape, or an error."""

from __future__ import annotations

import numpy as np

from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.network._numbers import as_floats


def finite(value: object, what: str, shape: tuple[int | None, ...]) -> FloatArray:
    """Convert to float64 and check the shape; None stands for any size of at least one.

    Raises
    ------
    ArgumentError
        If shapes do not fit or a number is not finite.
    """
    array = as_floats(value, what, ArgumentError)
    fits = array.ndim == len(shape) and all(
        size > 0 and wanted in (None, size) for size, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ArgumentError(f"{what} must have shape ({wanted}), got {array.shape}")
    if not np.isfinite(array).all():
        raise ArgumentError(f"{what} holds NaN or infinite values")
    return array


def distinct(value: object, what: str) -> FloatArray:
    """Convert to a sorted vector of finite numbers without repetition.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    array = np.sort(finite(value, what, (None,)))
    if (np.diff(array) == 0).any():
        raise ArgumentError(f"{what} holds a number twice; leave repetitions out")
    return array
