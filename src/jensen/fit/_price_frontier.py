"""Compiled list of cones that an easier target closed and a harder one has to open again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from jensen.fit._price_rows import Floats, Rows
from jensen.fit._price_tree import Ints, Stack, fill


class Frontier(NamedTuple):
    """Cones with proven bounds; what else is known of them is cheaper to find again than to keep."""

    generators: Floats  # (room, d, d)
    error: Floats  # (room, d)
    bound: Floats  # (room,)
    size: Ints  # (1,)


def make_frontier(room: int, d: int) -> Frontier:
    """Allocate a list; memory is touched only as far as it is used."""
    return Frontier(np.empty((room, d, d)), np.empty((room, d)), np.empty(room), np.zeros(1, dtype=np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def keep(frontier: Frontier, generators: Floats, error: Floats, bound: float) -> None:
    """Append a cone."""
    k = frontier.size[0]
    frontier.generators[k] = generators
    frontier.error[k] = error
    frontier.bound[k] = bound
    frontier.size[0] = k + 1


@njit(cache=True, nogil=True, error_model="numpy")
def reopen(frontier: Frontier, k: int, s: Stack, raised: Rows, lowered: Rows) -> None:
    """Fill slot 0 of a stack with a cone of the list."""
    s.generators[0] = frontier.generators[k]
    s.error[0] = frontier.error[k]
    invert(s.generators[0], s.inverse[0])
    fill(s, raised, lowered)


@njit(cache=True, nogil=True, error_model="numpy")
def invert(generators: Floats, inverse: Floats) -> None:
    """Solve sum_i t_i v_i = w for t = inverse w, by Gauss and Jordan; a singular matrix leaves infinities."""
    d = len(generators)
    a = generators.T.copy()
    inverse[:] = 0.0
    for i in range(d):
        inverse[i, i] = 1.0
    for i in range(d):
        pivot = i
        for j in range(i + 1, d):
            if abs(a[j, i]) > abs(a[pivot, i]):
                pivot = j
        for c in range(d):
            a[i, c], a[pivot, c] = a[pivot, c], a[i, c]
            inverse[i, c], inverse[pivot, c] = inverse[pivot, c], inverse[i, c]
        scale = 1.0 / a[i, i]
        for c in range(d):
            a[i, c] *= scale
            inverse[i, c] *= scale
        for j in range(d):
            factor = a[j, i]
            if j != i and factor != 0.0:
                for c in range(d):
                    a[j, c] -= factor * a[i, c]
                    inverse[j, c] -= factor * inverse[i, c]
