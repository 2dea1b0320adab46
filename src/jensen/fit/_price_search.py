"""Local search for neurons that correlate with a signal: large |r' relu(X w)| over |w| <= 1.

With f = F - G (see `_price_rows`) an ascent step replaces F by its tangent at the current point and
maximises the concave function that is left over the ball: by duality this is min |g - sum_j sigma_j c_j|
over sigma in [0, 1], solved by coordinate descent. So steps are long, f never decreases, and kinks that
bend downwards, on which maximisers often lie, need no special care. (The convex-concave procedure: Yuille
and Rangarajan, Neural Computation 15, 2003.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.fit._price_rows import Floats, Rows, as_difference, balanced

_STEPS = 100
_SWEEPS = 200
_COARSE, _FINE = 1e-2, 1e-9
"""Change of the multipliers at which coordinate descent stops, in the first steps and in the last ones."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _sum_of_relus(rows: Floats, w: Floats) -> float:
    total = 0.0
    for j in range(rows.shape[0]):
        total += max(0.0, _dot(rows[j], w))
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _concave_step(lowered: Rows, y: Floats, share: Floats, tolerance: float) -> None:
    """Minimise |y| over the shares; y comes with their part in it."""
    d = len(y)
    for _ in range(_SWEEPS):
        largest = 0.0
        for j in range(len(share)):
            row = lowered.rows[j]
            moved = min(1.0, max(0.0, share[j] + _dot(row, y) / lowered.square[j]))
            change = moved - share[j]
            if change != 0.0:
                largest = max(largest, abs(change))
                share[j] = moved
                for c in range(d):
                    y[c] -= change * row[c]
        if largest <= tolerance:
            return


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def climb(raised: Rows, lowered: Rows, w: Floats) -> float:
    """Move w, a unit vector, uphill in place to a local maximiser of F - G; its value (0 at w = 0)."""
    d = len(w)
    share = np.empty(len(lowered.square))
    for j in range(len(share)):
        share[j] = 1.0 if _dot(lowered.rows[j], w) > 0 else 0.0
    y = np.empty(d)
    value = _sum_of_relus(raised.rows, w) - _sum_of_relus(lowered.rows, w)
    tolerance = _COARSE
    for _ in range(_STEPS):
        y[:] = 0.0
        for j in range(len(raised.square)):
            if _dot(raised.rows[j], w) > 0:
                for c in range(d):
                    y[c] += raised.rows[j, c]
        for j in range(len(share)):
            if share[j] != 0.0:
                for c in range(d):
                    y[c] -= share[j] * lowered.rows[j, c]
        _concave_step(lowered, y, share, tolerance)
        norm = np.sqrt(_dot(y, y))
        moved = 0.0
        if norm > 0.0:
            for c in range(d):
                y[c] /= norm
            moved = _sum_of_relus(raised.rows, y) - _sum_of_relus(lowered.rows, y)
        if moved > value:
            w[:] = y
        gained = moved - value
        value = max(value, moved)
        if gained <= 1e-4 * abs(value):
            if tolerance == _FINE and gained <= 1e-12 * abs(value):
                break
            tolerance = _FINE
    if value <= 0.0:
        w[:] = 0.0
        return 0.0
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def climb_all(raised: Rows, lowered: Rows, points: Floats) -> Floats:
    """Move every row of `points` uphill; their values."""
    values = np.empty(points.shape[0])
    for k in range(points.shape[0]):
        values[k] = climb(raised, lowered, points[k])
    return values


def starting_points(x: Floats, starts: int, rng: np.random.Generator) -> Floats:
    """Random unit vectors: half of them isotropic, half so that X w is, which helps where X is skewed."""
    d = x.shape[1]
    points = rng.standard_normal((starts, d))
    whitened = points[::2]
    scale, axes = np.linalg.eigh(x.T @ x)
    seen = scale > 1e-10 * max(scale[-1], 1e-300)
    whitened[:] = (whitened[:, seen] / np.sqrt(scale[seen])) @ axes[:, seen].T
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return np.ascontiguousarray(points / np.where(norms > 0, norms, 1.0))


def distinct(x: Floats, neurons: Floats, values: Floats, count: int) -> Floats:
    """Best neurons, one for each activation pattern and sign of its value.

    Parameters
    ----------
    values : (k,) array
        r' relu(X w), with signs.
    """
    seen: set[tuple[bytes, bool]] = set()
    chosen = []
    for i in np.argsort(-np.abs(values), kind="stable"):
        key = (np.packbits(x @ neurons[i] > 0).tobytes(), bool(values[i] > 0))
        if values[i] != 0 and key not in seen:
            seen.add(key)
            chosen.append(i)
            if len(chosen) == count:
                break
    return neurons[chosen]


def polish(x: Floats, r: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Climb from every point for r and for -r.

    Returns
    -------
    neurons : (2 k, d) array
        Unit vectors, or zeros where there is nothing to gain.
    values : (2 k,) array
        r' relu(X w): positive ones first, then negative ones.
    """
    raised, lowered = as_difference(x, r)
    up, down = points.copy(), points.copy()
    highest = climb_all(raised, lowered, up)
    lowest = climb_all(lowered, raised, down)
    return np.concatenate([up, down]), np.concatenate([highest, -lowest])


def search_price(
    x: Floats,
    r: Floats,
    *,
    starts: int,
    rng: np.random.Generator,
    count: int,
    seeds: Floats | None = None,
) -> Floats:
    """Search for unit vectors w with large |r' relu(X w)|.

    Parameters
    ----------
    x : (n, d) array
    r : (n,) array
    starts : int
        Random points to climb from, each for r and for -r.
    rng : Generator
    count : int
        Most neurons to return.
    seeds : (k, d) array, optional
        More points to climb from, such as neurons that are in use.

    Returns
    -------
    (m, d) array
        Local maximisers, with different activation patterns or signs of r' relu(X w), largest |r' relu(X w)|
        first; m <= `count`, and 0 where nothing correlates with r.
    """
    x, r, _ = balanced(x, r)
    points = starting_points(x, starts, rng)
    if seeds is not None:
        norms = np.linalg.norm(seeds, axis=1)
        points = np.concatenate([seeds[norms > 0] / norms[norms > 0, None], points])
    return distinct(x, *polish(x, r, points), count)
