"""Rows of linear forms as dense or sparse matrices, with an exactness flag beside every result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.network._relu_network import FloatArray, Matrix
from jensen.network.lowering._rounding import (
    entries,
    matrix_product_is_exact,
    product_is_exact,
    sum_is_exact,
)

IntVector = NDArray[np.intp]

_SMALL = 1 << 16
_DENSE_SHARE = 0.3


def identity(n: int) -> sparse.csr_array:
    """Sparse identity."""
    return selection(np.arange(n), n)


def selection(index: IntVector, columns: int) -> sparse.csr_array:
    """Row i is the unit vector of column index[i]."""
    return sparse.csr_array(
        (np.ones(len(index)), index.astype(np.int32), np.arange(len(index) + 1, dtype=np.int32)),
        shape=(len(index), columns),
    )


def selected_columns(matrix: Matrix) -> IntVector | None:
    """For a matrix of unit rows, the column of each row's one; None for any other matrix."""
    if not sparse.issparse(matrix) or matrix.nnz != matrix.shape[0]:
        return None
    if not (matrix.data == 1.0).all() or not (np.diff(matrix.indptr) == 1).all():
        return None
    return np.asarray(matrix.indices, dtype=np.intp)


def take(matrix: Matrix, index: IntVector) -> Matrix:
    """Rows of a matrix; index -1 gives a row of zeros."""
    if len(index) == matrix.shape[0] and np.array_equal(index, np.arange(len(index))):
        return matrix
    if sparse.issparse(matrix):
        if (index < 0).any():
            extended = sparse.csr_array(
                (matrix.data, matrix.indices, np.append(matrix.indptr, matrix.indptr[-1])),
                shape=(matrix.shape[0] + 1, matrix.shape[1]),
            )
            return sparse.csr_array(extended[np.where(index < 0, matrix.shape[0], index)])
        return sparse.csr_array(matrix[index])
    rows = matrix[index]
    rows[index < 0] = 0.0
    return rows


def add(a: Matrix, b: Matrix) -> tuple[Matrix, bool]:
    """Sum of two matrices, and whether it is exact."""
    if sparse.issparse(a) != sparse.issparse(b):
        a, b = dense(a), dense(b)
    total = a + b
    exact = sum_is_exact(a, b, total)
    if sparse.issparse(total):
        total = sparse.csr_array(total)
        total.eliminate_zeros()
    return total, exact


def scale(matrix: Matrix, factors: FloatArray) -> tuple[Matrix, bool]:
    """Rows of a matrix times factors, and whether that is exact."""
    if (factors == 1.0).all():
        return matrix, True
    if sparse.issparse(matrix):
        spread = np.repeat(factors, np.diff(matrix.indptr))
        data = matrix.data * spread
        scaled = sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
        exact = product_is_exact(matrix.data, spread, data)
        scaled.eliminate_zeros()
        return scaled, exact
    product = matrix * factors[:, None]
    if ((factors == 1.0) | (factors == -1.0) | (factors == 0.0)).all():
        return product, True
    return product, product_is_exact(matrix, np.broadcast_to(factors[:, None], matrix.shape), product)


def compose(left: Matrix, right: Matrix) -> tuple[Matrix, bool]:
    """Multiply left @ right, and say whether that is exact; `left` itself where `right` is the identity."""
    columns = selected_columns(right)
    if columns is not None:
        if right.shape[0] == right.shape[1] and np.array_equal(columns, np.arange(len(columns))):
            return left, True
        if np.bincount(columns, minlength=right.shape[1]).max(initial=0) <= 1:
            return _scatter(left, columns, right.shape[1]), True
    rows = selected_columns(left)
    if rows is not None:
        return take(right, rows), True
    product = left @ right
    if sparse.issparse(product):
        product = sparse.csr_array(product)
    return product, matrix_product_is_exact(left, right, product)


def _scatter(matrix: Matrix, columns: IntVector, width: int) -> Matrix:
    if sparse.issparse(matrix):
        scattered = sparse.csr_array(
            (matrix.data, columns[matrix.indices].astype(np.int32), matrix.indptr),
            shape=(matrix.shape[0], width),
        )
        scattered.sort_indices()
        return scattered
    wide = np.zeros((matrix.shape[0], width))
    wide[:, columns] = matrix
    return wide


def stack_rows(matrices: Sequence[Matrix]) -> Matrix:
    """Matrices below one another; sparse if any is."""
    if len(matrices) == 1:
        return matrices[0]
    if any(sparse.issparse(m) for m in matrices):
        return sparse.csr_array(sparse.vstack([sparse.csr_array(m) for m in matrices], format="csr"))
    return np.concatenate([np.asarray(m) for m in matrices])


def dense(matrix: Matrix) -> FloatArray:
    """Return the matrix as a dense array."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)


def compact(matrix: Matrix) -> Matrix:
    """Dense where that costs little, sparse otherwise: the form in which a finished layer is kept."""
    if not sparse.issparse(matrix):
        return matrix
    size = matrix.shape[0] * matrix.shape[1]
    if size <= _SMALL or matrix.nnz >= _DENSE_SHARE * size:
        return dense(matrix)
    return matrix


def nonzero_rows(matrix: Matrix) -> NDArray[np.bool_]:
    """Which rows hold a nonzero entry."""
    if sparse.issparse(matrix):
        found = np.zeros(matrix.shape[0], dtype=bool)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        found[rows[matrix.data != 0]] = True
        return found
    return np.asarray(matrix.any(axis=1))


def same(a: Matrix, b: Matrix) -> bool:
    """Whether two matrices of one shape are equal, entry by entry and in form."""
    if a is b:
        return True
    if isinstance(a, sparse.csr_array) and isinstance(b, sparse.csr_array):
        return (
            np.array_equal(a.indptr, b.indptr)
            and np.array_equal(a.indices, b.indices)
            and np.array_equal(entries(a), entries(b))
        )
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
