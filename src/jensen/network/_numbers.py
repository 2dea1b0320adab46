"""What callers pass for numbers, as float64 arrays and integers, or an error that says what is wrong."""

from __future__ import annotations

from math import inf, isfinite, prod
from numbers import Integral, Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError, JensenError, NetworkError

MAX_INPUTS = 1 << 22
"""No model may have more inputs than this."""
_LARGEST = 1 << 63


def as_floats(value: Any, what: str, kind: type[JensenError] = NetworkError) -> NDArray[np.float64]:
    """Convert to float64; only real numbers will do.

    Raises
    ------
    NetworkError, or the kind that is named
        If the value is ragged, or holds text, complex numbers or anything else that is no real number.
    """
    try:
        array = np.asarray(value)
        # Text would convert silently, and complex numbers lose a part; bfloat16 counts as void to numpy.
        if array.size and array.dtype.kind not in "biufO" and not np.can_cast(array.dtype, np.float64):
            raise kind(f"{what} holds values of type {array.dtype}; it must hold real numbers")
        return array.astype(np.float64, copy=False)
    except JensenError:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise kind(f"{what} is no array of real numbers: {error}") from error


def as_whole(value: Any, what: str) -> int:
    """Convert to an integer; only integers will do.

    Raises
    ------
    NetworkError
        If the value is anything else.
    """
    if isinstance(value, bool):
        raise NetworkError(f"{what} must be an integer, got {value}")
    try:
        number = index(value)
    except TypeError as error:
        raise NetworkError(f"{what} must be an integer, got {value!r:.80}") from error
    if abs(number) > _LARGEST:
        raise NetworkError(f"{what} is beyond all sizes")
    return number


def as_shape(value: Any) -> tuple[int, ...] | None:
    """Read the argument `input_shape`: None, or the sizes of the axes of one input, or a list of one such.

    Raises
    ------
    NetworkError
        If it is anything else than a sequence of positive integers.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise NetworkError(f"input_shape must be a sequence of sizes, such as (3, 32, 32), got {value!r:.80}")
    sizes = tuple(value)
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):  # a list of the shapes of all inputs
        sizes = tuple(sizes[0])
    shape = tuple(as_whole(n, "a size of input_shape") for n in sizes)
    if min(shape, default=1) < 1:
        raise NetworkError(f"the sizes of input_shape must be positive, got {shape}")
    if prod(shape) > MAX_INPUTS:
        raise NetworkError(f"input_shape {shape} makes more inputs than {MAX_INPUTS}, the limit")
    return shape


def as_output(value: Any) -> int | None:
    """Read the argument `output`: None, or the number of an entry of the output.

    Raises
    ------
    NetworkError
        If it is anything else.
    """
    return None if value is None else as_whole(value, "output")


def as_count(value: Any, what: str, least: int = 1) -> int:
    """Read an integer of at least `least`.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ArgumentError(f"{what} must be an integer of at least {least}, got {value!r:.80}")
    return int(value)


def as_number(value: Any) -> float:
    """Read a real number; NaN for anything else."""
    return float("nan") if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def as_positive(value: Any, what: str) -> float:
    """Read a positive finite number.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = as_number(value)
    if not (isfinite(number) and number > 0):
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return number


def as_amount(value: Any, what: str, most: float = inf) -> float:
    """Read a finite number between 0 and `most`.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = as_number(value)
    if not (isfinite(number) and 0 <= number <= most):
        upper = "of at least 0" if most == inf else f"between 0 and {most:g}"
        raise ArgumentError(f"{what} must be a finite number {upper}, got {value!r:.80}")
    return number
