"""Numbers that callers give."""

from __future__ import annotations

import numpy as np

from jensen.errors import ArgumentError
from jensen.network._numbers import as_floats


def positive(value: object, what: str) -> float:
    """Check a positive finite number.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = as_floats(value, what, ArgumentError)
    if number.ndim or not 0 < number < np.inf:
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return float(number)
