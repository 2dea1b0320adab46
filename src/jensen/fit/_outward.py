"""Upper bounds of floating-point expressions that hold for the exact ones."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky
from scipy.sparse.linalg import ArpackError, eigsh

from jensen.fit._price_rows import Floats

UNIT = 2.0**-53
TINY = 1e-290
"""More than all underflows of a computation on numbers of size 1 add up to."""


def outward(value: float, operations: int) -> float:
    """Upper bound of a nonnegative number that was computed by so many operations on nonnegative numbers."""
    return float(np.nextafter(value * (1 + 1.1 * (operations + 4) * UNIT), np.inf)) + TINY


def length_bound(vectors: Floats) -> Floats:
    """Upper bounds of the Euclidean lengths of rows, of size 1 or so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(lengths * (1 + 1.1 * (vectors.shape[1] + 8) * UNIT) + 1e-150)


def largest_eigenvalue_bound(matrix: Floats, error: float) -> float:
    """Upper bound of the eigenvalues of every matrix within `error`, in spectral norm, of a symmetric one.

    If the Cholesky decomposition of s I - M ends in floating-point arithmetic, no eigenvalue of M exceeds s
    by more than about d units of rounding of the trace (Rump, "Verification of positive definiteness", BIT
    2006).
    """
    d = len(matrix)
    trace = outward(float(np.trace(np.abs(matrix))), d)
    try:
        top = float(eigsh(matrix, k=1, return_eigenvectors=False, tol=1e-4)[0]) if d > 100 else 0.0
    except ArpackError:
        top = trace
    if d <= 100:
        top = float(np.linalg.eigvalsh(matrix)[-1])
    for factor in (1e-9, 1e-3, 0.1):
        shift = top * (1 + factor) + 4 * (d + 10) * UNIT * trace
        try:
            cholesky(shift * np.eye(d) - matrix, lower=True, check_finite=False)
        except LinAlgError:
            continue
        rounding = (d + 10) * UNIT * (d * shift + trace) + error
        return min(trace + error, outward(shift + 1.1 * rounding, 4))
    return outward(trace + error, 1)
