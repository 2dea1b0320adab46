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
    y, square, inverse, rows = k.y, k.square, s.inverse, lowered.rows
    share, which = s.lowered.share, s.lowered.which
    d = len(y)
    for c in range(d):
        y[c] = s.raised.linear[slot, c] - s.lowered.linear[slot, c]
    for i in range(d):
        k.nu[i] = 0.0
        peak, total = s.peak[slot, i], 0.0
        for c in range(d):
            total += inverse[slot, i, c] * inverse[slot, i, c]
            y[c] += peak * inverse[slot, i, c]
        square[i] = total
    for m in range(s.lowered.size[slot]):
        part, j = share[slot, m], which[slot, m]
        if part != 0.0:
            for c in range(d):
                y[c] -= part * rows[j, c]


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(s: Stack, k: Work, lowered: Rows, slot: int) -> None:
    """Minimise |y| in every multiplier, one after the other."""
    y, nu, inverse, rows = k.y, k.nu, s.inverse, lowered.rows
    share, which = s.lowered.share, s.lowered.which
    d = len(y)
    for i in range(d):
        along = 0.0
        for c in range(d):
            along += inverse[slot, i, c] * y[c]
        step = max(-nu[i], -along / k.square[i])
        if step != 0.0:
            nu[i] += step
            for c in range(d):
                y[c] += step * inverse[slot, i, c]
    for m in range(s.lowered.size[slot]):
        j, part, along = which[slot, m], share[slot, m], 0.0
        for c in range(d):
            along += rows[j, c] * y[c]
        moved = min(1.0, max(0.0, part + along / lowered.square[j]))
        step = moved - part
        if step != 0.0:
            share[slot, m] = moved
            for c in range(d):
                y[c] -= step * rows[j, c]


@njit(cache=True, nogil=True, error_model="numpy")
def take_column(q: Floats, triangle: Floats, size: int) -> bool:
    """Orthogonalise row `size` of q against those before; whether it is independent of them."""
    d = q.shape[1]
    before, after = 0.0, 0.0
    for c in range(d):
        before += q[size, c] * q[size, c]
    for i in range(size):
        triangle[i, size] = 0.0
    for _ in range(2):
        for i in range(size):
            along = 0.0
            for c in range(d):
                along += q[i, c] * q[size, c]
            triangle[i, size] += along
            for c in range(d):
                q[size, c] -= along * q[i, c]
    for c in range(d):
        after += q[size, c] * q[size, c]
    if not after > _DEPENDENT * _DEPENDENT * before:
        return False
    after = np.sqrt(after)
    triangle[size, size] = after
    for c in range(d):
        q[size, c] /= after
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def least_squares(s: Stack, k: Work, lowered: Rows, slot: int) -> None:
    """Minimise |y| over the multipliers inside their bounds; stop at the first bound met, and repeat."""
    y, nu, step, free, q, triangle = k.y, k.nu, k.step, k.free, k.q, k.triangle
    inverse, rows, share, which = s.inverse, lowered.rows, s.lowered.share, s.lowered.which
    d = len(y)
    for _ in range(d + 1):
        size = 0
        for i in range(d):
            if nu[i] > 0.0 and size < d:
                for c in range(d):
                    q[size, c] = inverse[slot, i, c]
                if take_column(q, triangle, size):
                    free[size] = i
                    size += 1
        for m in range(s.lowered.size[slot]):
            if 0.0 < share[slot, m] < 1.0 and size < d:
                for c in range(d):
                    q[size, c] = -rows[which[slot, m], c]
                if take_column(q, triangle, size):
                    free[size] = d + m
                    size += 1
        part, blocking = 1.0, -1
        for i in range(size - 1, -1, -1):
            total = 0.0
            for c in range(d):
                total -= q[i, c] * y[c]
            for m in range(i + 1, size):
                total -= triangle[i, m] * step[m]
            step[i] = total / triangle[i, i]
            if free[i] < d:
                room = nu[free[i]] if step[i] < 0 else np.inf
            else:
                room = share[slot, free[i] - d]
                room = room if step[i] < 0 else 1.0 - room
            if abs(step[i]) * part > room:
                part, blocking = room / abs(step[i]), i
        for i in range(size):
            change = part * step[i]
            if free[i] < d:
                number = free[i]
                nu[number] = 0.0 if i == blocking else max(0.0, nu[number] + change)
                for c in range(d):
                    y[c] += change * inverse[slot, number, c]
            else:
                m = free[i] - d
                moved = min(1.0, max(0.0, share[slot, m] + change))
                if i == blocking:
                    moved = 1.0 if change > 0 else 0.0
                share[slot, m] = moved
                for c in range(d):
                    y[c] -= change * rows[which[slot, m], c]
        if blocking < 0:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def relaxed(s: Stack, k: Work, lowered: Rows, slot: int) -> float:
    """Value of the relaxation at y, projected roughly into the cone and normalised; sets t and w."""
    y, t, w, inverse, generators, rows = k.y, k.t, k.w, s.inverse, s.generators, lowered.rows
    which = s.lowered.which
    d = len(y)
    for c in range(d):
        w[c] = 0.0
    for i in range(d):
        along = 0.0
        for c in range(d):
            along += inverse[slot, i, c] * y[c]
        t[i] = max(0.0, along)
        for c in range(d):
            w[c] += t[i] * generators[slot, i, c]
    norm = 0.0
    for c in range(d):
        norm += w[c] * w[c]
    norm = np.sqrt(norm)
    if not norm > 0.0:
        t[0] = 1.0
        for c in range(d):
            w[c] = generators[slot, 0, c]
        norm = 1.0
    value = 0.0
    for c in range(d):
        t[c] /= norm
        w[c] /= norm
        value += (s.raised.linear[slot, c] - s.lowered.linear[slot, c]) * w[c] + t[c] * s.peak[slot, c]
    for m in range(s.lowered.size[slot]):
        j, along = which[slot, m], 0.0
        for c in range(d):
            along += rows[j, c] * w[c]
        value -= max(0.0, along)
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
        missing, least, unit = 0.0, np.inf, (2 * count + 3 * d + 20) * 1.1 * UNIT
        for i in range(d):
            short, central = s.peak[slot, i], 0.0
            for c in range(d):
                short += (s.raised.linear[slot, c] - k.g[c] - k.y[c]) * s.generators[slot, i, c]
                central += k.w[c] * s.generators[slot, i, c]
            error = (total + size) * (2 * s.error[slot, i] + unit)
            if not abs(short) < np.inf:
                return np.inf
            k.step[i] = short
            missing = max(missing, short + error)
            least = min(least, central - 4 * s.error[slot, i] * d)
        if not (least >= 1e-3 and size < np.inf):
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
