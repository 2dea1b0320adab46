"""The price of vector outputs: max |R' relu(X w)| over |w| <= 1, searched for and bounded.

It is the maximum of h(g) = max_w |(R g)' relu(X w)| over the unit sphere of R^c, and h is a norm: convex,
even, homogeneous. On the cone spanned by some g_i it is at most max sum t_i h(g_i), hence at most |p| for
every p with p . g_i >= h(g_i). So scalar prices, each proved by branch and bound, bound the vector price,
with an error that is quadratic in the width of the cones; those with the largest bound are split. Corners
of cones are integer vectors, and mid-points are sums, so that cones cover the sphere exactly.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from jensen.fit._losses import Floats
from jensen.fit._network import _least as shortest_above
from jensen.fit._price_bound import bound_price
from jensen.fit._price_search import search_price

_UNIT = 2.0**-53
_ALTERNATIONS = 30
_EXACT = 2.0**51
"""Integers whose sums floats hold exactly."""
_COARSE = 0.9
"""Share of the goal below which a corner's price need not be known."""


@dataclass(frozen=True)
class VectorPrice:
    """What is known about max |R' relu(X w)| over |w| <= 1.

    Attributes
    ----------
    upper : float
        At least the maximum, rounding included.
    lower : float
        |R' relu(X w)| of the best neuron, in float64.
    neurons : (k, d) array
        Unit vectors, the best first.
    corners : int
        Scalar prices that were bounded.
    """

    upper: float
    lower: float
    neurons: Floats
    corners: int


def _prices(x: Floats, signal: Floats, neurons: Floats) -> Floats:
    return np.asarray(np.linalg.norm(np.maximum(neurons @ x.T, 0) @ signal, axis=1))


def search_vector_price(
    x: Floats,
    signal: Floats,
    *,
    starts: int,
    rng: np.random.Generator,
    count: int,
    seeds: Floats | None = None,
) -> Floats:
    """Search for unit vectors w with large |R' relu(X w)|.

    Ascends in w for fixed g, by the search for scalar outputs, and in g for fixed w, in turn.

    Parameters
    ----------
    x : (n, d) array
    signal : (n, c) array
        R.
    starts : int
        Random directions g to start from, besides the singular ones of R.
    rng : Generator
    count : int
        Most neurons to return.
    seeds : (k, d) array, optional
        Neurons to start from.

    Returns
    -------
    (m, d) array
        Largest price first, without repeated patterns of activation.
    """
    if not signal.any():
        return np.zeros((0, x.shape[1]))
    _, scale, axes = np.linalg.svd(signal, full_matrices=False)
    directions = np.concatenate(
        [axes[scale > 1e-12 * scale[0]], rng.standard_normal((starts, signal.shape[1]))]
    )
    found = [search_price(x, signal @ g, starts=4, rng=rng, count=4) for g in directions]
    if seeds is not None and len(seeds):
        found.append(seeds / np.linalg.norm(seeds, axis=1, keepdims=True))
    climbed = [_alternate(x, signal, w, rng) for w in np.concatenate(found)]
    neurons = np.array(climbed).reshape(-1, x.shape[1])
    order, seen, chosen = np.argsort(-_prices(x, signal, neurons), kind="stable"), set(), []
    for i in order.tolist():
        key = np.packbits(x @ neurons[i] > 0).tobytes()
        if key not in seen:
            seen.add(key)
            chosen.append(i)
    return np.asarray(neurons[chosen[:count]])


def _alternate(x: Floats, signal: Floats, w: Floats, rng: np.random.Generator) -> Floats:
    price = float(_prices(x, signal, w[None])[0])
    for _ in range(_ALTERNATIONS):
        g = np.maximum(x @ w, 0) @ signal
        better = search_price(x, signal @ g, starts=0, rng=rng, count=1, seeds=w[None])
        if not len(better):
            break
        new = float(_prices(x, signal, better)[0])
        if not new > price * (1 + 1e-10):
            break
        w, price = better[0], new
    return w


class _Corners:
    """Upper bounds of h at integer vectors g, each computed once."""

    def __init__(self, x: Floats, signal: Floats, goal: float, tolerance: float, deadline: float) -> None:
        self.x, self.signal, self.goal, self.tolerance = x, signal, goal, tolerance
        self.deadline = deadline
        self.lengths = np.linalg.norm(x, axis=1)
        self.known: dict[bytes, float] = {}
        self.neurons: list[Floats] = []
        self.rng = np.random.default_rng(0)

    def bound(self, g: Floats) -> float:
        """Upper bound of h(g)."""
        # h is even.
        g = g if g[np.flatnonzero(g)[0]] > 0 else -g
        key = (g + 0.0).tobytes()
        if key in self.known:
            return self.known[key]
        c, length = len(g), float(np.linalg.norm(g))
        r = self.signal @ g
        # What rounding of R g changes in sum |r_j| |x_j|.
        lost = (c + 2) * 2 * _UNIT * float((np.abs(self.signal) @ np.abs(g)) @ self.lengths) * (1 + 1e-6)
        answer = bound_price(
            self.x,
            r,
            threshold=_COARSE * self.goal * length,
            tolerance=self.tolerance,
            count=0,
            starts=8,
            rng=self.rng,
            time_limit=max(0.0, self.deadline - time.perf_counter()),
        )
        if len(answer.neurons):
            self.neurons.append(answer.neurons[0])
        self.known[key] = (answer.upper + lost) * (1 + 4 * _UNIT)
        return self.known[key]


def _middle(one: Floats, two: Floats) -> Floats:
    """Integer vector about midway between two: the shorter one is doubled first, which is exact."""
    short, long = sorted((one, two), key=np.linalg.norm)
    ratio = np.log2(np.linalg.norm(long) / np.linalg.norm(short))
    return np.asarray(np.ldexp(short, int(np.rint(ratio))) + long)


def _cone_bound(corners: Floats, bounds: Floats) -> float:
    """Upper bound of a norm on the unit vectors of a cone, from bounds at its corners.

    It is |p| for the shortest p with p . g_i >= h_i, which rounding may not make too short.
    """
    lengths = np.linalg.norm(corners, axis=1)
    rows, right = corners / lengths[:, None], bounds / lengths
    p = shortest_above(rows, right)
    if p is None:
        p = np.linalg.solve(rows, right)
    c = len(p)
    spread = 4 * (c + 2) * _UNIT * float(np.abs(rows @ p).max() + np.abs(rows).max() * np.abs(p).sum())
    short = float((right * (1 + 4 * _UNIT) + spread - rows @ p).max())
    if short > 0:
        # Adding to p along the sum of corners' duals lifts every product by at least what is missing.
        p = p + np.linalg.solve(rows, np.full(c, 2 * short + 4 * spread))
    if ((rows @ p) - spread < right * (1 + 4 * _UNIT)).any():
        return float(np.inf)
    return float(np.linalg.norm(p)) * (1 + 4 * (c + 2) * _UNIT)


def bound_vector_price(
    x: Floats,
    signal: Floats,
    *,
    goal: float,
    tolerance: float = 1e-6,
    time_limit: float | None = None,
) -> VectorPrice:
    """Prove that |R' relu(X w)| is at most (1 + tolerance) goal on the unit ball, or how far one comes.

    Parameters
    ----------
    x : (n, d) array
    signal : (n, c) array
        R. The number of cones grows exponentially with c; meant for c up to 4 or so.
    goal : float
        Positive.
    tolerance : float, default 1e-6
    time_limit : float, optional
        Seconds.

    Returns
    -------
    VectorPrice
        `upper` holds whether the goal was reached or not. The search ends as soon as a neuron is found
        above (1 + tolerance) goal.
    """
    d, c = x.shape[1], signal.shape[1]
    deadline = time.perf_counter() + (np.inf if time_limit is None else time_limit)
    corners = _Corners(x, signal, goal, tolerance / 4, deadline)
    queue: list[tuple[float, int, Floats]] = []
    serial = 0

    def push(cone: Floats) -> None:
        nonlocal serial
        serial += 1
        bound = _cone_bound(cone, np.array([corners.bound(g) for g in cone]))
        heapq.heappush(queue, (-bound, serial, cone))

    # h is even: half of the orthants.
    for signs in product((1.0, -1.0), repeat=c - 1):
        push(np.diag(np.array([1.0, *signs])))
    target, lower, seen = goal * (1 + tolerance), 0.0, 0
    neurons = np.zeros((0, d))
    while True:
        if len(corners.neurons) > seen:
            fresh = np.array(corners.neurons[seen:])
            seen = len(corners.neurons)
            neurons = np.concatenate([neurons, fresh])
            lower = max(lower, float(_prices(x, signal, fresh).max()))
        upper = -queue[0][0]
        if upper <= target or lower > target or time.perf_counter() > deadline:
            break
        cone = queue[0][2]
        unit = cone / np.linalg.norm(cone, axis=1, keepdims=True)
        pairs = list(combinations(range(c), 2))
        if not pairs:
            break
        i, j = pairs[int(np.argmin([unit[i] @ unit[j] for i, j in pairs]))]
        middle = _middle(cone[i], cone[j])
        if np.abs(middle).max() > _EXACT:
            break
        heapq.heappop(queue)
        for k in (i, j):
            half = cone.copy()
            half[k] = middle
            push(half)
    order = np.argsort(-_prices(x, signal, neurons))
    return VectorPrice(upper, lower, neurons[order], len(corners.known))
