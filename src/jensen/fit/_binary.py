"""Products with powers of two, which round only where they leave the floats."""

from __future__ import annotations

import numpy as np

from jensen.fit._losses import Floats


def scaled(array: Floats, exponent: int) -> Floats:
    """Return the array times 2^exponent; infinite, or zero, beyond the floats."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(array, exponent))


def times(value: float, exponent: int) -> float:
    """Return value times 2^exponent; infinite, or zero, beyond the floats."""
    return float(scaled(np.array(value), exponent))
