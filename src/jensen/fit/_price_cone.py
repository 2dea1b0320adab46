"""Compiled bound of f = F - G over one cone intersected with the unit ball.

F (raised) and G (lowered) are sums of relu(c_j w), so both are convex and positively homogeneous. On the cone
of v_1..v_d

- F(sum_i t_i v_i) <= sum_i t_i F(v_i), by convexity;
- G(w) >= g w with g = sum_j sigma_j c_j, for any sigma_j in [0, 1].

So if y v_i >= F(v_i) - g v_i at every generator, f(w) <= y w <= |y| for w in the cone and the ball. The
least such |y| is a small box-constrained least-squares problem: y = h - g + sum_i nu_i k_i with nu >= 0,
where h interpolates F and k_i are the rows of the inverse of the generators. Coordinate descent finds out
which multipliers are at their bounds, and a least-squares step over the others ends it. By strong duality y
points to the maximiser of the relaxation. Nothing of this is believed: at the end the d inequalities are
checked with bounds on all rounding errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from jensen.fit._price_rows import Floats, Rows
from jensen.fit._price_tree import Ints, Stack

UNIT = 2.0**-53
_ROUNDS = 30
_DEPENDENT = 1e-9
"""Least squares leave out a column if less than this part of it lies outside the span of others."""


class Work(NamedTuple):
    """Scratch memory for one cone, all of it valid after `bound_cone` for the cone that it bounded."""

    y: Floats  # (d,)
    nu: Floats  # (d,) multipliers of t >= 0
    square: Floats  # (d,) squared lengths of the inverse's rows
    t: Floats  # (d,) maximiser of the relaxation, w = sum_i t_i v_i with |w| = 1
    w: Floats  # (d,)
    g: Floats  # (d,)
    q: Floats  # (d, d) orthonormal rows
    triangle: Floats  # (d, d)
    step: Floats  # (d,)
    free: Ints  # (d,) multipliers in the least-squares step: i for nu_i, d + k for the undecided row k


def make_work(d: int) -> Work:
    """Allocate scratch memory."""
    v, m = np.empty((7, d)), np.empty((2, d, d))
    return Work(v[0], v[1], v[2], v[3], v[4], v[5], m[0], m[1], v[6], np.empty(d, dtype=np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def dot(a: Floats, b: Floats) -> float:
    """Scalar product of short vectors."""
    total = 0.0
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def begin(s: Stack, k: Work, lowered: Rows, slot: int) -> None:
    """Set y from the multipliers that the slot inherited, with nu = 0."""
    d = len(k.y)
    for c in range(d):
        k.y[c] = s.raised.linear[slot, c] - s.lowered.linear[slot, c]
    for i in range(d):
        k.nu[i] = 0.0
        k.square[i] = dot(s.inverse[slot, i], s.inverse[slot, i])
        for c in range(d):
            k.y[c] += s.peak[slot, i] * s.inverse[slot, i, c]
    for m in range(s.lowered.size[slot]):
        share = s.lowered.share[slot, m]
        if share != 0.0:
            for c in range(d):
                k.y[c] -= share * lowered.rows[s.lowered.which[slot, m], c]


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(s: Stack, k: Work, lowered: Rows, slot: int) -> None:
    """Minimise |y| in every multiplier, one after the other."""
    d = len(k.y)
    for i in range(d):
        step = max(-k.nu[i], -dot(s.inverse[slot, i], k.y) / k.square[i])
        if step != 0.0:
            k.nu[i] += step
            for c in range(d):
                k.y[c] += step * s.inverse[slot, i, c]
    for m in range(s.lowered.size[slot]):
        j = s.lowered.which[slot, m]
        share = s.lowered.share[slot, m]
        moved = min(1.0, max(0.0, share + dot(lowered.rows[j], k.y) / lowered.square[j]))
        if moved != share:
            s.lowered.share[slot, m] = moved
            for c in range(d):
                k.y[c] -= (moved - share) * lowered.rows[j, c]


@njit(cache=True, nogil=True, error_model="numpy")
def add_column(k: Work, column: Floats, sign: float, number: int, size: int) -> int:
    """Orthogonalise a column against `size` others and take it in, unless it depends on them; the new size.

    Columns are multiplied by `sign`.
    """
    d = len(k.y)
    for c in range(d):
        k.q[size, c] = sign * column[c]
    length = np.sqrt(dot(column, column))
    for i in range(size):
        k.triangle[i, size] = 0.0
    for _ in range(2):
        for i in range(size):
            along = dot(k.q[i], k.q[size])
            k.triangle[i, size] += along
            for c in range(d):
                k.q[size, c] -= along * k.q[i, c]
    rest = np.sqrt(dot(k.q[size], k.q[size]))
    if not rest > _DEPENDENT * length:
        return size
    k.triangle[size, size] = rest
    for c in range(d):
        k.q[size, c] /= rest
    k.free[size] = number
    return size + 1


@njit(cache=True, nogil=True, error_model="numpy")
def least_squares(s: Stack, k: Work, lowered: Rows, slot: int) -> None:
    """Minimise |y| over the multipliers inside their bounds; stop at the first bound met, and repeat."""
    d = len(k.y)
    for _ in range(d + 1):
        size = 0
        for i in range(d):
            if k.nu[i] > 0.0 and size < d:
                size = add_column(k, s.inverse[slot, i], 1.0, i, size)
        for m in range(s.lowered.size[slot]):
            if 0.0 < s.lowered.share[slot, m] < 1.0 and size < d:
                size = add_column(k, lowered.rows[s.lowered.which[slot, m]], -1.0, d + m, size)
        if size == 0:
            return
        for i in range(size - 1, -1, -1):
            total = -dot(k.q[i], k.y)
            for m in range(i + 1, size):
                total -= k.triangle[i, m] * k.step[m]
            k.step[i] = total / k.triangle[i, i]
        part, blocking = 1.0, -1
        for i in range(size):
            number = k.free[i]
            if number < d:
                room = k.nu[number] if k.step[i] < 0 else np.inf
            else:
                share = s.lowered.share[slot, number - d]
                room = share if k.step[i] < 0 else 1.0 - share
            if abs(k.step[i]) * part > room:
                part, blocking = room / abs(k.step[i]), i
        for i in range(size):
            number, step = k.free[i], part * k.step[i]
            if number < d:
                k.nu[number] = 0.0 if i == blocking else max(0.0, k.nu[number] + step)
                for c in range(d):
                    k.y[c] += step * s.inverse[slot, number, c]
            else:
                m = number - d
                moved = min(1.0, max(0.0, s.lowered.share[slot, m] + step))
                if i == blocking:
                    moved = 1.0 if k.step[i] > 0 else 0.0
                s.lowered.share[slot, m] = moved
                for c in range(d):
                    k.y[c] -= step * lowered.rows[s.lowered.which[slot, m], c]
        if blocking < 0:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def relaxed(s: Stack, k: Work, lowered: Rows, slot: int) -> float:
    """Value of the relaxation at y, projected roughly into the cone and normalised; sets t and w."""
    d = len(k.y)
    for c in range(d):
        k.w[c] = 0.0
    for i in range(d):
        k.t[i] = max(0.0, dot(s.inverse[slot, i], k.y))
        for c in range(d):
            k.w[c] += k.t[i] * s.generators[slot, i, c]
    norm = np.sqrt(dot(k.w, k.w))
    if not norm > 0.0:
        k.t[0] = 1.0
        k.w[:] = s.generators[slot, 0]
        norm = 1.0
    value = 0.0
    for c in range(d):
        k.t[c] /= norm
        k.w[c] /= norm
        value += (s.raised.linear[slot, c] - s.lowered.linear[slot, c]) * k.w[c] + k.t[c] * s.peak[slot, c]
    for m in range(s.lowered.size[slot]):
        value -= max(0.0, dot(lowered.rows[s.lowered.which[slot, m]], k.w))
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def proven(s: Stack, k: Work, lowered: Rows, slot: int, total: float, count: int) -> float:
    """Upper bound of f on the cone and the ball that y and the shares prove, rounding errors included.

    y is improved first by what its inequalities violate; a bound that cannot be proven is infinite.

    Parameters
    ----------
    total, count
        Sum of the lengths of all rows, and their number.
    """
    d = len(k.y)
    k.g[:] = s.lowered.linear[slot]
    for m in range(s.lowered.size[slot]):
        share = s.lowered.share[slot, m]
        if share != 0.0:
            for c in range(d):
                k.g[c] += share * lowered.rows[s.lowered.which[slot, m], c]
    for c in range(d):
        k.w[c] = 0.0
        for i in range(d):
            k.w[c] += s.generators[slot, i, c]
    for attempt in range(3):
        size = np.sqrt(dot(k.y, k.y))
        missing, least, unit = 0.0, np.inf, (count + 3 * d + 20) * 1.1 * UNIT
        for i in range(d):
            v = s.generators[slot, i]
            short = s.peak[slot, i] - dot(k.y, v)
            for c in range(d):
                short += (s.raised.linear[slot, c] - k.g[c]) * v[c]
            error = (total + size) * (2 * s.error[slot, i] + unit)
            k.step[i] = short
            missing = max(missing, short + error)
            least = min(least, dot(k.w, v) - 4 * s.error[slot, i] * d)
        if least < 1e-3:
            return np.inf
        pad = missing / least * np.sqrt(dot(k.w, k.w))
        if attempt == 2 or pad <= 1e-11 * total:
            break
        for i in range(d):
            if k.step[i] > 0.0:
                for c in range(d):
                    k.y[c] += k.step[i] * s.inverse[slot, i, c]
    return float((size + pad) * (1 + (4 * d + 20) * UNIT))


@njit(cache=True, nogil=True, error_model="numpy")
def bound_cone(s: Stack, k: Work, lowered: Rows, slot: int, target: float) -> tuple[float, float]:
    """Bound f on one cone, until the bound is at most `target` or the relaxation is known to be above it.

    Returns
    -------
    bound, value
        |y|, not proven yet, and the value of the relaxation at w; y, t and w are in `k`.
    """
    begin(s, k, lowered, slot)
    bound, value = np.inf, -np.inf
    for number in range(_ROUNDS):
        sweep(s, k, lowered, slot)
        if number > 1:
            least_squares(s, k, lowered, slot)
        bound = np.sqrt(dot(k.y, k.y))
        if bound <= target:
            break
        value = relaxed(s, k, lowered, slot)
        if value > target:
            break
    return bound, value
