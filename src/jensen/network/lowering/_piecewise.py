"""Operators with kinks: the ReLU family, clamps, maxima and minima, max-pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network._relu_network import FloatArray
from jensen.network.lowering._expression import Expression, constant_expression, stack
from jensen.network.lowering._linear import negate, reduction, subtract
from jensen.network.lowering._rounding import sum_is_exact
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor, Value, align
from jensen.network.lowering._windows import Windows


def activate(t: Tensor, slopes: FloatArray | float) -> Tensor:
    """``z where z > 0, slope * z elsewhere``; the slopes broadcast against the tensor's shape.

    Slope 0 is ReLU, 0.01 a leaky ReLU, -1 the absolute value.
    """
    wide = np.array(np.broadcast_to(np.asarray(slopes, dtype=np.float64), t.shape)).ravel()
    return t.with_expression(t.tape.activate(t.expression, wide))


def _relu(tape: Tape, argument: Expression) -> Expression:
    return tape.activate(tape.keep(argument), np.zeros(argument.size))


def channel_slopes(t: Tensor, weight: FloatArray) -> FloatArray:
    """Slopes of a PReLU, one for all or one per channel, shaped to broadcast."""
    flat = weight.ravel()
    if flat.size == 1:
        return flat.reshape(())
    axis = t.feature_axis(1 if t.ndim > 1 else 0)
    if flat.size != t.shape[axis]:
        raise NetworkError(f"{t.tape.place}: {flat.size} slopes for {t.shape[axis]} channels")
    return flat.reshape((-1,) + (1,) * (t.ndim - 1 - axis))


def clamp(t: Tensor, low: FloatArray | float | None, high: FloatArray | float | None) -> Tensor:
    """``min(max(z, low), high)``: the upper bound wins where they cross, as in torch and ONNX."""
    lo = _bound(t, low, -np.inf)
    hi = _bound(t, high, np.inf)
    if np.isnan(lo).any() or np.isnan(hi).any():
        raise NetworkError(f"{t.tape.place}: a bound is NaN")
    if np.isposinf(lo).any() or np.isneginf(hi).any():
        raise NetworkError(f"{t.tape.place}: a bound makes the result infinite")
    lo = np.minimum(lo, hi)
    tape, z = t.tape, t.expression
    bounded_below, bounded_above, fixed = np.isfinite(lo), np.isfinite(hi), lo == hi
    kinds = 2 * bounded_below + bounded_above
    kinds[fixed] = 4
    parts, rows = [], []
    for kind in np.unique(kinds):
        index = np.flatnonzero(kinds == kind)
        part = z.take(index)
        below = constant_expression(np.where(bounded_below[index], lo[index], 0.0))
        above = constant_expression(np.where(bounded_above[index], hi[index], 0.0))
        if kind == 1:
            part = above - _relu(tape, above - part)
        elif kind == 2:
            part = below + _relu(tape, part - below)
        elif kind == 3:
            part = below + _relu(tape, part - below) - _relu(tape, part - above)
        elif kind == 4:
            part = below
        parts.append(tape.keep(part))
        rows.append(index)
    if len(parts) == 1:
        return t.with_expression(parts[0])
    order = np.empty(z.size, dtype=np.intp)
    order[np.concatenate(rows)] = np.arange(z.size)
    return t.with_expression(stack(parts).take(order))


def _bound(t: Tensor, bound: FloatArray | float | None, absent: float) -> FloatArray:
    if bound is None:
        return np.full(t.expression.size, absent)
    return np.array(np.broadcast_to(np.asarray(bound, dtype=np.float64), t.shape)).ravel()


def maximum(a: Value, b: Value) -> Tensor:
    """Elementwise maximum, with broadcasting."""
    left, right = align(a, b)
    like = left if left.batch is not None else right
    return like.with_expression(_maximum(like.tape, left.expression, right.expression))


def minimum(a: Value, b: Value) -> Tensor:
    """Elementwise minimum, with broadcasting: ``-max(-a, -b)``."""
    return negate(maximum(_negative(a), _negative(b)))


def _negative(value: Value) -> Value:
    return negate(value) if isinstance(value, Tensor) else -value


def _maximum(tape: Tape, a: Expression, b: Expression) -> Expression:
    """``b + relu(a - b)``, with the simpler operand outside, whose later composition then rounds less."""
    if a.is_constant or (a.is_sparse and not (b.is_constant or b.is_sparse)):
        a, b = b, a
    return b + _relu(tape, a - b)


@dataclass(frozen=True)
class Condition:
    """A comparison: true where `difference` is positive."""

    difference: Tensor


def compare(a: Value, b: Value) -> Condition:
    """Build the condition a > b; whether equality counts does not matter to a continuous function."""
    if isinstance(a, Tensor) and not isinstance(b, Tensor) and not np.any(b):
        return Condition(a)
    if isinstance(b, Tensor) and not isinstance(a, Tensor) and not np.any(a):
        return Condition(negate(b))
    return Condition(subtract(a, b))


def choose(condition: Condition, a: Value, b: Value, operator: str) -> Tensor:
    """Choose ``a`` where the condition holds and ``b`` elsewhere, both multiples of what it compares.

    Then, with z the common root, the choice is ``below * z + (above - below) * relu(z)``.
    """
    difference, first = align(condition.difference, a)
    difference, second = align(difference, b)
    root, sign = difference.expression.root
    yes, no = _multiple(first.expression, root), _multiple(second.expression, root)
    if yes is None or no is None or (sign == 0).any():
        raise UnsupportedOperatorError(
            operator,
            difference.tape.place,
            "a choice can be lowered where both values are multiples of what is compared with zero, "
            "for instance where(x > 0, x, 0.1 * x)",
        )
    above, below = np.where(sign > 0, yes, no), np.where(sign > 0, no, yes)
    tape = difference.tape
    if (above == 1.0).all():
        return difference.with_expression(tape.activate(root, below))
    gap = above - below
    if not sum_is_exact(above, -below, gap):
        tape.rounded()
    return difference.with_expression(tape.keep(root.scale(below)) + tape.keep(_relu(tape, root).scale(gap)))


def _multiple(expression: Expression, root: Expression) -> FloatArray | None:
    """Factors by which an expression is a multiple of another, if that is known."""
    if expression.is_constant and not expression.constant.any():
        return np.zeros(expression.size)
    own, factors = expression.root
    return factors if own.equals(root) else None


def max_pool(t: Tensor, windows: Windows) -> Tensor:
    """Maximum over windows of the last axes; positions outside the input never win."""
    axes = len(windows.out_shape)
    lead = t.shape[: t.ndim - axes]
    if t.batch is not None and t.batch >= len(lead):
        raise t.mixing()
    if any((positions < 0).all(axis=1).any() for positions in windows.axes):
        raise NetworkError(f"{t.tape.place}: a window lies in the padding altogether")
    if not windows.overlap:
        return t.with_expression(_tree(t, _spread(t, lead, windows.table())), (*lead, *windows.out_shape))
    # One axis at a time, so that overlapping windows share the maxima of their rows.
    for d, positions in enumerate(windows.axes):
        single = Windows((t.shape[len(lead) + d],), (len(positions),), (positions,), ((0, 0),))
        order = np.moveaxis(t.numbers(), len(lead) + d, -1)
        table = np.where(single.table() >= 0, order[..., np.maximum(single.table(), 0)], -1)
        table = np.moveaxis(table, -2, len(lead) + d)
        t = t.with_expression(_tree(t, table.reshape(-1, table.shape[-1])), table.shape[:-1])
    return t


def _spread(t: Tensor, lead: tuple[int, ...], table: NDArray[np.intp]) -> NDArray[np.intp]:
    numbers = t.numbers().reshape(prod(lead), -1)
    return np.where(table[None] >= 0, numbers[:, np.maximum(table, 0)], -1).reshape(-1, table.shape[1])


def reduce_max(t: Tensor, axes: Sequence[int] | None, keep: bool) -> Tensor:
    """Maximum over axes."""
    members, shape, batch = reduction(t, axes, keep)
    if members.shape[1] == 0:
        raise NetworkError(f"{t.tape.place}: the maximum of nothing")
    return Tensor(t.tape, t.tape.keep(_tree(t, members)), shape, batch, t.batch_size)


def reduce_min(t: Tensor, axes: Sequence[int] | None, keep: bool) -> Tensor:
    """Minimum over axes."""
    return negate(reduce_max(negate(t), axes, keep))


def _tree(t: Tensor, table: NDArray[np.intp]) -> Expression:
    """Maximum of the elements table[i] (-1 for none), pair by pair; equal pairs are computed once."""
    tape, pool = t.tape, t.expression
    while table.shape[1] > 1:
        width = table.shape[1] // 2
        left, right = table[:, 0 : 2 * width : 2], table[:, 1 : 2 * width : 2]
        winners = np.where(left < 0, right, left)
        real = (left >= 0) & (right >= 0) & (left != right)
        pairs = np.stack([left[real], right[real]], axis=1)
        pairs.sort(axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        if len(unique):
            best = _maximum(tape, pool.take(unique[:, 0]), pool.take(unique[:, 1]))
            winners[real] = pool.size + inverse.ravel()
            pool = stack([pool, tape.keep(best)])
        table = np.concatenate([winners, table[:, 2 * width :]], axis=1)
    return pool.take(table[:, 0])
