"""What the parameter `patterns` of the estimators may be: a number, directions, or a function of the data."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._patterns import Gates, gates_of, unique_gates
from jensen.network._numbers import as_count, as_floats


def directions_of(patterns: object, d: int, bias: bool, seed: int) -> Floats:
    """Draw Gaussian directions, or check given ones.

    Parameters
    ----------
    patterns : int or (P, k) array
        How many, or directions: k = d, or d - 1 where there is a bias, which is then zero.
    d : int
        Columns of the data, the one of ones included.
    bias : bool
        Whether the last column is of ones.
    seed : int

    Returns
    -------
    (P, d) array

    Raises
    ------
    ArgumentError
        If `patterns` is neither.
    """
    if isinstance(patterns, Integral):
        return np.random.default_rng(seed).standard_normal((as_count(patterns, "patterns"), d))
    array = as_floats(patterns, "patterns", ArgumentError)
    if array.ndim == 2 and bias and array.shape[1] == d - 1:
        array = np.column_stack([array, np.zeros(len(array))])
    if array.ndim != 2 or array.shape[1] != d or not len(array) or not np.isfinite(array).all():
        raise ArgumentError(
            f"directions in patterns must be finite, with {d} columns"
            + (" (the bias last)" if bias else "")
            + f"; got shape {array.shape}"
        )
    return array


def gates_for(patterns: object, x: Floats, bias: bool, seed: int) -> Gates:
    """Make gates on the data.

    Parameters
    ----------
    patterns : int, (P, k) array or callable
        As for `directions_of`; or a function from the data, the column of ones included, to (P, n) gates.
    x : (n, d) array
    bias : bool
    seed : int

    Returns
    -------
    (P, n) bool array

    Raises
    ------
    ArgumentError
        If `patterns` is none of these.
    """
    if not callable(patterns):
        return gates_of(x, directions_of(patterns, x.shape[1], bias, seed))
    gates = patterns(x)
    if not isinstance(gates, np.ndarray) or gates.dtype != np.bool_ or gates.shape[1:] != (len(x),):
        what = f"{gates.dtype} {gates.shape}" if isinstance(gates, np.ndarray) else type(gates).__name__
        raise ArgumentError(f"patterns must return a bool array of shape (P, {len(x)}), got {what}")
    return unique_gates(gates)
