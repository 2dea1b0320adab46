"""Affine operators with constant coefficients: sums, scalings, linear layers, convolutions, means."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network._relu_network import FloatArray, Matrix
from jensen.network.lowering._expression import Expression
from jensen.network.lowering._rounding import product_is_exact, quotient_is_exact, sum_is_exact
from jensen.network.lowering._tape import MAX_SYMBOLS
from jensen.network.lowering._tensor import Tensor, Value, align, permute
from jensen.network.lowering._windows import Windows

MAX_ENTRIES = 1 << 27
"""No sparse matrix of a convolution or pooling may have more entries than this."""


def add(a: Value, b: Value) -> Tensor:
    """Sum, with broadcasting."""
    left, right = align(a, b)
    return _joined(left, right, left.expression + right.expression)


def subtract(a: Value, b: Value) -> Tensor:
    """Difference, with broadcasting."""
    left, right = align(a, b)
    return _joined(left, right, left.expression - right.expression)


def _joined(left: Tensor, right: Tensor, expression: Expression) -> Tensor:
    like = left if left.batch is not None else right
    return like.with_expression(expression)


def negate(t: Tensor) -> Tensor:
    """Change the sign."""
    return t.with_expression(-t.expression)


def multiply(a: Value, b: Value, operator: str) -> Tensor:
    """Product, with broadcasting, of which one factor must not depend on the input."""
    left, right = align(a, b)
    if not right.expression.is_constant:
        left, right = right, left
    if not right.expression.is_constant:
        raise UnsupportedOperatorError(
            operator,
            left.tape.place,
            "both factors depend on the input, so the product is not piecewise linear",
        )
    return _joined(left, right, left.expression.scale(right.expression.constant))


def divide(a: Value, b: Value, operator: str) -> Tensor:
    """Quotient by a constant."""
    if isinstance(b, Tensor):
        if not b.expression.is_constant:
            raise UnsupportedOperatorError(operator, b.tape.place, "the divisor depends on the input")
        b = b.expression.constant.reshape(b.shape)
    left, right = align(a, b)
    divisor = right.expression.constant
    if (divisor == 0).any():
        raise NetworkError(f"{left.tape.place} divides by zero")
    expression, exact = left.expression, True
    terms: dict[int, Matrix] = {}
    for k, m in expression.terms.items():
        if sparse.issparse(m):
            spread = np.repeat(divisor, np.diff(m.indptr))
            data = m.data / spread
            exact &= quotient_is_exact(m.data, spread, data)
            terms[k] = sparse.csr_array((data, m.indices, m.indptr), shape=m.shape)
        else:
            wide = np.broadcast_to(divisor[:, None], m.shape)
            quotient = np.asarray(m / wide)
            exact &= quotient_is_exact(np.asarray(m), wide, quotient)
            terms[k] = quotient
    constant = expression.constant / divisor
    exact &= quotient_is_exact(expression.constant, divisor, constant)
    return _joined(left, right, Expression(terms, constant, exact))


def linear(t: Tensor, weight: FloatArray, bias: FloatArray | None = None) -> Tensor:
    """Multiply the last axis by weight (m, n) and add a bias."""
    axis = t.feature_axis(-1)
    m, n = weight.shape
    if t.shape[axis] != n:
        raise NetworkError(f"{t.tape.place}: a weight of shape {weight.shape} meets {t.shape[axis]} features")
    copies = prod(t.shape[:-1])
    _bound_entries(t, copies * weight.size if copies > 1 else 0)
    matrix: Matrix = weight
    if copies != 1:
        matrix = sparse.csr_array(
            sparse.kron(sparse.eye_array(copies), sparse.csr_array(weight), format="csr")
        )
    shift = None if bias is None else np.tile(np.broadcast_to(bias, (m,)), copies)
    return t.with_expression(t.expression.apply(matrix, shift), (*t.shape[:-1], m))


def matmul(a: Value, b: Value, operator: str) -> Tensor:
    """Matrix product of which one factor is a constant matrix or vector."""
    constant, t, left = (a, b, True) if isinstance(b, Tensor) else (b, a, False)
    if isinstance(constant, Tensor) or not isinstance(t, Tensor):
        place = t.tape.place if isinstance(t, Tensor) else ""
        raise UnsupportedOperatorError(operator, place, "both factors depend on the input")
    while constant.ndim > 2 and constant.shape[0] == 1:
        constant = constant[0]
    if constant.ndim > 2 or constant.ndim == 0:
        raise UnsupportedOperatorError(
            operator, t.tape.place, f"a constant factor of shape {constant.shape} is not a matrix"
        )
    if left and t.ndim > 1:
        order = [*range(t.ndim - 2), t.ndim - 1, t.ndim - 2]
        product = linear(permute(t, order), np.atleast_2d(constant))
        return _drop_last(product) if constant.ndim == 1 else permute(product, order)
    if constant.ndim == 1:
        return _drop_last(linear(t, constant[None, :]))
    return linear(t, constant if left else np.ascontiguousarray(constant.T))


def _drop_last(t: Tensor) -> Tensor:
    return Tensor(t.tape, t.expression, t.shape[:-1], t.batch, t.batch_size)


def batch_norm(
    t: Tensor,
    weight: FloatArray | None,
    bias: FloatArray | None,
    mean: FloatArray,
    variance: FloatArray,
    *,
    epsilon: float,
) -> Tensor:
    """Batch normalisation with running statistics, per channel (axis 1)."""
    axis = t.feature_axis(1)
    gamma = np.ones_like(mean) if weight is None else weight
    beta = np.zeros_like(mean) if bias is None else bias
    spread = variance + epsilon
    root = np.sqrt(spread)
    factor = gamma / root
    shift = mean * factor
    offset = beta - shift
    exact = (
        sum_is_exact(variance, np.float64(epsilon), spread)
        and bool((root * root == spread).all())
        and product_is_exact(root, root, root * root)
        and quotient_is_exact(gamma, root, factor)
        and product_is_exact(mean, factor, shift)
        and sum_is_exact(beta, -shift, offset)
    )
    if not exact:
        t.tape.rounded()
    shape = (-1,) + (1,) * (t.ndim - 1 - axis)
    return add(multiply(t, factor.reshape(shape), "batch_norm"), offset.reshape(shape))


def convolution(
    t: Tensor,
    weight: FloatArray,
    bias: FloatArray | None,
    windows: Windows,
    groups: int,
) -> Tensor:
    """Convolution of any number of spatial axes, as one sparse matrix.

    `weight` has shape (out, in / groups, *kernel); the tensor is (N, in, *space) or (in, *space).
    """
    lead, channels = _split_channels(t, len(windows.out_shape))
    out_channels, per_group = weight.shape[:2]
    if channels != per_group * groups or out_channels % max(groups, 1):
        raise NetworkError(
            f"{t.tape.place}: a weight of shape {weight.shape} in {groups} groups meets {channels} channels"
        )
    table = windows.table()
    positions, taps = table.shape
    _bound_entries(t, out_channels * positions * per_group * taps)
    space = prod(windows.in_shape)
    first = np.repeat(np.arange(groups), out_channels // groups) * per_group
    channel = first[:, None] + np.arange(per_group)
    columns = (channel[:, None, :, None] * space + table[None, :, None, :]).astype(np.int32)
    present = np.broadcast_to(table[None, :, None, :] >= 0, columns.shape)
    flat = weight.reshape(out_channels, 1, per_group, taps)
    keep = present & (flat != 0)
    data = np.broadcast_to(flat, columns.shape)[keep]
    counts = keep.reshape(out_channels * positions, -1).sum(axis=1)
    matrix = sparse.csr_array(
        (data, columns[keep], np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)),
        shape=(out_channels * positions, channels * space),
    )
    shift = None if bias is None else np.repeat(np.broadcast_to(bias, (out_channels,)), positions)
    copies = prod(lead)
    if copies != 1:
        matrix = sparse.csr_array(sparse.kron(sparse.eye_array(copies), matrix, format="csr"))
        shift = None if shift is None else np.tile(shift, copies)
    return t.with_expression(t.expression.apply(matrix, shift), (*lead, out_channels, *windows.out_shape))


def average_pool(t: Tensor, windows: Windows, divisors: FloatArray) -> Tensor:
    """Mean over windows; `divisors` holds the number that each window's sum is divided by."""
    axes = len(windows.out_shape)
    _split_channels(t, axes)
    table = windows.table()
    lead = t.shape[: t.ndim - axes]
    numbers = t.numbers().reshape(prod(lead), prod(windows.in_shape))
    members = np.where(table[None] >= 0, numbers[:, np.maximum(table, 0)], -1)
    divisor = np.broadcast_to(divisors[None, :], members.shape[:2])
    return weighted_sums(t, members.reshape(-1, table.shape[1]), divisor.ravel(), (*lead, *windows.out_shape))


def weighted_sums(t: Tensor, members: NDArray[np.intp], divisors: FloatArray, shape: Sequence[int]) -> Tensor:
    """Row i: the sum of the elements members[i] (-1 for none) divided by divisors[i]."""
    _bound_entries(t, members.size)
    share = 1.0 / divisors
    if not quotient_is_exact(np.ones_like(divisors), divisors, share):
        t.tape.rounded()
    present = members >= 0
    counts = present.sum(axis=1)
    matrix = sparse.csr_array(
        (
            np.repeat(share, counts),
            members[present].astype(np.int32),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        ),
        shape=(len(members), t.expression.size),
    )
    return t.with_expression(t.expression.apply(matrix), shape)


def reduce(t: Tensor, axes: Sequence[int] | None, keep: bool, mean: bool) -> Tensor:
    """Sum or mean over axes (all but the batch must be named explicitly if there is a batch)."""
    members, shape, batch = reduction(t, axes, keep)
    divisors = np.full(len(members), float(members.shape[1]) if mean else 1.0)
    total = weighted_sums(t, members, divisors, shape)
    return Tensor(t.tape, total.expression, shape, batch, t.batch_size)


def reduction(
    t: Tensor, axes: Sequence[int] | None, keep: bool
) -> tuple[NDArray[np.intp], tuple[int, ...], int | None]:
    """Table of the elements that each result of a reduction reads, the result's shape and batch axis."""
    gone = sorted({t.feature_axis(a) for a in (range(t.ndim) if axes is None else axes)})
    rest = [a for a in range(t.ndim) if a not in gone]
    members = t.numbers().transpose([*rest, *gone]).reshape(prod(t.shape[a] for a in rest), -1)
    shape = tuple(1 if a in gone else n for a, n in enumerate(t.shape) if keep or a not in gone)
    batch = t.batch if keep or t.batch is None else rest.index(t.batch)
    return members, shape, batch


def _split_channels(t: Tensor, axes: int) -> tuple[tuple[int, ...], int]:
    if t.ndim not in (axes + 1, axes + 2):
        raise NetworkError(f"{t.tape.place}: an input with {t.ndim} axes does not fit {axes} spatial axes")
    if t.batch is not None and t.batch >= t.ndim - axes - 1:
        raise t.mixing()
    return t.shape[: t.ndim - axes - 1], t.shape[t.ndim - axes - 1]


def _bound_entries(t: Tensor, count: int) -> None:
    if count > MAX_ENTRIES or t.expression.size > MAX_SYMBOLS:
        raise NetworkError(f"{t.tape.place} needs a matrix of {count} entries; the limit is {MAX_ENTRIES}")
