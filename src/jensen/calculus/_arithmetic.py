"""Sums, products, and all operators that are linear in each of their arguments.

An operator with constants is applied to zeros and ones instead of numbers: the positive part of a constant
meets one set of entries, the negative part another. Such sums have no negative terms, so that they are zero
exactly where every term is, and their own size in float64 does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.calculus._value import (
    DOWN,
    FOREIGN,
    KEPT_BY_SUMS,
    LOG_CONCAVE,
    LOG_CONVEX,
    NEGATIVE,
    POSITIVE,
    ROOT_CONVEX,
    UP,
    VARIES,
    ZERO,
    Bits,
    Flags,
    Value,
    claimed,
    has,
    mirrored,
    mirrored_sign,
    settled,
    when,
)

Count = NDArray[np.float64]
Linear: TypeAlias = Callable[[Count], Count]
Bilinear: TypeAlias = Callable[[Count, Count], Count]


def negative(a: Value) -> Value:
    """Negate every entry."""
    return Value(mirrored_sign(a.sign), mirrored(a.curvature))


def total(a: Value, b: Value) -> Value:
    """Add two values, broadcast."""
    curvature = a.curvature | b.curvature
    either = a.sign | b.sign
    both = has(either, NEGATIVE) & has(either, POSITIVE)
    zero = both | (has(a.sign, ZERO) & has(b.sign, ZERO))
    result = settled(Value((either & (NEGATIVE | POSITIVE)) | when(zero, ZERO), curvature))
    if a.logs is None and b.logs is None:
        return result
    return claimed(result, a.logarithm & b.logarithm & (LOG_CONVEX | ROOT_CONVEX))


def product(a: Value, b: Value) -> Value:
    """Multiply entry by entry, broadcast: linear in one factor where the other is constant."""
    result = bilinear(a, b, lambda x, y: x * y)
    if (a.varies.any() and b.varies.any()) or a.logs is not None or b.logs is not None:
        # The logarithm of a product of two factors is a sum; its root allows for one that varies.
        both = np.where(a.varies & b.varies, LOG_CONVEX | LOG_CONCAVE, LOG_CONVEX | LOG_CONCAVE | ROOT_CONVEX)
        result = claimed(result, (a.logarithm & b.logarithm & both).astype(np.int8))
    return result


def summed(a: Value, add: Linear) -> Value:
    """Apply an operator that adds entries with positive coefficients: a sum, a mean, a pool."""

    def found(flags: Flags) -> Flags:
        result: Flags = add(flags.astype(np.float64)) > 0
        return result

    up, down = found(has(a.sign, POSITIVE)), found(has(a.sign, NEGATIVE))
    definite = found(~has(a.sign, ZERO))
    sign = when(up, POSITIVE) | when(down, NEGATIVE) | when((up & down) | ~definite, ZERO)
    curvature = np.zeros(sign.shape, dtype=np.int8)
    for bit in (UP, DOWN, VARIES, FOREIGN):
        flags = has(a.curvature, bit)
        if flags.any():
            curvature |= when(found(flags), bit)
    result = settled(Value(sign, curvature))
    if a.logs is None:
        return result
    return claimed(result, kept(a, found))


def kept(a: Value, found: Callable[[Flags], Flags]) -> Bits:
    """Claim of results what holds of all entries that they are sums, maxima or norms of."""
    claims = a.logarithm
    parts = [when(~found(~has(claims, bit)), bit) for bit in KEPT_BY_SUMS]
    return parts[0] | parts[1]


def bilinear(a: Value, b: Value, times: Bilinear) -> Value:
    """Apply an operator that adds products of entries of two arguments: a matrix product, a convolution."""
    hits = _Hits(times)
    a_up, a_down = has(a.sign, POSITIVE), has(a.sign, NEGATIVE)
    b_up, b_down = has(b.sign, POSITIVE), has(b.sign, NEGATIVE)
    up, down = hits((a_up, b_up), (a_down, b_down)), hits((a_up, b_down), (a_down, b_up))
    definite = hits((~has(a.sign, ZERO), ~has(b.sign, ZERO)))
    sign = when(up, POSITIVE) | when(down, NEGATIVE) | when((up & down) | ~definite, ZERO)
    # An entry that is zero everywhere makes its products constant.
    a_there, b_there = ~a.zero, ~b.zero
    bends_up, bends_down, varies = np.zeros((3, *sign.shape), dtype=bool)
    for one, one_there, other, swap in ((a, a_there, b, False), (b, b_there, a, True)):
        # Constant entries of `one` meet `other`, which bends.
        rest = one_there & ~one.varies
        plus, minus = rest & has(one.sign, POSITIVE), rest & has(one.sign, NEGATIVE)
        moves, ups, downs = other.varies, has(other.curvature, UP), has(other.curvature, DOWN)
        if moves.any():
            varies |= hits((rest, moves), swap=swap)
        if ups.any() or downs.any():
            bends_up |= hits((plus, ups), (minus, downs), swap=swap)
            bends_down |= hits((plus, downs), (minus, ups), swap=swap)
    if a.varies.any() and b.varies.any():
        both = hits((a.varies & a_there, b.varies & b_there))
        bends_up, bends_down, varies = bends_up | both, bends_down | both, varies | both
    curvature = when(bends_up, UP) | when(bends_down, DOWN) | when(varies, VARIES)
    strange_a, strange_b = has(a.curvature, FOREIGN), has(b.curvature, FOREIGN)
    if strange_a.any() or strange_b.any():
        strange = hits((strange_a, b_there), (a_there, strange_b))
        curvature |= when(strange, FOREIGN)
    result = settled(Value(sign, curvature))
    if a.logs is None and b.logs is None:
        return result
    # Products of log-convex functions are log-convex; roots allow for one factor that varies.
    claims = np.zeros(sign.shape, dtype=np.int8)
    for bit in KEPT_BY_SUMS:
        a_fails, b_fails = ~has(a.logarithm, bit), ~has(b.logarithm, bit)
        fails = hits((a_fails & a_there, b_there), (a_there, b_fails & b_there))
        if bit == ROOT_CONVEX:
            fails |= hits((a.varies & a_there, b.varies & b_there))
        claims |= when(~fails, bit)
    return claimed(result, claims)


class _Hits:
    """Tell where an operator makes a pair of flagged entries meet."""

    def __init__(self, times: Bilinear) -> None:
        self.times = times

    def __call__(self, *pairs: tuple[Flags, Flags], swap: bool = False) -> Flags:
        """Whether any of the pairs meets; `swap` where the first of a pair belongs to the second argument."""
        found: Flags | None = None
        for one, other in pairs:
            x, y = (other, one) if swap else (one, other)
            # Counts are whole numbers, so that one half tells nothing from something even where an
            # algorithm for convolutions rounds.
            here: Flags = np.asarray(self.times(x.astype(np.float64), y.astype(np.float64))) > 0.5
            found = here if found is None else found | here
        assert found is not None
        return found
