"""Euclidean projection on the cones {u : (2D - I) X u >= 0} of activation patterns, warm.

By Moreau's decomposition the projection of v is the residual of the nonnegative least squares problem
min |v + A' mu|, mu >= 0, whose passive set, at most d rows, is found by the method of Lawson and Hanson
(1974). Every cone keeps its passive set and its QR factors between calls: points move little from call to
call.

For any mu >= 0 the residual is at least as long as the projection, so a search that is only asked whether
the projection is longer than a threshold may end early, and most do before looking at the rows at all.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.fit._losses import Floats

Ints = NDArray[np.int64]
Gate = NDArray[np.bool_]

_TOLERANCE = 1e-13
"""Violation that counts as none, relative to |x_j| and the length of the point that is projected."""
_DEPENDENT = 1e-11
"""Rows whose part orthogonal to the passive rows is shorter are taken to depend on them."""
_FRESH = 256
"""Calls after which factors are computed anew, because updates gather rounding errors."""


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def _append(q: Floats, r: Floats, k: int, row: Floats, sign: float) -> bool:
    """Extend the factors by a row; False if it depends on the others."""
    d = len(row)
    new = q[k]
    for i in range(d):
        new[i] = sign * row[i]
    for i in range(k):
        r[i, k] = 0.0
    for _ in range(2):
        for i in range(k):
            part = _dot(q[i], new)
            r[i, k] += part
            for c in range(d):
                new[c] -= part * q[i, c]
    length = np.sqrt(_dot(new, new))
    if length <= _DEPENDENT:
        return False
    for c in range(d):
        new[c] /= length
    r[k, k] = length
    return True


@njit(cache=True, nogil=True)
def _remove(q: Floats, r: Floats, k: int, rows: Ints, mu: Floats, at: int) -> None:
    """Delete a row from the factors by Givens rotations."""
    for j in range(at, k - 1):
        rows[j] = rows[j + 1]
        mu[j] = mu[j + 1]
        for i in range(j + 2):
            r[i, j] = r[i, j + 1]
    for j in range(at, k - 1):
        a, b = r[j, j], r[j + 1, j]
        length = np.hypot(a, b)
        c, s = a / length, b / length
        r[j, j], r[j + 1, j] = length, 0.0
        for i in range(j + 1, k - 1):
            a, b = r[j, i], r[j + 1, i]
            r[j, i], r[j + 1, i] = c * a + s * b, c * b - s * a
        for i in range(q.shape[1]):
            a, b = q[j, i], q[j + 1, i]
            q[j, i], q[j + 1, i] = c * a + s * b, c * b - s * a


@njit(cache=True, nogil=True)
def _residual(q: Floats, r: Floats, k: int, v: Floats, u: Floats, mu: Floats) -> None:
    """Write the residual u of v on the passive rows, and the multipliers."""
    d = len(v)
    for c in range(d):
        u[c] = v[c]
    for i in range(k):
        mu[i] = 0.0
    # The second pass removes what rounding left of the first.
    for _ in range(2):
        for i in range(k):
            part = _dot(q[i], u)
            mu[i] -= part
            for c in range(d):
                u[c] -= part * q[i, c]
    for i in range(k - 1, -1, -1):
        total = mu[i]
        for j in range(i + 1, k):
            total -= r[i, j] * mu[j]
        mu[i] = total / r[i, i]


@njit(cache=True, nogil=True)
def _rebuild(data: Floats, gate: Gate, q: Floats, r: Floats, rows: Ints, k: int) -> int:
    """Factor the passive rows anew; those that depend on earlier ones are dropped."""
    kept = 0
    for i in range(k):
        j = rows[i]
        if _append(q, r, kept, data[j], 1.0 if gate[j] else -1.0):
            rows[kept] = j
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _most_violated(
    data: Floats, gate: Gate, u: Floats, slack: float, listed: Ints, many: int, products: Floats
) -> tuple[int, int]:
    """Find the most violated row among those listed or, if none of them is violated, among all.

    Returns the row, or -1, and the length of the list of violated rows, which is updated.
    """
    best, least, kept = -1, -slack, 0
    for i in range(many):
        j = listed[i]
        value = _dot(data[j], u) if gate[j] else -_dot(data[j], u)
        if value < -slack:
            listed[kept] = j
            kept += 1
            if value < least:
                best, least = j, value
    if best >= 0:
        return best, kept
    np.dot(data, u, products)
    for j in range(len(data)):
        value = products[j] if gate[j] else -products[j]
        if value < -slack:
            listed[kept] = j
            kept += 1
            if value < least:
                best, least = j, value
    return best, kept


@njit(cache=True, nogil=True)
def _step_inside(
    q: Floats, r: Floats, rows: Ints, k: int, v: Floats, u: Floats, mu: Floats, old: Floats
) -> int:
    """Go from the multipliers `old` to those of least squares, dropping rows whose multiplier vanishes."""
    while True:
        _residual(q, r, k, v, u, mu)
        step, block = 1.0, -1
        for i in range(k):
            if mu[i] < 0.0:
                ratio = old[i] / (old[i] - mu[i])
                if ratio < step or block < 0:
                    step, block = ratio, i
        if block < 0:
            return k
        for i in range(k):
            old[i] += step * (mu[i] - old[i])
        old[block] = 0.0
        for i in range(k - 1, -1, -1):
            if old[i] <= 0.0 and mu[i] < 0.0:
                _remove(q, r, k, rows, old, i)
                k -= 1


@njit(cache=True, nogil=True)
def _project(
    data: Floats,
    gate: Gate,
    v: Floats,
    threshold: float,
    q: Floats,
    r: Floats,
    rows: Ints,
    count: int,
    u: Floats,
    mu: Floats,
    old: Floats,
    listed: Ints,
    products: Floats,
) -> tuple[int, bool]:
    """Project v; return the size of the passive set and whether the residual u is the projection.

    Ends early, with False, once the residual is not longer than the threshold, or out of patience.
    """
    d = data.shape[1]
    slack = _TOLERANCE * np.sqrt(_dot(v, v))
    k = count
    while True:
        _residual(q, r, k, v, u, mu)
        before = k
        for i in range(k - 1, -1, -1):
            if mu[i] < 0.0:
                _remove(q, r, k, rows, old, i)
                k -= 1
        if k == before:
            break
    many, refused = 0, False
    for _ in range(20 * d + 100):
        if np.sqrt(_dot(u, u)) <= max(threshold, slack):
            return k, False
        best, many = _most_violated(data, gate, u, slack, listed, many, products)
        if best < 0:
            return k, True
        for i in range(k):
            old[i] = mu[i]
        if k == len(q) or not _append(q, r, k, data[best], 1.0 if gate[best] else -1.0):
            # Only rounding makes a row look violated that depends on the passive ones.
            if refused:
                return k, True
            refused, many = True, 0
            k = _rebuild(data, gate, q, r, rows, k)
            _residual(q, r, k, v, u, mu)
            slack *= 10.0
            for i in range(k):
                old[i] = max(mu[i], 0.0)
            k = _step_inside(q, r, rows, k, v, u, mu, old)
            continue
        rows[k], old[k] = best, 0.0
        k = _step_inside(q, r, rows, k + 1, v, u, mu, old)
    return k, False


@njit(cache=True, nogil=True)
def _project_all(
    data: Floats,
    gates: NDArray[np.bool_],
    points: Floats,
    threshold: float,
    q: Floats,
    r: Floats,
    rows: Ints,
    counts: Ints,
    calls: Ints,
    out: Floats,
    lengths: Floats,
    exact: NDArray[np.bool_],
) -> None:
    n, d = data.shape
    mu, old = np.empty(d + 1), np.empty(d + 1)
    listed, products = np.empty(2 * n, dtype=np.int64), np.empty(n)
    for g in range(len(points)):
        size = np.sqrt(_dot(points[g], points[g]))
        if size <= threshold:
            out[g] = points[g]
            lengths[g] = size
            exact[g] = False
            continue
        calls[g] += 1
        if calls[g] % _FRESH == 0:
            counts[g] = _rebuild(data, gates[g], q[g], r[g], rows[g], counts[g])
        counts[g], exact[g] = _project(
            data,
            gates[g],
            points[g],
            threshold,
            q[g],
            r[g],
            rows[g],
            counts[g],
            out[g],
            mu,
            old,
            listed,
            products,
        )
        lengths[g] = np.sqrt(_dot(out[g], out[g]))


class Cones:
    """The cones of some gates, each with the passive set of its last projection.

    Parameters
    ----------
    x : (n, d) array
        Rows of zeros constrain nothing.
    gates : (P, n) bool array
    """

    def __init__(self, x: Floats, gates: NDArray[np.bool_]) -> None:
        norms = np.linalg.norm(x, axis=1)
        self._some = norms > 0
        # Rows of length one: violations are relative.
        self._data = np.ascontiguousarray(x[self._some] / norms[self._some, None])
        self._gates = np.ascontiguousarray(gates[:, self._some])
        self._most = min(self._data.shape)
        count, d = len(gates), x.shape[1]
        self._q = np.zeros((count, self._most, d))
        self._r = np.zeros((count, self._most, self._most))
        self._rows = np.zeros((count, self._most), dtype=np.int64)
        self._counts = np.zeros(count, dtype=np.int64)
        self._calls = np.zeros(count, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._gates)

    def project(self, points: Floats, threshold: float = 0.0) -> tuple[Floats, Floats]:
        """Project a point on every cone.

        Parameters
        ----------
        points : (P, d) array
        threshold : float
            Where the projection is not longer, the search may end early.

        Returns
        -------
        projected : (P, d) array
            Projections where the length exceeds the threshold; elsewhere some point not longer than that,
            outside the cone perhaps.
        lengths : (P,) array
            Their lengths: never less than those of the projections.
        """
        points = np.ascontiguousarray(points)
        out, lengths = np.empty_like(points), np.empty(len(points))
        exact = np.empty(len(points), dtype=np.bool_)
        _project_all(
            self._data,
            self._gates,
            points,
            threshold,
            self._q,
            self._r,
            self._rows,
            self._counts,
            self._calls,
            out,
            lengths,
            exact,
        )
        return out, lengths

    def normals(self, group: int) -> Floats:
        """Orthonormal rows that span the passive rows of the last projection, (k, d)."""
        view: Floats = self._q[group, : self._counts[group]]
        return view

    def violation(self, points: Floats) -> Floats:
        """(P,) largest violations of a constraint, relative to |x_j| |u|."""
        products = np.where(self._gates, 1.0, -1.0) * (points @ self._data.T)
        sizes = np.linalg.norm(points, axis=1)
        worst = -products.min(axis=1, initial=0.0)
        return np.asarray(np.where(sizes > 0, worst / np.where(sizes > 0, sizes, 1.0), 0.0))

    def extended(self, x: Floats, gates: NDArray[np.bool_]) -> Cones:
        """Return the cones of more gates, which follow those that are here."""
        more = Cones(x, gates)
        more._gates = np.concatenate([self._gates, more._gates])
        more._q = np.concatenate([self._q, more._q])
        more._r = np.concatenate([self._r, more._r])
        more._rows = np.concatenate([self._rows, more._rows])
        more._counts = np.concatenate([self._counts, more._counts])
        more._calls = np.concatenate([self._calls, more._calls])
        return more
