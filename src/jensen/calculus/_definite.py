"""Whether a matrix is positive semidefinite, decided exactly."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np

from jensen.network import FloatArray

MOST_ROWS = 80
"""Beyond this many rows, numbers of thousands of digits make exact elimination slow."""


def is_semidefinite(matrix: FloatArray) -> bool:
    """Whether x' M x >= 0 for all x, by elimination in whole numbers.

    Parameters
    ----------
    matrix : (n, n) array
        Finite; it need not be symmetric. Every float is a dyadic rational, and is taken as it is.
    """
    exact = [[Fraction(v) for v in row] for row in np.asarray(matrix, dtype=np.float64).tolist()]
    n = len(exact)
    scale = lcm(*(v.denominator for row in exact for v in row))
    left = [[int((exact[i][j] + exact[j][i]) * scale) for j in range(n)] for i in range(n)]
    previous = 1
    for k in range(n):
        pivot = left[k][k]
        if pivot < 0 or (pivot == 0 and any(left[k][k:])):
            return False
        if pivot == 0:
            continue  # the variable does not occur any more
        for i in range(k + 1, n):
            for j in range(i, n):
                # What is left is a positive multiple of a Schur complement; the division has no remainder.
                left[i][j] = (left[i][j] * pivot - left[k][i] * left[k][j]) // previous
        previous = pivot
    return True
