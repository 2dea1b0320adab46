"""Rigorous upper bounds of max |r' relu(X w)| over |w| <= 1."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import isinf
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._binary import times
from jensen.fit._price_quick import quick_bound
from jensen.fit._price_reduce import Reduced, reduce
from jensen.fit._price_rows import Floats, balanced, make_rows
from jensen.fit._price_search import climb_all, distinct, search_price
from jensen.fit._price_targets import Tree
from jensen.network._numbers import as_count, as_floats

PriceStatus: TypeAlias = Literal["proven", "violated", "time_limit", "stopped", "inaccurate"]

_LARGEST = float(np.finfo(np.float64).max)
DIMENSIONS = 20
"""Largest rank of X in which cones are searched; beyond, even the orthants are too many."""
_CHUNK = 500
_EXTRA = 1000
_FLOOR = 1e-11
"""Targets are at least this part of the sum of |r_j| |x_j|: rounding hides what is smaller."""
_LONG, _CANCELLED = 100_000, 1e-6
"""So many cones end a search whose goal is this part of that sum; in proportion more where it is larger.
Where rows all but cancel, cones have to be as narrow as rows are alike, and there is no end of them."""
_NEAR = 1e-2
"""Relative distance from which the goal is the next target, rather than a point half-way to it."""


@dataclass(frozen=True)
class PriceBound:
    """What is known about max |r' relu(X w)| over |w| <= 1.

    Attributes
    ----------
    upper : float
        At least the maximum, all rounding errors included.
    lower : float
        |r' relu(X w)| of the best neuron, in float64; 0 if there is none.
    neurons : (k, d) float64 array
        Unit vectors with different activation patterns or signs, largest |r' relu(X w)| first.
    signs : (k,) int8 array
        Of r' relu(X w).
    nodes : int
        Cones that were bounded.
    status : str
        "proven": `upper` is at most (1 + tolerance) times the threshold, or times `lower` if the search was
        for the maximum. "violated": neurons above that were found. "time_limit", "stopped": the search
        ended early, with the bound that was proven so far. "inaccurate": rounding errors are larger than
        the tolerance, rows cancel so nearly that the search would not end, X has too many dimensions to be
        searched, or `upper` is beyond the floats.
    """

    upper: float
    lower: float
    neurons: Floats
    signs: NDArray[np.int8]
    nodes: int
    status: PriceStatus


class _Search:
    """One run of `bound_price` on balanced data: what was found, and when to end."""

    def __init__(
        self, x: Floats, r: Floats, aim: tuple[float, float, int], stop: Callable[[], bool] | None
    ) -> None:
        self.x, self.r, self.exponent = balanced(x, r)
        self.stop = stop
        self.threshold, self.tolerance, self.count = times(aim[0], -self.exponent), aim[1], aim[2]
        self.data: Reduced = reduce(self.x, self.r)
        self.nodes = 0
        self.neurons, self.values = np.zeros((0, x.shape[1])), np.zeros(0)

    @property
    def goal(self) -> float:
        """What the bound has to fall to."""
        known = float(np.abs(self.values).max(initial=0.0)) if self.count == 0 else 0.0
        return max(self.threshold, known) * (1 + self.tolerance)

    @property
    def above(self) -> int:
        """How many neurons are known that lie above the goal."""
        return int((np.abs(self.values) > self.goal).sum())

    def take(self, neurons: Floats) -> None:
        """Add unit vectors to the neurons that are known."""
        pool = np.concatenate([self.neurons, neurons])
        values = np.maximum(pool @ self.x.T, 0.0) @ self.r
        self.neurons = distinct(self.x, pool, values, max(2 * self.count, 16))
        self.values = np.maximum(self.neurons @ self.x.T, 0.0) @ self.r

    def take_reduced(self, points: Floats) -> None:
        """Add vectors in reduced coordinates."""
        spans = points @ self.data.basis.T
        norms = np.linalg.norm(spans, axis=1)
        self.take(spans[norms > 0] / norms[norms > 0, None])

    def explore(self, trees: list[Tree], target: float, deadline: float) -> PriceStatus | None:
        """Lower the bounds of all cones to `target`, or to the goal where that grows larger.

        Returns None if that was possible, otherwise why not.
        """
        data, spared = self.data, np.inf
        for tree in trees:
            before, done = self.nodes - tree.nodes, False
            while not done:
                if self.stop is not None and self.stop():
                    return "stopped"
                if time.monotonic() > deadline or self.nodes > spared:
                    return "time_limit"
                goal = max(data.scale(self.goal), _FLOOR * data.total)
                if self.nodes > _LONG * max(1.0, goal / (_CANCELLED * data.total)):
                    return "inaccurate"
                done = tree.advance(max(data.scale(target), goal), goal, _CHUNK)
                self.nodes = before + tree.nodes
                points = tree.found()
                if len(points):
                    climb_all(tree.raised, tree.lowered, points)
                    self.take_reduced(points)
                    if 0 < self.count <= self.above:
                        return "violated"
                    if self.count > 0 and self.above:
                        spared = min(spared, 2 * self.nodes + _EXTRA)
        return None

    def tighten(self, upper: float, begin: float, limit: float) -> tuple[float, PriceStatus | None]:
        """Lower a bound to the goal: at once if there is time, else by targets half-way to it."""
        data = self.data
        trees = [
            Tree(data.raised, data.lowered, data.rank, data.total),
            Tree(data.lowered, data.raised, data.rank, data.total),
        ]
        floor = data.unscale(_FLOOR * data.total)
        while True:
            goal = max(self.goal, floor)  # a maximum of zero has no relative accuracy
            direct = limit == np.inf or upper <= (1 + _NEAR) * goal
            status = self.explore(trees, goal if direct else (upper + goal) / 2, begin + limit)
            if status is not None:
                return upper, status
            upper = min(upper, data.unscale(max(tree.upper for tree in trees)))
            if direct or upper <= self.goal:
                return upper, None
            for tree in trees:
                tree.turn()

    def result(self, upper: float, status: PriceStatus | None) -> PriceBound:
        """Sum up."""
        verdict: PriceStatus = "proven"
        if upper > self.goal:
            verdict = "violated" if self.count > 0 and self.above else status or "inaccurate"
        lower = times(float(np.abs(self.values).max(initial=0.0)), self.exponent)
        most = float(np.nextafter(times(upper, self.exponent), np.inf))
        if isinf(most):
            verdict = "inaccurate"
        signs = np.sign(self.values).astype(np.int8)
        return PriceBound(most, min(lower, _LARGEST), self.neurons, signs, self.nodes, verdict)


@cache
def _compile() -> None:
    """Compile, or load what was compiled, before any time is taken."""
    row = make_rows(np.ones((1, 1)))
    Tree(row, row, 1, 2.0).advance(1.0, 1.0, 1)


def bound_price(
    x: Floats,
    r: Floats,
    *,
    threshold: float = 0.0,
    tolerance: float = 1e-6,
    time_limit: float | None = None,
    count: int = 1,
    starts: int = 100,
    seeds: Floats | None = None,
    rng: np.random.Generator | None = None,
    stop: Callable[[], bool] | None = None,
) -> PriceBound:
    """Prove that |r' relu(X w)| stays below a threshold on the unit ball, or find neurons above it.

    Parameters
    ----------
    x : (n, d) array
        Finite.
    r : (n,) array
        Finite.
    threshold : float, default 0.0
    tolerance : float, default 1e-6
        Values up to (1 + tolerance) threshold count as below.
    time_limit : float, optional
        Seconds; compiling, which is done once per installation, does not count.
    count : int, default 1
        So many neurons above the threshold end the search, and so does bounding about twice as many cones
        as it took to find the first. With 0 nothing does: the threshold rises to the best neuron instead,
        so that the maximum is bracketed to the tolerance.
    starts : int, default 100
        Starting points of the local search that comes first.
    seeds : (k, d) array, optional
        More starting points.
    rng : Generator, optional
        By default seeded with 0.
    stop : callable, optional
        Asked every few milliseconds whether to end.

    Raises
    ------
    ArgumentError
        If arguments hold no numbers, shapes do not fit, or numbers are not finite or negative.
    """
    x, r = (np.ascontiguousarray(as_floats(a, what, ArgumentError)) for a, what in ((x, "x"), (r, "r")))
    if x.ndim != 2 or r.shape != x.shape[:1] or not (np.isfinite(x).all() and np.isfinite(r).all()):
        raise ArgumentError(
            f"x must be a finite matrix with a row for each number in r, got {x.shape}, {r.shape}"
        )
    aims = [
        as_floats(a, what, ArgumentError) for a, what in ((threshold, "threshold"), (tolerance, "tolerance"))
    ]
    if any(a.ndim for a in aims) or not (0 <= aims[0] < np.inf and 0 < aims[1] < np.inf):
        raise ArgumentError(f"threshold must be >= 0 and tolerance > 0, got {threshold!r} and {tolerance!r}")
    if seeds is not None:
        seeds = as_floats(seeds, "seeds", ArgumentError)
        if seeds.ndim != 2 or seeds.shape[1] != x.shape[1] or not np.isfinite(seeds).all():
            raise ArgumentError(f"seeds must be finite vectors (k, {x.shape[1]}), got shape {seeds.shape}")
    count, starts = as_count(count, "count", 0), as_count(starts, "starts", 0)
    if not (r[:, None] * (x != 0)).any():
        return PriceBound(0.0, 0.0, np.zeros((0, x.shape[1])), np.zeros(0, dtype=np.int8), 0, "proven")
    _compile()
    begin = time.monotonic()
    search = _Search(x, r, (float(aims[0]), float(aims[1]), count), stop)
    generator = np.random.default_rng(0) if rng is None else rng
    search.take(
        search_price(search.x, search.r, starts=starts, rng=generator, count=max(2 * count, 16), seeds=seeds)
    )
    data = search.data
    upper = data.unscale(max(quick_bound(data.raised, data.lowered), quick_bound(data.lowered, data.raised)))
    searchable = 0 < data.rank <= DIMENSIONS
    if upper <= search.goal or 0 < count <= search.above or not searchable:
        return search.result(upper, None)
    return search.result(*search.tighten(upper, begin, np.inf if time_limit is None else time_limit))
