"""Compiled stack of simplicial cones, for the branch and bound that prices neurons.

A cone {sum_i t_i v_i : t >= 0} is one slot of the stack. Of each sum of ReLUs, raised (with plus sign) and
lowered (with minus sign), a slot keeps the linear part of the rows whose sign is decided on the cone, and the
undecided rows with their values at the generators.

*Rounding.* Every slot stands for an exact cone: the children of an exact cone with generators a, b are
defined by the exact vector (alpha a + beta b) / nu with the floats alpha, beta, nu, so that children cover
their parent without a gap. `error[i]` bounds, in units of a row's length, what is wrong with that row at
generator i: the distance of the stored generator from the exact one, the rounding of the product, snapping
to zero, and by how much an exact value may have the wrong sign where an ancestor decided the row. It is
propagated like the generators: a new one adds 2 SNAP, which covers rounding in up to 80 dimensions and the
snap itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.fit._price_rows import Floats, Rows

Ints = NDArray[np.int64]

SNAP = 1e-14
"""Values at generators below this multiple of the row's length count as zero."""


class Side(NamedTuple):
    """One of the two sums on the cones of the stack; the first axis is the slot."""

    linear: Floats  # (slots, d): sum of the rows that are decided to be active
    which: Ints  # (slots, rows): undecided rows
    value: Floats  # (slots, rows, d): their values at the generators
    size: Ints  # (slots,): how many
    share: Floats  # (slots, rows): multipliers in [0, 1], for lowered rows


class Stack(NamedTuple):
    """Cones; the first axis is the slot."""

    generators: Floats  # (slots, d, d), in rows
    inverse: Floats  # (slots, d, d): t = inverse w
    error: Floats  # (slots, d)
    peak: Floats  # (slots, d): raised undecided rows at the generators
    raised: Side
    lowered: Side


def make_side(slots: int, rows: int, d: int) -> Side:
    """Allocate one of the two sums."""
    return Side(
        np.empty((slots, d)),
        np.empty((slots, rows), dtype=np.int64),
        np.empty((slots, rows, d)),
        np.zeros(slots, dtype=np.int64),
        np.empty((slots, rows)),
    )


def make_stack(slots: int, raised: int, lowered: int, d: int) -> Stack:
    """Allocate a stack; memory is touched only as far as it is used."""
    square = (slots, d, d)
    return Stack(
        np.empty(square),
        np.empty(square),
        np.empty((slots, d)),
        np.empty((slots, d)),
        make_side(slots, raised, d),
        make_side(slots, lowered, d),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def set_side(side: Side, rows: Rows, generators: Floats) -> None:
    """Fill slot 0 with a sum on the cone of `generators`."""
    d = generators.shape[0]
    side.linear[0] = 0.0
    count = 0
    for j in range(rows.rows.shape[0]):
        active, inactive = False, False
        for i in range(d):
            z = 0.0
            for c in range(d):
                z += rows.rows[j, c] * generators[i, c]
            if abs(z) <= SNAP * rows.length[j]:
                z = 0.0
            side.value[0, count, i] = z
            active |= z > 0
            inactive |= z < 0
        if active and inactive:
            side.which[0, count] = j
            side.share[0, count] = 0.5
            count += 1
        elif active:
            side.linear[0] += rows.rows[j]
    side.size[0] = count


@njit(cache=True, nogil=True, error_model="numpy")
def narrow_side(side: Side, rows: Rows, parent: int, slot: int, i_new: int, fresh: Floats) -> None:
    """Write to `slot` a sum on the child of `parent` whose generator i_new takes the values `fresh`.

    `slot` may be `parent`: what is kept never stands later in the lists than it did.
    """
    d = side.linear.shape[1]
    if slot != parent:
        side.linear[slot] = side.linear[parent]
    count = 0
    for k in range(side.size[parent]):
        j = side.which[parent, k]
        active, inactive = False, False
        for i in range(d):
            z = fresh[k] if i == i_new else side.value[parent, k, i]
            side.value[slot, count, i] = z
            active |= z > 0
            inactive |= z < 0
        if active and inactive:
            side.which[slot, count] = j
            side.share[slot, count] = side.share[parent, k]
            count += 1
        elif active:
            for c in range(d):
                side.linear[slot, c] += rows.rows[j, c]
    side.size[slot] = count


@njit(cache=True, nogil=True, error_model="numpy")
def values_at(side: Side, rows: Rows, slot: int, point: Floats, out: Floats) -> None:
    """Values of the undecided rows of a slot at a new generator."""
    for k in range(side.size[slot]):
        j = side.which[slot, k]
        z = 0.0
        for c in range(len(point)):
            z += rows.rows[j, c] * point[c]
        out[k] = 0.0 if abs(z) <= SNAP * rows.length[j] else z


@njit(cache=True, nogil=True, error_model="numpy")
def add_peaks(s: Stack, slot: int) -> None:
    """Sum the raised undecided rows at the generators."""
    d = s.peak.shape[1]
    s.peak[slot] = 0.0
    for k in range(s.raised.size[slot]):
        for i in range(d):
            s.peak[slot, i] += max(0.0, s.raised.value[slot, k, i])


@njit(cache=True, nogil=True, error_model="numpy")
def fill(s: Stack, raised: Rows, lowered: Rows) -> None:
    """Evaluate all rows on the cone in slot 0, whose generators are there already."""
    set_side(s.raised, raised, s.generators[0])
    set_side(s.lowered, lowered, s.generators[0])
    add_peaks(s, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def set_root(s: Stack, raised: Rows, lowered: Rows, number: int) -> None:
    """Fill slot 0 with an orthant: the generator i is -e_i where bit i of `number` is set, e_i elsewhere."""
    d = s.peak.shape[1]
    s.generators[0] = 0.0
    for i in range(d):
        s.generators[0, i, i] = -1.0 if (number >> i) & 1 else 1.0
    s.inverse[0] = s.generators[0]
    s.error[0] = 2 * SNAP
    fill(s, raised, lowered)


@njit(cache=True, nogil=True, error_model="numpy")
def replace(s: Stack, parent: int, slot: int, gone: int, kept: int, point: Floats, error: float) -> None:
    """Write generators of a child, in which `point` takes the place of `gone` on its edge to `kept`."""
    d = len(point)
    s.generators[slot] = s.generators[parent]
    s.error[slot] = s.error[parent]
    s.inverse[slot] = s.inverse[parent]
    # t of the point in the parent's generators; sum_i t_i v_i with t_gone moved over to the point
    at_gone, at_kept = 0.0, 0.0
    for c in range(d):
        at_gone += s.inverse[slot, gone, c] * point[c]
        at_kept += s.inverse[slot, kept, c] * point[c]
    for c in range(d):
        s.inverse[slot, gone, c] /= at_gone
        s.inverse[slot, kept, c] -= at_kept * s.inverse[slot, gone, c]
    s.generators[slot, gone] = point
    s.error[slot, gone] = error


@njit(cache=True, nogil=True, error_model="numpy")
def split(
    s: Stack,
    raised: Rows,
    lowered: Rows,
    slot: int,
    edge: tuple[int, int],
    weights: tuple[float, float],
    point: Floats,
    fresh: tuple[Floats, Floats],
) -> None:
    """Split the cone in `slot` at a point of an edge; the children go to `slot` and `slot` + 1.

    Parameters
    ----------
    edge : two ints
        Generators a and b.
    weights : two floats
        Of a and b in the point; positive. `point` and `fresh` are buffers.
    """
    a, b = edge
    d = len(point)
    norm = 0.0
    for c in range(d):
        point[c] = weights[0] * s.generators[slot, a, c] + weights[1] * s.generators[slot, b, c]
        norm += point[c] * point[c]
    norm = np.sqrt(norm)
    for c in range(d):
        point[c] /= norm
    values_at(s.raised, raised, slot, point, fresh[0])
    values_at(s.lowered, lowered, slot, point, fresh[1])
    error = (weights[0] * s.error[slot, a] + weights[1] * s.error[slot, b]) / norm * (1 + 1e-12) + 2 * SNAP
    replace(s, slot, slot + 1, a, b, point, error)
    replace(s, slot, slot, b, a, point, error)
    for child, gone in ((slot + 1, a), (slot, b)):
        narrow_side(s.raised, raised, slot, child, gone, fresh[0])
        narrow_side(s.lowered, lowered, slot, child, gone, fresh[1])
        add_peaks(s, child)
