"""Functions that a program writes as several operators: x log x, sums of the k largest, quadratic forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jensen.calculus._arithmetic import negative
from jensen.calculus._atom import Atom, Shape
from jensen.calculus._call import Call
from jensen.calculus._definite import MOST_ROWS, is_semidefinite
from jensen.calculus._several import any_bit, applied_atom, log_convex, with_bend
from jensen.calculus._value import (
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    POSITIVE,
    ROOT_CONVEX,
    UP,
    VARIES,
    ZERO,
    Flags,
    Value,
    claimed,
    has,
    when,
)
from jensen.network import FloatArray
from jensen.program import Name, Node

_ENTROPY = Atom("x log(x)", Shape("convex"), sign={"zero": "zero"}, domain="nonnegative")
_LOGARITHMS = ("aten.log", "aten.log2", "aten.log10")
_PRODUCTS = ("aten.matmul", "aten.mv", "aten.mm", "aten.linear")


def entropy(call: Call) -> Value | None:
    """Recognise x * log(x), in either order, to any base, and xlogy(x, x)."""
    one, other = call.node.args.get("self"), call.node.args.get("other")
    if call.node.packet == "aten.xlogy":
        return applied_atom(call, _ENTROPY, call.value()) if call.is_same("self", "other") else None
    for factor, logarithm, name in ((one, other, "self"), (other, one, "other")):
        made = call.maker(logarithm)
        if made is not None and made.packet in _LOGARITHMS and made.args["self"] == factor:
            return applied_atom(call, _ENTROPY, call.value(name))
    return None


def top_sum(call: Call) -> Value | None:
    """Recognise the sum, or the mean, of the k largest or smallest entries along an axis.

    The sum of the k largest is the maximum of all sums of k entries.
    """
    picked = call.maker(call.node.args.get("self"))
    if picked is None or picked.operator != "_operator.getitem" or picked.args["b"] != 0:
        return None
    chosen = call.maker(picked.args["a"])
    if chosen is None or chosen.packet != "aten.topk" or not chosen.args["k"] >= 1:
        return None
    source = call.known(chosen.args["self"])
    if source is None or not source.shape:
        return None
    axes = call.get("dim")
    given = [axes] if isinstance(axes, int) else axes or range(len(source.shape))
    reduced = {axis % len(source.shape) for axis in given}
    axis = chosen.args.get("dim")
    if (-1 if axis is None else axis) % len(source.shape) not in reduced:
        return None
    keep = bool(call.get("keepdim", False))

    def found(flags: Flags) -> Flags:
        return np.asarray(flags.any(axis=tuple(reduced), keepdims=keep))

    largest = chosen.args.get("largest")
    if largest is None or largest:
        return _largest_sum(source, found)
    return negative(_largest_sum(negative(source), found))


def _largest_sum(value: Value, found: Callable[[Flags], Flags]) -> Value:
    above, below = found(has(value.sign, POSITIVE)), found(has(value.sign, NEGATIVE))
    sign = when(above, POSITIVE) | when(below, NEGATIVE)
    sign |= when((above & below) | found(has(value.sign, ZERO)), ZERO)
    return log_convex(value, Value(sign, with_bend(any_bit(value, found), UP)), found)


def quadratic_form(call: Call) -> Value | None:
    """Recognise x' P x for a constant P that is semidefinite, of one vector or of every row of a matrix."""
    if call.node.packet == "aten.sum":
        made = call.maker(call.node.args.get("self"))
        if made is None or made.packet != "aten.mul":
            return None
        factors, axes = (made.args["self"], made.args["other"]), call.get("dim")
    else:
        made = call.node
        other = next((name for name in ("other", "tensor") if name in made.args), None)
        if other is None:
            return None
        factors, axes = (made.args["self"], made.args[other]), [-1]
    for x, image in (factors, factors[::-1]):
        value, matrix = call.known(x), _matrix(call, x, call.maker(image))
        if value is None or matrix is None or not _along_last(value, axes):
            continue
        if call.node.packet != "aten.sum" and len(value.shape) != 1:
            continue
        return _form(value, matrix, call)
    return None


def _along_last(value: Value, axes: Any) -> bool:
    """Whether a sum runs over the entries of every row, and nothing else."""
    if axes is None or axes == []:
        return len(value.shape) == 1
    given = axes if isinstance(axes, list) else [axes]
    return len(given) == 1 and given[0] % len(value.shape) == len(value.shape) - 1


def _matrix(call: Call, x: object, image: Node | None) -> FloatArray | None:
    """Find the constant matrix that maps x to its image, or to which its transpose does."""
    if image is None or image.packet not in _PRODUCTS or image.args.get("bias") is not None:
        return None
    operands = [v for v in image.args.values() if isinstance(v, Name)]
    if len(operands) != 2 or x not in operands:
        return None
    other = operands[0] if operands[1] == x else operands[1]
    matrix, value = call.numbers.get(other.name), call.known(x)
    if matrix is None or value is None or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return None
    # The matrix acts on the last axis, unless it stands in front of a matrix; `linear` takes it second.
    behind = operands[0] == x or len(value.shape) == 1
    fits = behind and matrix.shape[0] == value.shape[-1] <= MOST_ROWS
    return matrix if fits and matrix.dtype.kind == "f" and bool(np.isfinite(matrix).all()) else None


def _form(value: Value, matrix: FloatArray, call: Call) -> Value | None:
    if has(value.curvature, UP | DOWN).any() and not _rises(value, matrix):
        return None
    upright = is_semidefinite(matrix)
    if not upright and not is_semidefinite(-matrix):
        return None
    keep = call.node.packet == "aten.sum" and bool(call.get("keepdim", False))
    bits = any_bit(value, lambda flags: np.asarray(flags.any(axis=-1, keepdims=keep)))
    bits = (bits | when(has(bits, VARIES), UP)) & ~np.int8(DOWN)
    result = Value(np.full(bits.shape, NONNEGATIVE, dtype=np.int8), bits)
    # The root of x' P x is a norm of x.
    return claimed(result, np.full(bits.shape, ROOT_CONVEX, dtype=np.int8)) if upright else negative(result)


def _rises(value: Value, matrix: FloatArray) -> bool:
    """Whether a form rises with x, or its negative does: no entries of two signs, and x >= 0 convex, or -x.

    The gradient (P + P') x is not negative for x >= 0 where no entry of P + P' is, so that a form P >= 0
    is convex and non-decreasing on the orthant, and so is its root; the form of -x is that of x.
    """
    entries = matrix + matrix.T  # of which only the signs matter, which no rounding changes
    if (entries > 0).any() and (entries < 0).any():
        return False
    convex = not has(value.sign, NEGATIVE).any() and not has(value.curvature, DOWN).any()
    concave = not has(value.sign, POSITIVE).any() and not has(value.curvature, UP).any()
    return convex or concave
