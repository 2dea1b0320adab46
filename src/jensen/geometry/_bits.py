"""Bit sets in 64-bit words for compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray


def _popcount(_: Any, word: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


def _trailing_zeros(_: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, True))

    return types.int64(types.uint64), generate


popcount: Any = intrinsic(_popcount)
"""Count the ones of a 64-bit word, by the processor's own instruction."""

trailing_zeros: Any = intrinsic(_trailing_zeros)
"""Position of the lowest one of a 64-bit word that is not zero."""


def to_words(bits: int, words: int) -> list[int]:
    """Cut a Python integer into 64-bit words, the lowest first."""
    mask = (1 << 64) - 1
    return [bits >> (64 * w) & mask for w in range(words)]


def from_words(words: NDArray[np.uint64]) -> int:
    """Join 64-bit words into a Python integer."""
    return int.from_bytes(np.ascontiguousarray(words).astype("<u8").tobytes(), "little")
