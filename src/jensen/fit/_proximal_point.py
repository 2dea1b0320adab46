"""The proximal point method over a working set of groups, with a bound that closes the gap.

Every step is a `Subproblem`. Its prox parameters grow, so that few steps are needed; the hinge is a
`SoftHinge` whose width falls. Large sets of groups are solved on a working set, which groups join whose price
exceeds lambda.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from jensen.fit._cones import Cones, Ints
from jensen.fit._grouped import Grouped
from jensen.fit._losses import Floats, Hinge
from jensen.fit._problem import Problem
from jensen.fit._soft_hinge import SoftHinge
from jensen.fit._solution import Status
from jensen.fit._subproblem import Centre, Design, Subproblem

_SHARE = 1e-2
"""Subproblems are solved to this share of the gap, or to its square."""
_ROUNDING = 1e-13
"""Relative accuracy of an objective that can be asked for."""
_MOST_STEPS = 100
"""Newton steps in a subproblem."""
_PATIENCE = 8
"""Steps without progress after which rounding is blamed."""
_LOOK = 0.1
"""Groups outside the working set are looked at when its gap is this share of the whole one."""
_FIRST_CLIP, _CLIP = 0.25, 1e-3
"""Distance of a soft hinge's centre from 0 and 1."""


@dataclass(frozen=True)
class Pace:
    """How far a step may go: prox parameters of coefficients and outputs, and the width of the soft hinge.

    Attributes
    ----------
    sigma : float
        Relative to F(0) / lambda^2, which has its unit.
    reach, width : float
    """

    sigma: float = 0.03
    reach: float = 1e4
    width: float = 0.5

    def scaled(self, factor: float) -> Pace:
        """Go farther by a factor."""
        return Pace(min(self.sigma * factor, 1e8), min(self.reach * factor, 1e10), self.width / factor)


_FASTER, _SLOWER = 7.0, 0.02


def _spread(order: Ints, most: int) -> Ints:
    """Take the first of a list, and as many spread over the others: neighbours in the list are alike."""
    if len(order) <= most:
        return order
    first = most // 2
    return np.concatenate(
        [order[:first], order[np.linspace(first, len(order) - 1, most - first).astype(int)]]
    )


class Run:
    """The state of a solve.

    Attributes
    ----------
    working : int array
        The groups that are worked on.
    u, fitted, objective
        The best point: coefficients of the working set, outputs on the samples that count.
    slopes, bound
        The best dual point for all groups, and the lower bound that it proves.
    iterations : int
        Newton steps.
    """

    def __init__(self, data: Grouped, start: Floats | None) -> None:
        self._data, self._problem = data, data.problem
        self._strength = data.problem.regularisation
        count, d = len(data.groups), data.rows.shape[1]
        zero = np.zeros(len(data.problem.y))
        self.slopes = self._problem.loss.slope(zero, self._problem.y)
        self.working = self._choose(start)
        self._cones = Cones(data.rows, data.groups.gates[self.working]) if data.cones else None
        self._design = self._map()
        self.u, self.fitted = np.zeros((len(self.working), d)), zero
        self.objective = self._problem.primal(zero, 0.0)
        self.bound = self._working_bound = -np.inf
        self.iterations = 0
        self._whole_gap = 1.0
        self._unit = self.objective / self._strength**2
        if start is not None and count:
            u = start[self.working]
            if self._cones is not None:
                u = self._cones.project(u)[0]
            self._offer(u, self._design.push(u))

    def _choose(self, start: Floats | None) -> Ints:
        """Choose a first working set: groups in use, and those with the largest unconstrained prices."""
        data = self._data
        everything = np.arange(len(data.groups))
        used = everything[:0] if start is None else np.flatnonzero(start.any(1))
        most = max(data.room(), 2 * len(used))
        if len(everything) <= most:
            return everything
        lengths = replace(data, cones=False).prices(everything, self.slopes, np.inf)
        lengths[used] = np.inf
        return np.sort(_spread(np.argsort(-lengths), most))

    def _map(self) -> Design:
        return Design(self._problem.x, self._data.masks(self.working), self._data.gram, self._cones)

    def _offer(self, u: Floats, fitted: Floats) -> bool:
        """Take a primal point if it is better."""
        value = self._problem.primal(fitted, float(np.linalg.norm(u, axis=1).sum()))
        if not value < self.objective:
            return False
        self.u, self.fitted, self.objective = u, fitted, value
        return True

    def _certify(self, slopes: Floats, tolerance: float) -> bool:
        """Bound the optimum by a dual point; True once the gap is closed.

        Groups outside the working set are looked at when the gap over the working set is closed; those
        with too high a price join it.
        """
        data, count = self._data, len(self._data.groups)
        points = -self._design.pull(self._problem.pull(slopes))
        price = float(self._design.project(points, self._strength)[1].max(initial=0.0))
        bound = self._problem.scaled_dual(slopes, price)[0]
        self._working_bound = max(self._working_bound, bound)
        if len(self.working) < count:
            if not self._closed(bound, max(tolerance, _LOOK * self._whole_gap)):
                return False
            rest = np.setdiff1d(np.arange(count), self.working)
            prices = data.prices(rest, slopes, self._strength)
            bound = self._problem.scaled_dual(slopes, max(price, float(prices.max())))[0]
            if not self._closed(bound, tolerance):
                order = rest[np.argsort(-prices)[: int((prices > self._strength).sum())]]
                self._enlarge(_spread(order, data.room() // 2))
        if bound > self.bound:
            self.bound, self.slopes = bound, slopes
            self._whole_gap = min(1.0, (self.objective - bound) / max(self.objective, 1e-300))
        return self._closed(self.bound, tolerance)

    def _closed(self, bound: float, tolerance: float) -> bool:
        return self.objective - bound <= tolerance * abs(self.objective)

    def _gap(self) -> float:
        """Relative gap over the working set, at most 1."""
        return float(min(1.0, (self.objective - self._working_bound) / max(self.objective, 1e-300)))

    def _enlarge(self, new: Ints) -> None:
        self.working = np.concatenate([self.working, new])
        self.u = np.concatenate([self.u, np.zeros((len(new), self.u.shape[1]))])
        self._working_bound = self.bound
        if self._cones is not None:
            self._cones = self._cones.extended(self._data.rows, self._data.groups.gates[new])
        self._design = self._map()

    def advance(
        self, most: int, tolerance: float, stop: Callable[[], bool], slopes: Floats | None = None
    ) -> Status:
        """Iterate until the gap is closed.

        Parameters
        ----------
        most : int
            Newton steps.
        tolerance : float
            Relative gap.
        stop : callable
            Whether time is over.
        slopes : (n,) array, optional
            Dual point to start from.
        """
        problem = self._problem
        pace, idle, clip = Pace(), 0, _FIRST_CLIP
        if slopes is not None:
            if self._certify(slopes, tolerance):
                return "optimal"
            pace, clip = Pace(width=self._gap() * pace.width), _CLIP
        else:
            slopes = problem.loss.slope(self.fitted, problem.y)
            if self._certify(slopes, tolerance):
                return "optimal"
        u, fitted, s = self.u, self.fitted, problem.pull(slopes)
        while True:
            before, size = self._gap(), len(self.working)
            accuracy = max(min(_SHARE, before) * before, _ROUNDING) * self.objective
            centre = Centre(u, fitted, pace.sigma * self._unit, pace.reach)
            step = Subproblem(self._softened(slopes, pace.width, clip), self._design, centre)
            inner = step.solve(s, accuracy, min(_MOST_STEPS, most - self.iterations), stop)
            self.iterations += inner.steps
            better = self._offer(inner.u, inner.fitted)
            if self._certify(inner.slopes, tolerance):
                return "optimal"
            if stop():
                return "time_limit"
            if self.iterations >= most:
                return "iteration_limit"
            idle = idle + 1 if self._gap() > 0.9 * before and len(self.working) == size else 0
            if idle > _PATIENCE:
                return "inaccurate"
            if inner.converged:
                u, fitted, slopes, s, clip = inner.u, inner.fitted, inner.slopes, inner.s, _CLIP
            elif better:
                u, fitted, s = inner.u, inner.fitted, inner.s
            if len(self.working) > size:
                pace = Pace(width=pace.width)
            else:
                pace = pace.scaled(_FASTER if inner.converged or better else _SLOWER)
            u = self._padded(u)

    def _padded(self, u: Floats) -> Floats:
        """Add zeros for groups that joined."""
        return np.concatenate([u, np.zeros((len(self.working) - len(u), u.shape[1]))])

    def _softened(self, slopes: Floats, width: float, clip: float) -> Problem:
        problem = self._problem
        if not isinstance(problem.loss, Hinge):
            return problem
        centre = np.clip(-problem.y * slopes, clip, 1 - clip)
        return replace(problem, loss=SoftHinge(width, centre))
