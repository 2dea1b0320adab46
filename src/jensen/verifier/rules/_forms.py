"""Functions that a program writes as several operators: x log x, sums of the k largest, quadratic forms."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpz_mat

from jensen.program import Name, Node
from jensen.verifier.rules._call import Call, Rule, axes_of
from jensen.verifier.rules._elementwise import ENTROPY, LOGARITHM
from jensen.verifier.rules._known import (
    Flags,
    Known,
    minus,
    product,
    settled,
    unknown,
)

MOST_ROWS = 80
"""Quadratic forms of more variables are left undecided."""


def entropy(call: Call) -> Known | None:
    """Recognise x * log(x), in either order, to any base above one: convex where x > 0."""
    for factor, logarithm in (("self", "other"), ("other", "self")):
        made = call.maker(call.node.args.get(logarithm))
        if made is None or made.packet not in ("aten.log", "aten.log2", "aten.log10"):
            continue
        given = call.node.args.get(factor)
        if isinstance(given, Name) and made.args.get("self") == given:
            return ENTROPY(call, call.of(given))
    return None


def _xlogy(call: Call) -> Known:
    """X log(y), and 0 where x is 0 and y is not negative."""
    if call.is_same("self", "other"):
        return ENTROPY(call, call.known("self"))
    return product(call.known("self"), LOGARITHM(call, call.known("other")))


def _topk(call: Call) -> tuple[Known, ...]:
    """Say nothing of each of the k largest entries: which ones they are depends on the values."""
    found = []
    for shape in call.node.shape:
        if not isinstance(shape, tuple):
            raise call.refused("its results have no shape")
        found.append(unknown(np.ones(shape, dtype=bool)))
    return tuple(found)


def sum_of_largest(call: Call) -> Known | None:
    """Recognise the sum, or the mean, of the k largest entries: the largest of all sums of k entries."""
    picked = call.maker(call.given("self"))
    if picked is None or picked.operator != "_operator.getitem" or picked.args.get("b") != 0:
        return None
    made = call.maker(picked.args.get("a"))
    if made is None or made.packet != "aten.topk":
        return None
    a, k, axis = call.of(made.args.get("self")), made.args.get("k"), made.args.get("dim", -1)
    axis, order = -1 if axis is None else axis, made.args.get("largest", True)
    if not a.shape or type(k) is not int or k < 1 or type(axis) is not int or type(order) is not bool:
        return None
    axes = axes_of(call.given("dim"))
    reduced = {i % len(a.shape) for i in (range(len(a.shape)) if axes is None else axes)}
    if axis % len(a.shape) not in reduced or not a.up.size:
        return None

    def found(flags: Flags) -> Flags:
        return np.asarray(flags.any(axis=tuple(sorted(reduced)), keepdims=call.flag("keepdim")))

    return _top(a, found) if order else minus(_top(minus(a), found))


def _top(a: Known, found: Callable[[Flags], Flags]) -> Known:
    """Bend as a largest entry does, with the sign of any sum: the largest may be zero where a sum is not."""
    negative, positive, moves = found(a.negative), found(a.positive), found(a.moves)
    zero = found(a.zero) | (negative & positive)
    return settled(negative, zero, positive, moves, found(a.down), moves, log_down=found(a.log_down))


def quadratic_form(call: Call) -> Known | None:
    """Recognise x' P x for a constant P that is semidefinite, and x affine: of a vector, or of every row.

    It is written as the product of x and its image P x, or P' x, or as the sum of products of their entries.
    """
    if call.node.packet == "aten.sum":
        made = call.maker(call.given("self"))
        if made is None or made.packet != "aten.mul":
            return None
    else:
        made = call.node
    one, other = made.args.get("self"), made.args.get("other", made.args.get("tensor"))
    for x, image in ((one, other), (other, one)):
        matrix = _matrix(call, x, call.maker(image))
        if matrix is None:
            continue
        a = call.of(x)
        last = call.node.packet != "aten.sum" or axes_of(call.given("dim"))
        if len(a.shape) > 1 and last not in ((-1,), (len(a.shape) - 1,)):
            continue
        return _form(call, a, matrix)
    return None


def _matrix(call: Call, x: Any, image: Node | None) -> np.ndarray[Any, Any] | None:
    """Find the constant matrix that maps x, a vector or rows of a matrix, to its image; or its transpose."""
    if image is None or not isinstance(x, Name):
        return None
    names = {
        "aten.linear": ("input", "weight"),
        "aten.matmul": ("self", "other"),
        "aten.mm": ("self", "mat2"),
        "aten.mv": ("self", "vec"),
    }.get(image.packet)
    if names is None or image.args.get("bias") is not None:
        return None
    first, second = (image.args.get(name) for name in names)
    a = call.of(x)
    if first == x:
        matrix = call.numbers(second)
    elif second == x and len(a.shape) == 1:
        matrix = call.numbers(first)
    else:
        return None
    if matrix is None or matrix.dtype.kind != "f" or not a.shape or matrix.shape != (a.shape[-1],) * 2:
        return None
    return matrix if len(matrix) <= MOST_ROWS else None


def _form(call: Call, a: Known, matrix: np.ndarray[Any, Any]) -> Known | None:
    if (a.up | a.down).any():
        return None
    convex = is_semidefinite(matrix)
    if not convex and not is_semidefinite(-matrix):
        return None
    keep = call.node.packet == "aten.sum" and call.flag("keepdim")
    moves = np.asarray(a.moves.any(axis=-1, keepdims=keep))
    anything = np.ones_like(moves)
    result = settled(~anything, anything, anything, moves, ~anything, moves)
    return result if convex else minus(result)


def is_semidefinite(matrix: np.ndarray[Any, Any]) -> bool:
    """Whether x' M x >= 0 for all x, decided exactly.

    The eigenvalues of M + M' are real. If one is negative, det(t I + M + M') has a positive root t, and so
    a negative coefficient, as its first is 1; if none is, it is a product of factors t + m with m >= 0.
    """
    exact = [[Fraction(entry) for entry in row] for row in np.asarray(matrix, dtype=np.float64).tolist()]
    # All denominators are powers of two.
    scale = max((entry.denominator for row in exact for entry in row), default=1)
    n = len(exact)
    # det(t I - A) for A = -(M + M'), scaled: coefficients in rising order.
    opposite = [[-int((exact[i][j] + exact[j][i]) * scale) for j in range(n)] for i in range(n)]
    return n == 0 or all(int(c) >= 0 for c in fmpz_mat(opposite).charpoly().coeffs())


RULES: dict[str, Rule] = {
    "aten.topk": _topk,
    "aten.xlogy": _xlogy,
}
