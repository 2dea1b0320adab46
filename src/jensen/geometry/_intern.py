"""Numbers for keys: equal keys get the same number, in the order in which they first appear."""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.geometry._arrays import Ints, Words


@njit(cache=True, nogil=True)
def _hash(keys: Words, row: int) -> np.uint64:
    value = np.uint64(0x9E3779B97F4A7C15)
    for w in range(keys.shape[1]):
        value ^= keys[row, w]
        value *= np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(32)
    return value


@njit(cache=True, nogil=True)
def _insert(keys: Words, known: Words, slots: Ints, count: int, numbers: Ints) -> int:
    """Look keys up in a table of open addressing, add new ones, return how many are known then."""
    mask = np.uint64(len(slots) - 1)
    for row in range(len(keys)):
        at = _hash(keys, row) & mask
        while True:
            number = slots[at]
            if number < 0:
                known[count, :] = keys[row]
                slots[at] = count
                numbers[row] = count
                count += 1
                break
            if (known[number] == keys[row]).all():
                numbers[row] = number
                break
            at = (at + np.uint64(1)) & mask
    return count


@njit(cache=True, nogil=True)
def _rebuild(known: Words, count: int, slots: Ints) -> None:
    mask = np.uint64(len(slots) - 1)
    for row in range(count):
        at = _hash(known, row) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = row


class KeyTable:
    """A growing table of keys of a fixed number of words.

    Parameters
    ----------
    words : int
    """

    def __init__(self, words: int) -> None:
        self.count = 0
        self._known: Words = np.zeros((1024, words), dtype=np.uint64)
        self._slots: Ints = np.full(4096, -1, dtype=np.int64)

    @property
    def keys(self) -> Words:
        """The keys, by number."""
        return self._known[: self.count]

    def number(self, keys: Words) -> Ints:
        """Look up the numbers of keys, new ones continuing the count."""
        need = self.count + len(keys)
        if need > len(self._known):
            larger = np.zeros((max(need, 2 * len(self._known)), keys.shape[1]), dtype=np.uint64)
            larger[: self.count] = self.keys
            self._known = larger
        if 2 * need > len(self._slots):
            size = 1 << int(4 * need - 1).bit_length()
            self._slots = np.full(size, -1, dtype=np.int64)
            _rebuild(self._known, self.count, self._slots)
        numbers = np.zeros(len(keys), dtype=np.int64)
        self.count = _insert(keys, self._known, self._slots, self.count, numbers)
        return numbers
