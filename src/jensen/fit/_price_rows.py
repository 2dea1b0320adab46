"""What is priced, as a difference of two convex functions.

r' relu(X w) = F(w) - G(w), where F sums |r_j| relu(x_j w) over positive r_j and G over negative ones. Both
are convex and positively homogeneous: what is raised only bends upwards, what is lowered only downwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Rows c_j = |r_j| x_j of a sum of relu(c_j w), with their lengths and squared lengths; none is zero."""

    rows: Floats
    length: Floats
    square: Floats


def balanced(x: Floats, r: Floats) -> tuple[Floats, Floats, int]:
    """Divide X and r by powers of two that make their entries at most 1, so that nothing over- or underflows.

    Returns
    -------
    x, r : arrays
    exponent : int
        r' relu(X w) was divided by 2^exponent. Entries below 2^-1000 of the largest may have lost digits.
    """
    of_x = math.frexp(float(np.abs(x).max(initial=0.0)))[1]
    of_r = math.frexp(float(np.abs(r).max(initial=0.0)))[1]
    return np.ldexp(x, -of_x), np.ldexp(r, -of_r), of_x + of_r


def make_rows(rows: Floats) -> Rows:
    """Drop what is zero, or so short that its square underflows to a subnormal number."""
    square = np.einsum("ij,ij->i", rows, rows)
    kept = square > np.finfo(np.float64).tiny
    square = square[kept]
    return Rows(np.ascontiguousarray(rows[kept]), np.sqrt(square), square)


def as_difference(x: Floats, r: Floats) -> tuple[Rows, Rows]:
    """Rows that are raised and rows that are lowered in r' relu(X w)."""
    up, down = r > 0, r < 0
    return make_rows(x[up] * r[up, None]), make_rows(x[down] * -r[down, None])
