"""Sums of powers read as a power of their root: x^2 + y^2 as the square of a norm.

The root (c_1 h_1^p + ... + c_m h_m^p)^(1/p), for h and c that are not negative, is convex and non-decreasing
in h for p >= 1: it is a norm. For p < 1 it is concave and non-decreasing: it is homogeneous of degree one,
and quasiconcave, as the sum is concave for 0 < p < 1 and convex for p < 0; such functions are concave where
they are positive.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from jensen.calculus._call import Call
from jensen.calculus._elementary import SIZE
from jensen.calculus._several import MOST_EXACT, any_bit, with_bend
from jensen.calculus._value import (
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    POSITIVE,
    UP,
    ZERO,
    Bits,
    Flags,
    Value,
    constant,
    has,
)
from jensen.program import Name, Node

_POWERS = {
    "square": Fraction(2),
    "sqrt": Fraction(1, 2),
    "rsqrt": Fraction(-1, 2),
    "reciprocal": Fraction(-1),
}
_PAIRS = ("dot", "vdot", "matmul")


def exponent_of(call: Call, node: Node) -> Fraction | None:
    """Return p of a node that is x^p, exactly; None of others."""
    name = node.packet.removeprefix("aten.")
    if name != "pow":
        return _POWERS.get(name)
    given = node.args.get("exponent")
    number = call.numbers.get(given.name) if isinstance(given, Name) else given
    if number is None or np.size(number) != 1:
        return None
    exponent = float(np.reshape(number, ()))
    return Fraction(exponent) if 0 < abs(exponent) < MOST_EXACT else None


def root(call: Call, node: Node) -> tuple[Fraction, Value] | None:
    """Find p and a description of the root, where a node is a sum of powers; None where it is none."""
    found = _summed(call, node)
    return None if found is None or found[0] is None else (found[0], found[1])


def _summed(call: Call, node: Node) -> tuple[Fraction | None, Value] | None:
    """Read a node that adds powers."""
    name, args = node.packet.removeprefix("aten."), node.args
    if name in ("add", "add_") and args.get("alpha") in (None, 1):
        one, other = _powers(call, args["self"]), _powers(call, args["other"])
        if one is None or other is None or (one[0] or other[0]) != (other[0] or one[0]):
            return None
        power = one[0] or other[0]
        shape: Any = node.shape
        bits = one[1].broadcast(shape).curvature | other[1].broadcast(shape).curvature
        return (power, _bent(power, bits))
    if name in ("sum", "mean") and isinstance(args.get("self"), Name):
        terms = _powers(call, args["self"])
        if terms is None or terms[0] is None:
            return None
        axes = args.get("dim")
        over = None if axes is None or axes == [] else axes if isinstance(axes, int) else tuple(axes)
        keep = bool(args.get("keepdim") or False)

        def found(flags: Flags) -> Flags:
            return np.asarray(flags.any(axis=over, keepdims=keep))

        return terms[0], _bent(terms[0], any_bit(terms[1], found))
    if name in _PAIRS:
        return _squared_norm(call, node)
    return None


def _squared_norm(call: Call, node: Node) -> tuple[Fraction | None, Value] | None:
    one, other = node.args.get("self"), node.args.get("other", node.args.get("tensor"))
    value = call.known(one)
    if one != other or value is None or len(value.shape) != 1:
        return None
    bits = any_bit(SIZE(value), lambda flags: np.asarray(flags.any()))
    return Fraction(2), _bent(Fraction(2), bits)


def _bent(power: Fraction | None, bits: Bits) -> Value:
    bend = 0 if power is None else UP if power >= 1 else DOWN
    return Value(np.full(bits.shape, NONNEGATIVE, dtype=np.int8), with_bend(bits, bend))


def _powers(call: Call, given: object) -> tuple[Fraction | None, Value] | None:
    """Read terms as h^p for h that are not negative; p is None of constants, which are any power."""
    value = call.known(given) if isinstance(given, Name) else constant(given)
    if value is None:
        return None
    made = call.maker(given)
    if not value.varies.any():
        return None if has(value.sign, NEGATIVE).any() else (None, value)
    if made is None:
        return None
    if (inner := _summed(call, made)) is not None:
        return inner
    one, other = made.args.get("self"), made.args.get("other")
    if made.packet in ("aten.mul", "aten.mul_", "aten.multiply"):
        if one == other and (same := call.known(one)) is not None:
            return Fraction(2), SIZE(same)
        return _weighed(call, one, other)
    power, base = exponent_of(call, made), call.known(one)
    if power is None or base is None or power == 1:
        return None
    if power > 0 and power % 2 == 0:
        return power, SIZE(base)
    if power > 0 and power.denominator == 1:
        return None if has(base.sign, NEGATIVE).any() else (power, base)
    if made.packet == "aten.reciprocal" and has(base.sign, NEGATIVE).any():
        return None  # it may be taken to be negative
    # The rule of a power takes for granted that its argument is nonnegative.
    upright = supposed(base)
    return None if upright is None else (power, upright)


def supposed(value: Value) -> Value | None:
    """Describe what is taken for granted to be positive, or zero; None where that cannot be."""
    if not has(value.sign, POSITIVE).all():
        return None
    return Value((value.sign & ~NEGATIVE).astype(np.int8), value.curvature)


def _weighed(call: Call, one: object, other: object) -> tuple[Fraction | None, Value] | None:
    """Read a power with a positive factor that is constant, of which its root takes the root."""
    for factor, rest in ((one, other), (other, one)):
        weight = call.known(factor) if isinstance(factor, Name) else constant(factor)
        if weight is None or weight.varies.any() or has(weight.sign, NEGATIVE | ZERO).any():
            continue
        terms = _powers(call, rest)
        if terms is not None:
            shape = np.broadcast_shapes(weight.shape, terms[1].shape)
            return terms[0], terms[1].broadcast(shape)
    return None
