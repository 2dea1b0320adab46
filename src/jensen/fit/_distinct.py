"""Samples as they count: none without weight, and repeated ones once, with the sum of their weights."""

from __future__ import annotations

import math

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.network._numbers import as_floats


def as_weights(sample_weight: object, n: int) -> Floats:
    """Check sample weights; None stands for ones.

    Raises
    ------
    ArgumentError
        If they are not n finite nonnegative numbers, or all zero.
    """
    if sample_weight is None:
        return np.ones(n)
    weights = as_floats(sample_weight, "sample_weight", ArgumentError)
    if weights.shape != (n,):
        raise ArgumentError(f"sample_weight has shape {weights.shape}; expected ({n},)")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ArgumentError("sample_weight must hold finite nonnegative numbers, not all zero")
    return weights


def distinct_samples(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Join equal samples, in an order that depends on nothing but the set of samples.

    So whole weights and repeated rows make the same problem, down to the last bit, and so do zero weights and
    rows that are not there.

    Parameters
    ----------
    x : (n, d) array
    y : (n,) array
    weights : (n,) array

    Returns
    -------
    x : (m, d) array
    y : (m,) array
    weights : (m,) array
    """
    counted = weights > 0
    # Adding 0 turns -0 into 0, which has other bytes.
    rows = np.ascontiguousarray(np.column_stack([x, y])[counted]) + 0.0
    keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    kept = rows[first]
    largest = float(weights.max(initial=0.0))
    # A power of two, so that whole weights stay exact and sums are finite.
    scaled = np.ldexp(weights[counted], min(0, 900 - math.frexp(largest)[1]))
    sums = np.bincount(inverse.ravel(), scaled).astype(np.float64)
    return np.ascontiguousarray(kept[:, :-1]), np.ascontiguousarray(kept[:, -1]), sums
