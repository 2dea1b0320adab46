"""Products of two functions of one common value, entry by entry: x exp(x), x softplus(x).

For f and g that are never negative, and points between a and b with shares t and 1 - t: where both are
convex, f g is at most (t f(a) + (1-t) f(b)) (t g(a) + (1-t) g(b)), which is t f(a) g(a) + (1-t) f(b) g(b)
less t (1-t) (f(a) - f(b)) (g(a) - g(b)). What is taken off is not negative if both rise, or both fall: f g is
convex, and moves with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from jensen.calculus._arithmetic import negative
from jensen.calculus._atom import ATOMS, Shape, composed
from jensen.calculus._call import Call, Result
from jensen.calculus._value import (
    ANY_SIGN,
    CONCAVE,
    CONVEX,
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    POSITIVE,
    UP,
    Flags,
    Value,
    chosen,
    has,
    mirrored,
    when,
)
from jensen.program import Name, Node

Run: TypeAlias = Callable[[list[Node], Mapping[str, Value]], Mapping[str, Result]]
"""Propagates what is known of some values through some nodes."""

_RISING, _FALLING = Shape("convex", "increasing"), Shape("convex", "decreasing")
_NAMES = ("neg", "mul", "div", "add", "sub", "rsub", "pow", "reciprocal", "clamp", "clamp_min")
_ENTRYWISE = frozenset(f"aten.{name}" for name in _NAMES)


def common_product(call: Call, run: Run) -> Value | None:
    """Describe a product of two functions of a common value; None where it is none."""
    one, other = call.node.args.get("self"), call.node.args.get("other")
    if not isinstance(one, Name) or not isinstance(other, Name):
        return None
    first, second = _chain(call, one), _chain(call, other)
    shared = next((name for name in first if name in second), None)
    if shared is None:
        return None
    value = call.known(Name(shared))
    if value is None or value.shape != call.node.shape:
        return None
    nodes = _between(call, first, shared) + _between(call, second, shared)
    # What is convex for every convex argument is convex and rises; for every concave one, it falls.
    under = {}
    for bend in (CONVEX, CONCAVE):
        given = Value(value.sign, np.full(value.shape, bend, dtype=np.int8))
        under[bend] = run(nodes, {shared: given})
    factors = [[_as_value(under[bend], name.name) for bend in (CONVEX, CONCAVE)] for name in (one, other)]
    if any(v is None or v.shape != value.shape for pair in factors for v in pair):
        return None
    return _product(value, *([v for v in pair if v is not None] for pair in factors))


def _as_value(results: Mapping[str, Result], name: str) -> Value | None:
    found = results.get(name)
    return found if isinstance(found, Value) else None


def _chain(call: Call, name: Name) -> list[str]:
    """List a value, what it is an entrywise function of, what that is one of, and so on."""
    found = [name.name]
    node = call.maker(name)
    while node is not None:
        reads = [ref for ref in node.inputs if ref not in call.numbers]
        if len(reads) != 1 or node.shape != call.node.shape:
            break
        known = node.packet in _ENTRYWISE or node.packet in ATOMS
        if not known:
            break
        found.append(reads[0])
        node = call.maker(Name(reads[0]))
    return found


def _between(call: Call, chain: list[str], shared: str) -> list[Node]:
    """List the nodes that make the first of a chain from what is shared, in the order of evaluation."""
    names = chain[: chain.index(shared)]
    return [node for name in reversed(names) if (node := call.maker(Name(name))) is not None]


def _product(value: Value, one: list[Value], other: list[Value]) -> Value:
    """Describe the product of factors of which each is known for convex and for concave arguments."""
    curvature = value.curvature | np.int8(UP | DOWN)
    turned = np.zeros(value.shape, dtype=bool)
    known = np.ones(value.shape, dtype=bool)
    rises, falls = known.copy(), known.copy()
    for convex, concave in (one, other):
        sign = convex.sign & concave.sign
        flip: Flags = ~has(sign, POSITIVE)
        known &= flip | ~has(sign, NEGATIVE)
        turned ^= flip
        rises &= ~has(np.where(flip, mirrored(convex.curvature), convex.curvature), DOWN)
        falls &= ~has(np.where(flip, mirrored(concave.curvature), concave.curvature), DOWN)
    for flags, shape in ((known & rises, _RISING), (known & falls, _FALLING)):
        bends = composed(shape, value.curvature) | ~np.int8(UP | DOWN)
        curvature = np.where(flags, curvature & bends, curvature)
    result = Value(when(known, NONNEGATIVE) | when(~known, ANY_SIGN), curvature.astype(np.int8))
    return chosen(turned, negative(result), result)
