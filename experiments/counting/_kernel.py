"""Compiled screening of small networks: proofs by signs and intervals, violations by lines.

What it answers is proved, in floating point with every rounding error bounded. With u = 2**-53, a sum of
k products computed in any order differs from the true one by at most (k + 1) u / (1 - (k + 1) u) times the
sum of the magnitudes; `ROUND` times k + 3 leaves room for the magnitudes' own rounding. Underflow cannot
add more than `TINY` a term.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.network import FloatArray

OPEN, CONVEX, VIOLATED = 0, 1, 2
ROUND = 1.001 * 2.0**-53
TINY = 1e-290
STEPS = 300

Sizes = NDArray[np.int64]


@njit(cache=True)
def is_convex_by_bounds(flat: FloatArray, sizes: Sizes, work: FloatArray) -> bool:
    """Prove convexity on the whole space by interval arithmetic, forwards and then backwards.

    Neurons whose sign is fixed are dropped or taken as linear; all others may have any sign, in any
    combination. If no adjoint of these can be negative the network is convex, degenerate or not.

    Parameters
    ----------
    flat : (n_weights,) array
    sizes : (L + 2,) array
    work : (5, n) array
        Room for bounds: n at least the number of inputs, hidden neurons and output.
    """
    lo, hi, state, glo, ghi = work[0], work[1], work[2], work[3], work[4]
    for j in range(sizes[0]):
        lo[j], hi[j] = -np.inf, np.inf
    before, here, at = 0, sizes[0], 0
    hidden = len(sizes) - 2
    for layer in range(hidden):
        a, b = sizes[layer], sizes[layer + 1]
        for i in range(b):
            bias = flat[at + a * b + i]
            low, high = bias, bias
            low_size, high_size = abs(bias), abs(bias)
            low_rounds, high_rounds = False, False
            for j in range(a):
                w = flat[at + i * a + j]
                if w != 0.0:
                    down, up = lo[before + j], hi[before + j]
                    if w < 0.0:
                        down, up = up, down
                    if down != 0.0:
                        low += w * down
                        low_size += abs(w * down)
                        low_rounds = True
                    if up != 0.0:
                        high += w * up
                        high_size += abs(w * up)
                        high_rounds = True
            if low_rounds and low > -np.inf:
                low -= (a + 4) * ROUND * low_size + TINY
            if high_rounds and high < np.inf:
                high += (a + 4) * ROUND * high_size + TINY
            state[here + i] = 0.0 if high <= 0.0 else (1.0 if low >= 0.0 else 2.0)
            lo[here + i], hi[here + i] = max(low, 0.0), max(high, 0.0)
        before, here, at = here, here + b, at + (a + 1) * b
    # Backwards: `before` is where the last hidden layer starts, `at` where the output's weights do.
    n = sizes[hidden]
    for i in range(n):
        glo[before + i] = ghi[before + i] = flat[at + i]
    for layer in range(hidden - 1, -1, -1):
        a, b = sizes[layer], sizes[layer + 1]
        for i in range(b):
            if state[before + i] == 2.0 and glo[before + i] < 0.0:
                return False
        if layer == 0:
            return True
        at -= (a + 1) * b
        source = before - a
        for j in range(a):
            low, high, low_size, high_size = 0.0, 0.0, 0.0, 0.0
            low_mixed, high_mixed = False, False
            for i in range(b):
                kind = state[before + i]
                if kind == 0.0:
                    continue
                w = flat[at + i * a + j]
                down, up = w * glo[before + i], w * ghi[before + i]
                sinks, rises = glo[before + i] < 0.0, ghi[before + i] > 0.0
                if w < 0.0:
                    down, up, sinks, rises = up, down, rises, sinks
                low_mixed = low_mixed or sinks  # of the factors, because a product may underflow
                high_mixed = high_mixed or rises
                if kind == 2.0:
                    down, up = min(down, 0.0), max(up, 0.0)
                low += down
                high += up
                low_size += abs(down)
                high_size += abs(up)
            if low_mixed:  # a sum of nonnegative terms keeps its sign whatever the rounding
                low -= (b + 4) * ROUND * low_size + TINY
            if high_mixed:
                high += (b + 4) * ROUND * high_size + TINY
            glo[source + j], ghi[source + j] = low, high
        before = source
    return True


@njit(cache=True)
def value(flat: FloatArray, sizes: Sizes, x: FloatArray, work: FloatArray) -> tuple[float, float]:
    """Evaluate a network at a point, with a rigorous bound on the error."""
    h, e, h2, e2 = work[0], work[1], work[2], work[3]
    for j in range(sizes[0]):
        h[j], e[j] = x[j], 0.0
    at = 0
    last = len(sizes) - 2
    z, error = 0.0, 0.0
    for layer in range(last + 1):
        a, b = sizes[layer], sizes[layer + 1]
        for i in range(b):
            z = flat[at + a * b + i]
            size, error = abs(z), 0.0
            for j in range(a):
                w = flat[at + i * a + j]
                z += w * h[j]
                size += abs(w * h[j])
                error += abs(w) * e[j]
            error = 1.0001 * error + (a + 4) * ROUND * size + TINY
            if layer < last:
                h2[i] = max(z, 0.0)
                # a neuron that is off for certain carries no error
                e2[i] = 0.0 if z + 1.0001 * error < 0.0 else error
        h, h2 = h2, h
        e, e2 = e2, e
        at += (a + 1) * b
    return z, error


@njit(cache=True)
def along(
    flat: FloatArray, sizes: Sizes, p: FloatArray, q: FloatArray, t: float, work: FloatArray
) -> tuple[float, float]:
    """Slope of t -> f(p + t q), and how far it is to the next kink."""
    h, v, h2, v2 = work[0], work[1], work[2], work[3]
    for j in range(sizes[0]):
        h[j], v[j] = p[j] + t * q[j], q[j]
    at = 0
    last = len(sizes) - 2
    step = np.inf
    dz = 0.0
    for layer in range(last + 1):
        a, b = sizes[layer], sizes[layer + 1]
        for i in range(b):
            z, dz = flat[at + a * b + i], 0.0
            for j in range(a):
                w = flat[at + i * a + j]
                z += w * h[j]
                dz += w * v[j]
            if layer < last:
                if z > 0.0:
                    h2[i], v2[i] = z, dz
                    if dz < 0.0:
                        step = min(step, -z / dz)
                else:
                    h2[i], v2[i] = 0.0, 0.0
                    if dz > 0.0:
                        step = min(step, -z / dz)
        h, h2 = h2, h
        v, v2 = v2, v
        at += (a + 1) * b
    return dz, step


@njit(cache=True)
def violates(
    flat: FloatArray,
    sizes: Sizes,
    p: FloatArray,
    q: FloatArray,
    t: float,
    h: float,
    side: float,
    ends: FloatArray,
    work: FloatArray,
) -> bool:
    """Prove that f((x + y) / 2) > (f(x) + f(y)) / 2 at p + (t -+ h) q, rounded so that all three are floats.

    x and y are whole multiples of a power of two, less than 2**51 of them, so that their sum is exact.
    """
    d = sizes[0]
    largest = 0.0
    for j in range(d):
        ends[0, j], ends[1, j] = p[j] + (t - h) * q[j], p[j] + (t + h) * q[j]
        largest = max(largest, abs(ends[0, j]), abs(ends[1, j]))
    unit = 2.0 ** (np.ceil(np.log2(max(largest, 1e-9))) - 50.0)
    for j in range(d):
        for k in range(2):
            ends[k, j] = np.rint(ends[k, j] / unit) * unit
            if not abs(ends[k, j]) <= side:
                return False
        ends[2, j] = 0.5 * (ends[0, j] + ends[1, j])
    fx, ex = value(flat, sizes, ends[0], work)
    fy, ey = value(flat, sizes, ends[1], work)
    fm, em = value(flat, sizes, ends[2], work)
    doubt = em + 0.5 * (ex + ey) + 4.0 * ROUND * (abs(fm) + abs(fx) + abs(fy))
    gain: bool = fm - 0.5 * (fx + fy) > 1.0001 * doubt
    return gain


@njit(cache=True)
def walk(
    flat: FloatArray,
    sizes: Sizes,
    p: FloatArray,
    q: FloatArray,
    side: float,
    ends: FloatArray,
    work: FloatArray,
) -> bool:
    """Follow a line through the box |x_i| <= side from kink to kink until the slope falls at one."""
    first, end = -1e6, 1e6
    for j in range(sizes[0]):
        if q[j] != 0.0:
            s0, s1 = (-side - p[j]) / q[j], (side - p[j]) / q[j]
            first, end = max(first, min(s0, s1)), min(end, max(s0, s1))
    t, kink, before, slope = first, first, 0.0, 0.0
    for k in range(STEPS):
        now, step = along(flat, sizes, p, q, t, work)
        after = min(t + step, end) - kink
        if k > 0 and now < slope - 1e-12 * (abs(now) + abs(slope)):
            h = 0.9 * min(before, after)
            if h > 0.0 and violates(flat, sizes, p, q, kink, h, side, ends, work):
                return True
        if not t + step < end:
            return False
        before, slope, kink = t + step - kink, now, t + step
        t = kink + 1e-10 * (1.0 + abs(kink))
    return False


@njit(cache=True)
def screen(
    flats: FloatArray, sizes: Sizes, side: float, lines: int, seed: int
) -> tuple[NDArray[np.int8], FloatArray]:
    """Decide what signs, intervals and random lines can decide.

    Parameters
    ----------
    flats : (N, n_weights) array
    sizes : (L + 2,) array
    side : float
        Violations are looked for where all |x_i| <= side.
    lines : int
        Lines per network.
    seed : int
        Of the lines; what is decided is certain for every seed.

    Returns
    -------
    kinds : (N,) int8 array
        CONVEX (on the whole space), VIOLATED (in the box) or OPEN.
    ends : (N, 3, d) array
        x, y and their middle, where f is proved to violate Jensen's inequality.
    """
    np.random.seed(seed)
    count, d = len(flats), sizes[0]
    kinds = np.zeros(count, dtype=np.int8)
    ends = np.zeros((count, 3, d))
    work = np.empty((5, sizes.sum()))
    p, q = np.empty(d), np.empty(d)
    for n in range(count):
        if is_convex_by_bounds(flats[n], sizes, work):
            kinds[n] = CONVEX
            continue
        for _ in range(lines):
            scale = 10.0 ** np.random.uniform(-0.5, 1.5)
            for j in range(d):
                p[j] = min(max(scale * np.random.normal(), -side), side)
                q[j] = np.random.normal()
            if walk(flats[n], sizes, p, q, side, ends[n], work):
                kinds[n] = VIOLATED
                break
    return kinds, ends
