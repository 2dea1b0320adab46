"""Bit sets in 64-bit words for compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray


@intrinsic
def popcount(_: Any, word: Any) -> Any:
    """Count the ones of a 64-bit word, by the processor's own instruction."""

    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic
def trailing_zeros(context: Any, word: Any) -> Any:
    """Position of the lowest one of a 64-bit word that is not zero."""

    def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, True))

    return types.int64(types.uint64), generate


@njit(cache=True, nogil=True)
def has(words: NDArray[np.uint64], bit: int) -> bool:
    """Whether a bit is set."""
    return (words[bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1) != 0


@njit(cache=True, nogil=True)
def add(words: NDArray[np.uint64], bit: int) -> None:
    """Set a bit."""
    words[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


def to_words(bits: int, words: int) -> list[int]:
    """Cut a Python integer into 64-bit words, the lowest first."""
    mask = (1 << 64) - 1
    return [bits >> (64 * w) & mask for w in range(words)]


def from_words(words: NDArray[np.uint64]) -> int:
    """Join 64-bit words into a Python integer."""
    return int.from_bytes(np.ascontiguousarray(words).astype("<u8").tobytes(), "little")
