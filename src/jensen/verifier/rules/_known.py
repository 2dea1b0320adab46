"""What the verifier knows of every entry of a value: flags of what the entry may do.

All flags err upwards: one that is set says nothing, one that is not set is a proof. So whatever combines
entries joins flags by "or", and a flag that a rule forgets to clear costs a proof, and makes no wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.errors import CertificateError

Flags = NDArray[np.bool_]
Meeting = Callable[[Flags, Flags], Flags]
"""Tells, for every result of a sum of products, whether any of its products has both factors flagged."""
Gathering = Callable[[Flags], Flags]
"""Tells, for every result, whether any of the entries that it is made of is flagged."""


@dataclass(frozen=True, eq=False)
class Known:
    """Bool arrays of one shape: what an entry may do, as a function of the variables.

    Attributes
    ----------
    negative, zero, positive
        May be negative, zero, positive.
    up, down
        May bend upwards (is not known to be concave), may bend downwards (is not known to be convex).
    moves
        May depend on the variables.
    log_up, log_down
        Its logarithm may bend upwards, downwards. Where either is not set the entry is never negative; its
        logarithm is -inf where it is zero.
    """

    negative: Flags
    zero: Flags
    positive: Flags
    up: Flags
    down: Flags
    moves: Flags
    log_up: Flags
    log_down: Flags

    def __iter__(self) -> Iterator[Flags]:
        return (getattr(self, field.name) for field in fields(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.up.shape

    @property
    def there(self) -> Flags:
        """Entries that are not zero everywhere."""
        return self.negative | self.positive

    def each(self, change: Callable[[Flags], Any]) -> Known:
        """Move the flags as a function moves entries."""
        return Known(*(np.asarray(change(flags), dtype=np.bool_) for flags in self))

    def broadcast(self, shape: tuple[int, ...]) -> Known:
        """Broadcast to a shape."""
        return self.each(lambda flags: np.broadcast_to(flags, shape))


def settled(
    negative: Flags,
    zero: Flags,
    positive: Flags,
    up: Flags,
    down: Flags,
    moves: Flags,
    log_up: Flags | None = None,
    log_down: Flags | None = None,
) -> Known:
    """Draw the conclusions from flags of which each is right by itself; nothing of logarithms by default."""
    anything = np.ones_like(negative)
    log_up = anything if log_up is None else log_up
    log_down = anything if log_down is None else log_down
    negative = negative & log_up & log_down  # what has a logarithm is never negative
    down = down & log_down  # what is log-convex is convex
    moves = moves & (negative | positive)  # what is zero everywhere is constant
    up, down = up & moves, down & moves
    # Nonnegative and concave is log-concave; a nonnegative constant is both.
    log_up = log_up & (negative | up)
    log_down = log_down & (negative | moves)
    return Known(negative, zero, positive, up, down, moves, log_up, log_down)


def constant(given: Any) -> Known:
    """Describe numbers that are known."""
    try:
        numbers = np.asarray(given)
        finite = bool(np.isfinite(numbers).all())
    except (TypeError, ValueError, OverflowError) as error:
        raise CertificateError(f"{given!r:.80} stands where the program needs numbers") from error
    if not finite:
        raise CertificateError("a constant of the program is not finite")
    still = np.zeros(numbers.shape, dtype=bool)
    return settled(
        np.asarray(numbers < 0), np.asarray(numbers == 0), np.asarray(numbers > 0), still, still, still
    )


def held(shape: tuple[int, ...]) -> Known:
    """Describe entries that are constant, and of which nothing else is known."""
    anything, still = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    return settled(anything, anything, anything, still, still, still)


def variable(negative: Flags, zero: Flags, positive: Flags, moves: Flags) -> Known:
    """Describe variables themselves, and entries next to them that are held."""
    still = np.zeros_like(moves)
    return settled(negative, zero, positive, still, still, moves)


def unknown(moves: Flags) -> Known:
    """Describe entries of which nothing is known but which ones do not move."""
    anything = np.ones_like(moves)
    return settled(anything, anything, anything, moves, moves, moves)


def minus(a: Known) -> Known:
    """Negate every entry."""
    return settled(a.positive, a.zero, a.negative, a.down, a.up, a.moves)


def chosen(flags: Flags, a: Known, b: Known) -> Known:
    """Take entries of one value where a flag is set, and of the other elsewhere."""
    return Known(*(np.where(flags, x, y) for x, y in zip(a, b, strict=True)))


def stacked(parts: Sequence[Known]) -> Known:
    """Put values on top of each other, broadcast, along a new first axis."""
    shape = np.broadcast_shapes(*(part.shape for part in parts))
    even = [part.broadcast(shape) for part in parts]
    return Known(*(np.stack(flags) for flags in zip(*even, strict=True)))


def total(a: Known, found: Gathering) -> Known:
    """Add up entries, or take an average of them with positive weights."""
    negative, positive = found(a.negative), found(a.positive)
    # A sum is zero if all terms are, or if terms cancel.
    zero = ~found(~a.zero) | (negative & positive)
    return settled(
        negative, zero, positive, found(a.up), found(a.down), found(a.moves), log_down=found(a.log_down)
    )


def added(a: Known, b: Known) -> Known:
    """Add two values, broadcast."""
    return total(stacked([a, b]), lambda flags: np.asarray(flags.any(axis=0)))


def product(a: Known, b: Known) -> Known:
    """Multiply entry by entry, broadcast."""
    return sums_of_products(a, b, np.logical_and, log_up=a.log_up | b.log_up)


def sums_of_products(a: Known, b: Known, meet: Meeting, log_up: Flags | None = None) -> Known:
    """Apply an operator that adds products of entries of a and of b: a matrix product, a convolution.

    A product bends with one factor where the other is held; nothing is known of it where both move, unless
    both are log-convex.
    """

    def meets(*pairs: tuple[Flags, Flags]) -> Flags:
        needed = [pair for pair in pairs if pair[0].any() and pair[1].any()] or list(pairs[:1])
        return np.asarray(np.logical_or.reduce([meet(*pair) for pair in needed]))

    negative = meets((a.negative, b.positive), (a.positive, b.negative))
    positive = meets((a.positive, b.positive), (a.negative, b.negative))
    zero = ~meets((~a.zero, ~b.zero)) | (negative & positive)
    a_plus, a_minus = a.positive & ~a.moves, a.negative & ~a.moves
    b_plus, b_minus = b.positive & ~b.moves, b.negative & ~b.moves
    both = meets((a.moves, b.moves))
    up = both | meets((a.up, b_plus), (a.down, b_minus), (a_plus, b.up), (a_minus, b.down))
    down = both | meets((a.down, b_plus), (a.up, b_minus), (a_plus, b.down), (a_minus, b.up))
    moves = meets((a.moves, b.there), (a.there, b.moves))
    # Sums and products of log-convex functions are log-convex.
    log_down = meets((a.log_down, b.there), (a.there, b.log_down))
    return settled(negative, zero, positive, up, down, moves, log_up, log_down)


def largest(a: Known, found: Gathering) -> Known:
    """Take the largest of some entries: convex, and rising in each."""
    definite = found(~a.negative & ~a.zero)
    return settled(
        ~found(~a.negative),
        found(a.zero) & ~definite,
        found(a.positive),
        found(a.moves),
        found(a.down),
        found(a.moves),
        log_down=found(a.log_down),
    )


def larger(a: Known, b: Known) -> Known:
    """Take the larger of two values, broadcast."""
    both = stacked([a, b])
    result = largest(both, lambda flags: np.asarray(flags.any(axis=0)))
    a, b = both.each(lambda flags: flags[0]), both.each(lambda flags: flags[1])
    # One that is never above zero, beside one that is never below, does not matter.
    result = chosen(~a.positive & ~b.negative, b, result)
    return chosen(~b.positive & ~a.negative, a, result)


def smaller(a: Known, b: Known) -> Known:
    """Take the smaller of two values, broadcast."""
    return minus(larger(minus(a), minus(b)))
