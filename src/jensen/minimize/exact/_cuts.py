"""Cutting planes with a trust region: minimises any convex function by its values and subgradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jensen.certify._progress import Clock
from jensen.minimize.exact._masters import LinearMaster, QuadraticMaster
from jensen.minimize.posed._affine import Affine, box_minimum
from jensen.minimize.posed._feasible import moved_inside
from jensen.minimize.posed._icnn import EPS
from jensen.minimize.posed._oracle import Oracle
from jensen.minimize.posed._polyhedron import Polyhedron, feasible_point, generic_point
from jensen.minimize.posed._recession import falling_ray
from jensen.minimize.posed._result import Minimum, Status, empty_domain
from jensen.network import FloatArray

if TYPE_CHECKING:
    from jensen.minimize.walk._walker import Walker

_FAR = 1e3
"""Beyond a trust region of this size, relative to the start, the function is tested for a ray."""
_TOO_FAR = 1e15
_IDLE = 40
"""A cut that was idle for so many iterations may go."""

_FAILURES = 6
"""A model that is not solved so often in smaller and smaller boxes is given up."""
_LITTLE = 1e-6
"""Share of the way to the anchor by which points may be moved; more would be seen in their values."""
_PATIENCE, _GAIN = 300, 1e-2
"""The gap must shrink by this share in so many iterations."""


class Cuts:
    """Minimises f(y) + slope . y + (curvature / 2) |y|^2 for many slopes; cuts of f serve all of them.

    The model, the maximum of all cuts, is minimised in a box around the best point. The box grows where the
    step ends on it and the function falls as the model says, and shrinks where it rises. A step that the box
    does not hinder minimises the model everywhere, and its value is a lower bound, evaluated from the
    weights of the cuts rather than believed.

    Parameters
    ----------
    oracle : Oracle
    inside : Polyhedron
    scout : Walker, optional
        Looks for a good point to begin at.
    """

    method = "cuts"

    def __init__(self, oracle: Oracle, inside: Polyhedron, scout: Walker | None = None) -> None:
        self.oracle, self.inside, self.scout = oracle, inside, scout
        self._masters: dict[bool, LinearMaster | QuadraticMaster] = {}
        self._cuts: list[tuple[Affine, FloatArray]] = []
        self._best: FloatArray | None = None
        self.anchor: FloatArray | None = None

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
        max_iterations: int = 20000,
    ) -> Minimum:
        """Minimise with this slope and curvature added; see `Walker.solve`."""
        clock = clock or Clock(None)
        began, n = clock.elapsed, self.oracle.size
        tilt = np.zeros(n) if slope is None else np.asarray(slope, dtype=np.float64)
        near = start if start is not None else self._best if self._best is not None else np.zeros(n)
        centre = feasible_point(self.inside, np.asarray(near, dtype=np.float64))
        if centre is None:
            return empty_domain(n, self.method, clock.elapsed - began)
        if self.anchor is None:
            self.anchor = generic_point(self.inside, centre, np.random.default_rng(0))
        if self.scout is not None:
            centre = self._scouted(centre, tilt, curvature, clock)
        run = _Run(self, tilt, curvature, centre, gap)
        status: Status = "inaccurate"
        try:
            while run.iterations < max_iterations:
                if (end := run.step()) is not None:
                    status = end
                    break
                if run.stalls():
                    break
                if clock.over:
                    status = "time_limit"
                    break
                if progress is not None:
                    progress(run.answer("time_limit", clock.elapsed - began))
        except KeyboardInterrupt:
            status = "interrupted"
        self._best = run.centre
        return run.answer(status, clock.elapsed - began)

    def _scouted(self, centre: FloatArray, tilt: FloatArray, curvature: float, clock: Clock) -> FloatArray:
        """Return the scout's point, if it is in the domain and better than the given one."""
        assert self.scout is not None
        found = self.scout.solve(tilt, curvature, centre, clock=clock)
        y = np.clip(found.point, self.inside.lo, self.inside.hi)
        if not np.isfinite(y).all() or not self.inside.holds(y):
            return centre
        here, there = (
            self.oracle.support(p)[0] + float(tilt @ p) + 0.5 * curvature * float(p @ p) for p in (centre, y)
        )
        return y if there < here else centre

    def pulled_inside(self, y: FloatArray) -> FloatArray | None:
        """Move a point that breaks rows by the tolerance of the model inside; None if that fails."""
        inside, anchor = self.inside, self.anchor
        if inside.is_box or anchor is None:
            return y
        excess, room = inside.excess(y), -inside.excess(anchor)
        wanting = (excess > 0) & (room > 0)
        if wanting.any():
            share = float((excess[wanting] / (excess[wanting] + room[wanting])).max())
            pulled = y + min(share * (1 + 1e-6) + 8 * EPS, 0.5) * (anchor - y)
            if share < _LITTLE and inside.holds(pulled):
                return pulled
        return y if inside.holds(y) else moved_inside(inside, y)

    def master(self, curved: bool) -> LinearMaster | QuadraticMaster:
        """Return the model of all cuts, for goals with a quadratic term or without."""
        if curved not in self._masters:
            made = QuadraticMaster(self.inside) if curved else LinearMaster(self.inside)
            for affine, point in self._cuts:
                made.add(affine.slope, affine.value - float(affine.slope @ point))
            self._masters = {curved: made}
        return self._masters[curved]

    def add(self, affine: Affine, point: FloatArray) -> None:
        """Add a cut."""
        self._cuts.append((affine, point))
        for master in self._masters.values():
            master.add(affine.slope, affine.value - float(affine.slope @ point))

    def drop(self, places: NDArray[np.intp]) -> None:
        """Remove cuts, by their numbers."""
        gone = {int(i) for i in places}
        self._cuts = [cut for i, cut in enumerate(self._cuts) if i not in gone]
        for master in self._masters.values():
            master.drop(places)

    def combined(self, weights: FloatArray, y: FloatArray) -> Affine:
        """Average cuts with weights that add up to 1, at y."""
        used = np.flatnonzero(weights)
        cuts, share = [self._cuts[i] for i in used], weights[used]
        slopes = np.array([affine.slope for affine, _ in cuts])
        blurs = np.array([affine.slope_error for affine, _ in cuts])
        away = y - np.array([point for _, point in cuts])
        values = np.array([affine.value for affine, _ in cuts])
        errors = np.array([affine.error for affine, _ in cuts])
        terms = np.abs(values) + (np.abs(slopes) * np.abs(away)).sum(axis=1)
        errors += (blurs * np.abs(away)).sum(axis=1) + 8 * (len(y) + 4) * EPS * terms
        blurs += 8 * (len(used) + 4) * EPS * np.abs(slopes)
        return Affine(
            float(share @ (values + (slopes * away).sum(axis=1))),
            share @ slopes,
            float(share @ errors),
            share @ blurs,
        )


class _Run:
    """One minimisation."""

    def __init__(
        self, cuts: Cuts, tilt: FloatArray, curvature: float, centre: FloatArray, gap: float
    ) -> None:
        self.cuts, self.tilt, self.curvature, self.gap = cuts, tilt, curvature, gap
        self.inside, self.centre = cuts.inside, centre
        self.low, self.iterations = -np.inf, 0
        self.ray: FloatArray | None = None
        self.failures, self.since, self.gap_then = 0, 0, np.inf
        width = cuts.inside.hi - cuts.inside.lo
        self.unit = np.where(np.isfinite(width), width, max(1.0, float(np.abs(centre).max())))
        self.radius, self.best = 0.25, np.inf
        self.idle = np.zeros(len(cuts._cuts), dtype=np.int64)
        self.best = self.probe(centre)

    def probe(self, y: FloatArray) -> float:
        """Evaluate the goal at a point, and keep the cut."""
        value, affine, point = self.cuts.oracle.support(y, self.cuts.anchor)
        self.cuts.add(affine, point)
        self.idle = np.append(self.idle, 0)
        self.iterations += 1
        return value + float(self.tilt @ y) + 0.5 * self.curvature * float(y @ y)

    def step(self) -> Status | None:
        """Minimise the model once and evaluate the function there; tell if that is the end."""
        reach = self.radius * self.unit
        lo, hi = (
            np.maximum(self.inside.lo, self.centre - reach),
            np.minimum(self.inside.hi, self.centre + reach),
        )
        solved = self.cuts.master(self.curvature > 0).solve(self.tilt, self.curvature, lo, hi)
        if solved is None:
            return self._failed()
        y, model, weights, price = solved
        on_box = (y <= lo) & (lo > self.inside.lo) | (y >= hi) & (hi < self.inside.hi)
        hindered = bool(on_box.any())
        scale, promised = max(1.0, abs(self.best)), self.best - model
        if (
            not hindered or promised <= self.gap * scale
        ):  # a box that only chooses among minimisers counts not
            self.low = max(self.low, self._bound(y, weights, price))
        self._age(weights)
        if self.best - self.low <= self.gap * scale:
            return "optimal"
        if hindered and promised <= 0.1 * self.gap * scale:
            self.radius *= 8.0
            return self._far_out()
        near = self.cuts.pulled_inside(y)
        if near is None:
            return self._failed()
        y, value = near, self.probe(near)
        gained = self.best - value
        if value < self.best:
            self.best, self.centre = value, y
        if gained >= 0.3 * promised and hindered:
            self.radius *= 2.0
            return self._far_out()
        if gained < -promised:
            self.radius = max(self.radius / 2.0, 1e-12)
        if not hindered and promised <= 4 * EPS * scale:
            return "optimal" if self.best - self.low <= self.gap * scale else "inaccurate"
        return None

    def answer(self, status: Status, seconds: float) -> Minimum:
        """Report where the run stands."""
        if status == "unbounded":
            return Minimum(
                self.centre, -np.inf, -np.inf, self.iterations, self.cuts.method, status, seconds, self.ray
            )
        low = min(self.low, self.best)
        return Minimum(self.centre, self.best, low, self.iterations, self.cuts.method, status, seconds)

    def _bound(self, y: FloatArray, weights: FloatArray, price: FloatArray) -> float:
        affine = self.cuts.combined(weights, y).plus(self.tilt, y)
        if self.curvature > 0:  # (h/2) |w|^2 = (h/2) |y|^2 + h y . (w - y) + (h/2) |w - y|^2
            size = 0.5 * self.curvature * float(y @ y)
            affine = Affine(
                affine.value + size,
                affine.slope + self.curvature * y,
                affine.error + 4 * EPS * (len(y) + 4) * (size + abs(affine.value)),
                affine.slope_error + 4 * EPS * (np.abs(affine.slope) + self.curvature * np.abs(y)),
            )
        return box_minimum(affine.plus_rows(self.inside, price, y), self.inside, y, self.curvature)

    def _age(self, weights: FloatArray) -> None:
        """Drop cuts that have long been idle, once there are many."""
        self.idle += 1
        self.idle[weights > 0] = 0
        if len(self.idle) > 4 * len(self.centre) + 100:
            old = np.flatnonzero(self.idle > _IDLE)
            if len(old) > 20:
                self.cuts.drop(old)
                self.idle = np.delete(self.idle, old)

    def _failed(self) -> Status | None:
        """Go on in a smaller box, where the model's numbers are closer together, a few times."""
        self.failures += 1
        self.radius /= 8.0
        return "inaccurate" if self.failures > _FAILURES else None

    def stalls(self) -> bool:
        """Whether neither the best value nor the lower bound has improved for long."""
        gap = self.best - self.low
        if not gap >= (1 - _GAIN) * self.gap_then:
            self.gap_then, self.since = gap, self.iterations
        return self.iterations - self.since > _PATIENCE + 20 * len(self.centre)

    def _far_out(self) -> Status | None:
        """Once the trust region is huge, test whether the function is known to fall without end."""
        if self.radius < _FAR or self.curvature > 0:
            return None
        size = np.abs(self.centre).max()
        ray = self.centre / size if size > 0 else self.centre
        known = self.cuts.oracle.asymptote
        if known is not None:
            self.ray = falling_ray(known, self.inside, self.tilt, ray)
            if self.ray is not None:
                return "unbounded"
        return "inaccurate" if self.radius > _TOO_FAR else None
