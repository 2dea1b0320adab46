"""Did this floating-point operation round? Error-free transformations answer exactly and cheaply.

Every predicate is sound: True means that the float64 result is the exact one. False may be cautious.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from jensen.network._relu_network import FloatArray, Matrix

_SPLITTER = 134217729.0  # 2 ** 27 + 1
_SAFE_LOW, _SAFE_HIGH = 2.0**-900, 2.0**990


def entries(matrix: Any) -> FloatArray:
    """Return the stored entries of a dense or sparse matrix, flattened."""
    data: FloatArray = matrix.data if isinstance(matrix, sparse.csr_array) else np.asarray(matrix)
    return data.ravel(order="K")


def is_short(values: FloatArray) -> bool:
    """Whether every value is a float32, so that products of two such values are exact in float64."""
    with np.errstate(over="ignore", under="ignore"):
        return bool((values.astype(np.float32) == values).all())


def is_power_of_two(values: FloatArray) -> bool:
    """Whether every value is zero or plus or minus a power of two of moderate size."""
    mantissa, exponent = np.frexp(values)
    return bool((((np.abs(mantissa) == 0.5) & (np.abs(exponent) < 400)) | (values == 0)).all())


def sum_is_exact(a: Any, b: Any, total: Any) -> bool:
    """Whether total = a + b holds exactly, entry by entry (Knuth's two-sum; dense or sparse)."""
    part = total - a
    error = (a - (total - part)) + (b - part)
    return not bool(entries(error).any())


def product_is_exact(a: FloatArray, b: FloatArray, product: FloatArray) -> bool:
    """Whether product = a * b holds exactly, entry by entry (Dekker's two-product)."""
    if is_power_of_two(b) or is_power_of_two(a):
        low = np.abs(product[product != 0]).min(initial=1.0)
        return bool(low > _SAFE_LOW and ((product != 0) | (a == 0) | (b == 0)).all())
    if is_short(a) and is_short(b):
        return True
    sizes = np.abs(np.concatenate([np.ravel(v) for v in (a, b, product)]))
    sizes = sizes[sizes != 0]
    if sizes.size and (sizes.min() < _SAFE_LOW or sizes.max() > _SAFE_HIGH):
        return False
    if ((product == 0) & (a != 0) & (b != 0)).any():
        return False
    a_high, b_high = _high_half(a), _high_half(b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return not bool(np.asarray(error).any())


def _high_half(values: FloatArray) -> FloatArray:
    shifted = values * _SPLITTER
    return shifted - (shifted - values)


def quotient_is_exact(a: FloatArray, b: FloatArray, quotient: FloatArray) -> bool:
    """Whether quotient = a / b holds exactly, entry by entry."""
    back = quotient * b
    return bool((back == a).all()) and product_is_exact(quotient, b, back)


def grain(values: FloatArray) -> int | None:
    """Exponent of the largest power of two that divides all values; None if all are zero."""
    nonzero = values[values != 0]
    if not nonzero.size:
        return None
    mantissa, exponent = np.frexp(nonzero)
    digits = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return int((exponent - 53 + lowest).min())


def matrix_product_is_exact(left: Matrix, right: Matrix, product: Matrix) -> bool:
    """Whether product = left @ right is exact in every entry, whatever the order of summation."""
    a, b, results = entries(left), entries(right), entries(product)
    if (
        _terms(left, right) == np.count_nonzero(results)
        and ((is_short(a) and is_short(b)) or is_power_of_two(a) or is_power_of_two(b))
        and np.abs(results[results != 0]).min(initial=1.0) > _SAFE_LOW
    ):
        # No entry is a sum of two or more products, and none of these can round.
        return True
    left_grain, right_grain = grain(a), grain(b)
    if left_grain is None or right_grain is None:
        return True
    bound = float(np.asarray(_row_sums(left)).max(initial=0.0)) * float(
        np.abs(entries(right)).max(initial=0.0)
    )
    unit = left_grain + right_grain
    return unit > -1000 and np.isfinite(bound) and bound * (1 + 1e-9) <= 2.0 ** min(53 + unit, 1000)


def _row_sums(matrix: Matrix) -> FloatArray:
    """Sum the absolute values of every row."""
    sizes: Any = abs(matrix)
    return np.asarray(sizes.sum(axis=1))


def _terms(left: Matrix, right: Matrix) -> int:
    """How many products of nonzero entries make up left @ right."""
    columns = _count(left, 0)
    rows = _count(right, 1)
    return int(columns @ rows)


def _count(matrix: Matrix, axis: int) -> Any:
    if sparse.issparse(matrix):
        nonzero = matrix.data != 0
        if axis == 0:
            return np.bincount(matrix.indices[nonzero], minlength=matrix.shape[1])
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return np.bincount(rows[nonzero], minlength=matrix.shape[0])
    return np.count_nonzero(matrix, axis=axis)
