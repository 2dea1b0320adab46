"""What several operators are together: monomials, products of functions of one value, relative entropies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jensen.calculus._arithmetic import negative
from jensen.calculus._call import Call
from jensen.calculus._common import Run, common_product
from jensen.calculus._monomials import is_below, monomial
from jensen.calculus._value import ANY_SIGN, DOWN, UP, VARIES, Value, constant, has, when
from jensen.program import Name

_PRODUCTS = ("aten.mul", "aten.mul_", "aten.multiply")
_QUOTIENTS = ("aten.div", "aten.div_", "aten.true_divide", "aten.reciprocal")
_MONOMIALS = (*_PRODUCTS, *_QUOTIENTS, "aten.pow", "aten.sqrt", "aten.rsqrt", "aten.square")


def together(call: Call, run: Run) -> Iterator[Value]:
    """Tell what a node is known to be as the last of several operators; each is right by itself."""
    if call.node.packet in _MONOMIALS:
        for deep in (True, False):
            if (found := monomial(call, deep)) is not None:
                yield found
    if call.node.packet in _PRODUCTS:
        if (found := relative_entropy(call)) is not None:
            yield found
        if (found := common_product(call, run)) is not None:
            yield found


def relative_entropy(call: Call) -> Value | None:
    """Recognise x log(x / y), x (log x - log y), and x log(y / x), to any base.

    The first is the perspective of -log at (y, x), jointly convex in x, y > 0, and non-increasing in y: so it
    is convex for an affine x and a concave y. Both are positive where the logarithm and the quotient take it
    for granted, which a quotient does not of what is proved to be negative.
    """
    one, other = call.node.args.get("self"), call.node.args.get("other")
    for x, logarithm in ((one, other), (other, one)):
        for upper, lower in _ratios(call, logarithm):
            if x == upper and (found := _entropy(call, x, lower)) is not None:
                return found
            if x == lower and (found := _entropy(call, x, upper)) is not None:
                return negative(found)
    return None


_LOGARITHMS = ("aten.log", "aten.log2", "aten.log10")


def _ratios(call: Call, given: object) -> Iterator[tuple[object, object]]:
    """Read a value as log(u / v)."""
    made = call.maker(given)
    if made is None:
        return
    if made.packet in _LOGARITHMS:
        inner = call.maker(made.args["self"])
        if inner is None or inner.packet not in ("aten.div", "aten.true_divide"):
            return
        upper, lower = inner.args["self"], inner.args["other"]
        if inner.args.get("rounding_mode") is None and not is_below(call, lower):
            yield upper, lower
    elif made.packet == "aten.sub" and made.args.get("alpha") in (None, 1):
        first, second = (call.maker(made.args[name]) for name in ("self", "other"))
        if first is None or second is None or first.packet != second.packet:
            return
        if first.packet in _LOGARITHMS:
            yield first.args["self"], second.args["self"]


def _entropy(call: Call, x: object, y: object) -> Value | None:
    first = call.known(x)
    second = call.known(y) if isinstance(y, Name) else constant(y)
    shape: Any = call.node.shape
    if first is None or second is None:
        return None
    first, second = first.broadcast(shape), second.broadcast(shape)
    varies = first.varies | second.varies
    wrong = has(first.curvature, UP | DOWN) | has(second.curvature, UP)
    curvature = when(varies, VARIES | UP) | when(varies & wrong, DOWN)
    return Value(np.full(shape, ANY_SIGN, dtype=np.int8), curvature)
