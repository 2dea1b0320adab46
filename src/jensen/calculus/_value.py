"""What is known of every entry of an intermediate value: its sign and its curvature, as sets in bits.

A sign is the set of signs that an entry may have; a curvature is the set of ways in which it may bend. Both
only ever err upwards, and the union of sets is a bitwise or, so that nothing here depends on rounding. How
the logarithm of an entry bends, and whether its square root is convex, is a set of claims instead, which only
ever errs downwards: a rule that says nothing about logarithms and roots claims nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int8]
Flags = NDArray[np.bool_]

NEGATIVE, ZERO, POSITIVE = 1, 2, 4
ANY_SIGN = NEGATIVE | ZERO | POSITIVE
NONNEGATIVE, NONPOSITIVE = ZERO | POSITIVE, ZERO | NEGATIVE

UP, DOWN, VARIES, FOREIGN = 1, 2, 4, 8
"""May bend upwards, may bend downwards, depends on a chosen variable, depends on another sample."""
CONSTANT, AFFINE, CONVEX, CONCAVE, UNKNOWN = 0, VARIES, VARIES | UP, VARIES | DOWN, VARIES | UP | DOWN

LOG_CONVEX, LOG_CONCAVE, ROOT_CONVEX = 1, 2, 4
"""Claims about an entry that is never negative: its logarithm (-inf at zero) is convex, is concave; its
square root is convex. What is log-convex has a log-convex root, which is convex."""
KEPT_BY_SUMS = LOG_CONVEX, ROOT_CONVEX
"""Sums of log-convex functions are log-convex, and the root of a sum is the norm of the roots."""

SIGN_NAMES = {
    0: "empty",
    NEGATIVE: "negative",
    ZERO: "zero",
    POSITIVE: "positive",
    NONPOSITIVE: "nonpos",
    NONNEGATIVE: "nonneg",
    NEGATIVE | POSITIVE: "nonzero",
    ANY_SIGN: "unknown",
}
SIGN_BITS = {name: bits for bits, name in SIGN_NAMES.items() if bits}


@dataclass(frozen=True, eq=False)
class Value:
    """Sign and curvature of every entry.

    Attributes
    ----------
    sign, curvature : int8 arrays of one shape
        Sets of bits, see this module's constants.
    logs : int8 array of that shape, or None
        Claims about logarithms and roots; None where nothing is claimed beyond what sign and curvature tell.
    """

    sign: Bits
    curvature: Bits
    logs: Bits | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.sign.shape

    @property
    def varies(self) -> Flags:
        """Entries that depend on a chosen variable."""
        return has(self.curvature, VARIES)

    @property
    def zero(self) -> Flags:
        """Entries that are zero everywhere."""
        result: Flags = self.sign == ZERO
        return result

    def moved(self, move: Callable[[Bits], Bits]) -> Value:
        """Apply a function that only moves entries around."""
        return Value(move(self.sign), move(self.curvature), None if self.logs is None else move(self.logs))

    @property
    def logarithm(self) -> Bits:
        """How the logarithm and the root bend: as claimed, and as sign and curvature tell.

        What is constant and nonnegative is both log-convex and log-concave; what is concave and nonnegative
        is log-concave.
        """
        nonnegative = ~has(self.sign, NEGATIVE)
        claims = when(nonnegative & ~self.varies, LOG_CONVEX)
        claims |= when(nonnegative & (~self.varies | ~has(self.curvature, UP)), LOG_CONCAVE)
        if self.logs is not None:
            claims = claims | self.logs
        return claims | when(has(claims, LOG_CONVEX), ROOT_CONVEX)

    def broadcast(self, shape: tuple[int, ...]) -> Value:
        """Broadcast to a shape."""
        return self.moved(lambda bits: np.broadcast_to(bits, shape))

    def kind(self) -> str:
        """Describe the curvature of all entries together."""
        return kind_of(int(np.bitwise_or.reduce(self.curvature, axis=None, initial=0)))

    def sign_name(self) -> str:
        """Describe the sign of all entries together."""
        return SIGN_NAMES[int(np.bitwise_or.reduce(self.sign, axis=None, initial=0))]


def kind_of(curvature: int) -> str:
    """Name a curvature: "constant", "affine", "convex", "concave" or "unknown"."""
    if not curvature & VARIES:
        return "constant"
    return ("affine", "convex", "concave", "unknown")[curvature & (UP | DOWN)]


def has(bits: Bits, bit: int) -> Flags:
    """Entries that hold any of these bits."""
    result: Flags = (bits & bit) != 0
    return result


def when(flags: Any, bit: int) -> Bits:
    """Put a bit where a flag is set."""
    result: Bits = np.where(flags, np.int8(bit), np.int8(0))
    return result


def constant(array: Any) -> Value:
    """Describe numbers that are known."""
    values = np.asarray(array)
    if values.dtype == np.bool_:
        values = values.astype(np.int8)
    sign = when(values > 0, POSITIVE) | when(values < 0, NEGATIVE) | when(values == 0, ZERO)
    # Infinity times zero is no number: rules for real functions say nothing about it.
    return Value(
        np.where(np.isfinite(values), sign, ANY_SIGN).astype(np.int8), when(~np.isfinite(values), UNKNOWN)
    )


def unknown(shape: tuple[int, ...], curvature: int) -> Value:
    """Describe entries of which nothing is known but that they have this curvature at most."""
    return Value(np.full(shape, ANY_SIGN, dtype=np.int8), np.full(shape, curvature, dtype=np.int8))


def mirrored(bits: Bits) -> Bits:
    """Swap up and down: the curvature of the negative."""
    return (bits & ~(UP | DOWN)) | when(has(bits, UP), DOWN) | when(has(bits, DOWN), UP)


def mirrored_sign(bits: Bits) -> Bits:
    """Swap negative and positive: the sign of the negative."""
    return (bits & ZERO) | when(has(bits, POSITIVE), NEGATIVE) | when(has(bits, NEGATIVE), POSITIVE)


def settled(value: Value) -> Value:
    """Say of entries that are zero everywhere that they are constant."""
    curvature = np.where(value.zero, value.curvature & FOREIGN, value.curvature).astype(np.int8)
    return Value(value.sign, curvature, value.logs)


def claimed(value: Value, logs: Bits) -> Value:
    """Claim something of logarithms and roots: what has one is not negative, and convex where that is."""
    before = logs if value.logs is None else logs | value.logs
    sign = np.where(before != 0, value.sign & ~NEGATIVE, value.sign)
    curvature = np.where(has(before, LOG_CONVEX | ROOT_CONVEX), value.curvature & ~DOWN, value.curvature)
    return Value(sign.astype(np.int8), curvature.astype(np.int8), before)


def narrowed(value: Value, other: Value) -> Value:
    """Keep what two descriptions of one value have in common: both are right."""
    curvature = value.curvature & (other.curvature | ~np.int8(UP | DOWN))
    return Value(value.sign & other.sign, curvature, value.logs)


def bends_of(logs: Bits, varies: Flags) -> Bits:
    """Write claims about logarithms as a curvature."""
    bends = when(~has(logs, LOG_CONCAVE), UP) | when(~has(logs, LOG_CONVEX), DOWN)
    result: Bits = np.where(varies, bends | VARIES, 0).astype(np.int8)
    return result


def claims_of(curvature: Bits) -> Bits:
    """Read claims about a logarithm from its curvature."""
    return when(~has(curvature, DOWN), LOG_CONVEX) | when(~has(curvature, UP), LOG_CONCAVE)


def chosen(flags: Flags, a: Value, b: Value) -> Value:
    """Take entries of one value where a flag is set, and of another elsewhere."""
    logs = None
    if a.logs is not None or b.logs is not None:
        one, other = (np.zeros(v.shape, dtype=np.int8) if v.logs is None else v.logs for v in (a, b))
        logs = np.where(flags, one, other)
    return Value(np.where(flags, a.sign, b.sign), np.where(flags, a.curvature, b.curvature), logs)
