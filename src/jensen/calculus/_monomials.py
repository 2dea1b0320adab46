"""Products, quotients and powers read as one monomial: x^2 / y, sqrt(x y), x^1.5 / (y^0.25 z^0.25).

Two facts about g_1^e_1 ... g_k^e_k, for g_i that are not negative:

- It is concave and non-decreasing on the orthant where e_i > 0 and their sum is at most 1: a weighted
  geometric mean, and a concave power of it. So it is concave in concave g_i.
- With e_1 = p > 0 and all other e_i < 0, q being minus their sum, it is convex where p >= 1 + q,
  non-decreasing in g_1 and non-increasing in the others: it is t^(1+q) / w^q, the perspective of the convex
  t^(1+q), at t = g_1^(p/(1+q)), which is convex in a convex g_1, and at the geometric mean w of the others,
  which is concave in concave g_i. So is it for p = 0, as then it is exp of a sum of convex -log g_i.

A g_i may be the root of a sum of powers: sqrt(1 + x^2) is a norm to the power of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from jensen.calculus._call import Call, is_unknown
from jensen.calculus._elementary import SIZE
from jensen.calculus._roots import exponent_of, root, supposed
from jensen.calculus._value import (
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    NONPOSITIVE,
    UP,
    VARIES,
    ZERO,
    Flags,
    Value,
    constant,
    has,
    when,
)
from jensen.program import Name, Node

Sense: TypeAlias = Literal["plain", "size", "supposed", "positive"]
"""What a factor stands for: itself, its size, or itself where it is taken for granted to be >= 0, or > 0."""

_MOST = 8
"""Factors, beyond which nothing is looked for."""


@dataclass
class _Factor:
    """One base: its exponent, the part of it that the base has as itself, and what is known of the base."""

    value: Value
    exponent: Fraction = Fraction(0)
    plain: Fraction = Fraction(0)
    supposed: bool = False

    def base(self) -> Value | None:
        """Describe the base as what is not negative; None where it may be."""
        if not has(self.value.sign, NEGATIVE).any():
            return self.value
        if self.supposed:
            return supposed(self.value)
        # An even power is that of the absolute value.
        return SIZE(self.value) if self.plain.denominator == 1 and self.plain % 2 == 0 else None


def monomial(call: Call, deep: bool) -> Value | None:
    """Read a node as a monomial; None where it is none, or nothing is known of a factor.

    Parameters
    ----------
    call : Call
    deep : bool
        Whether products are taken apart of which it is known already how they bend.
    """
    factors: dict[str, _Factor] = {}
    for part in _split(call, call.node, Fraction(1), "plain") or ():
        if not _take(call, *part, factors, deep):
            return None
    if not factors or len(factors) > _MOST:
        return None
    shape: Any = call.node.shape
    bases: list[tuple[Fraction, Value]] = []
    for factor in factors.values():
        base = factor.base()
        if base is None:
            return None
        if factor.exponent != 0:
            bases.append((factor.exponent, base.broadcast(shape)))
    return _bent(bases, shape)


def _take(
    call: Call, given: object, exponent: Fraction, sense: Sense, factors: dict[str, _Factor], deep: bool
) -> bool:
    """Take a factor to an exponent apart, as far as it goes; False where that says nothing."""
    if not isinstance(given, Name):
        factors[f"number {len(factors)}"] = _Factor(constant(given), exponent, exponent)
        return True
    value, made = call.known(given), call.maker(given)
    if value is None or len(factors) > _MOST:
        return False
    if made is not None and (deep or exponent_of(call, made) is not None or is_unknown(value).any()):
        if (found := root(call, made)) is not None:
            power, of_root = found
            factor = factors.setdefault(f"root of {given.name}", _Factor(of_root))
            factor.exponent += exponent * power
            return True
        split = _split(call, made, exponent, sense)
        if split is not None:
            return all(_take(call, *part, factors, deep) for part in split)
    factor = factors.setdefault(given.name, _Factor(value))
    factor.exponent += exponent
    factor.plain += exponent if sense == "plain" else 0
    factor.supposed |= sense in ("supposed", "positive")
    return True


Parts: TypeAlias = list[tuple[object, Fraction, Sense]]


def _split(call: Call, node: Node, exponent: Fraction, sense: Sense) -> Parts | None:
    """Take one operator apart: factors, their exponents, and what they stand for."""
    name = node.packet.removeprefix("aten.")
    one, other = node.args.get("self"), node.args.get("other")
    if name in ("mul", "mul_", "multiply"):
        senses: list[Sense] = [sense, sense]
        if sense in ("supposed", "positive"):
            # Of a product that is >= 0, a factor is >= 0 where the other one is positive. Of one that is
            # positive, it is positive where the other one is not negative.
            wrong = NEGATIVE if sense == "positive" else NEGATIVE | ZERO
            senses = ["size" if _may_be(call, part, wrong) else sense for part in (other, one)]
        return [(one, exponent, senses[0]), (other, exponent, senses[1])]
    if name in ("div", "div_", "true_divide"):
        if node.args.get("rounding_mode") is not None or is_below(call, other):
            return None
        return [(one, exponent, sense), (other, -exponent, "positive")]
    if name == "abs":
        return [(one, exponent, "size")]
    power = exponent_of(call, node)
    if power is None:
        return None
    if power > 0 and power.denominator == 1:
        return [(one, exponent * power, "size" if power % 2 == 0 else sense)]
    if name == "reciprocal" and is_below(call, one):
        return None
    return [(one, exponent * power, "positive" if power < 0 else "supposed")]


def _described(call: Call, given: object) -> Value | None:
    return call.known(given) if isinstance(given, Name) else constant(given)


def _may_be(call: Call, given: object, signs: int) -> bool:
    value = _described(call, given)
    return value is None or bool(has(value.sign, signs).any())


def is_below(call: Call, given: object) -> bool:
    """Whether the rule of a quotient takes any entry of a divisor to be negative, not positive."""
    value = _described(call, given)
    return value is None or bool(((value.sign | NONPOSITIVE) == NONPOSITIVE).any())


def _bent(bases: list[tuple[Fraction, Value]], shape: tuple[int, ...]) -> Value:
    """Tell how the product of powers bends, entry by entry."""
    curvature = when(np.zeros(shape, dtype=bool), 0)
    codes = np.zeros(shape, dtype=np.int64)
    for i, (_, base) in enumerate(bases):
        codes |= base.varies.astype(np.int64) << i
    for code in np.unique(codes):
        here: Flags = codes == code
        moving = [base for i, base in enumerate(bases) if code >> i & 1]
        if moving:
            curvature |= np.where(here, _bits(moving, shape), np.int8(0))
    return Value(np.full(shape, NONNEGATIVE, dtype=np.int8), curvature.astype(np.int8))


def _bits(moving: list[tuple[Fraction, Value]], shape: tuple[int, ...]) -> Any:
    up, down = np.ones(shape, dtype=bool), np.ones(shape, dtype=bool)
    rising = [exponent for exponent, _ in moving if exponent > 0]
    total = sum((exponent for exponent, _ in moving), Fraction(0))
    if len(rising) == len(moving) and total <= 1:
        up = np.logical_or.reduce([has(base.curvature, UP) for _, base in moving])
    if not rising or (len(rising) == 1 and total >= 1):
        wrong = [has(base.curvature, DOWN if exponent > 0 else UP) for exponent, base in moving]
        down = np.logical_or.reduce(wrong)
    return when(up, UP) | when(down, DOWN) | np.int8(VARIES)
