"""Optimal networks over a fixed set of groups, by a proximal point method with Newton steps.

Every step of the proximal point method is a `Subproblem`; its prox parameters grow, so that few are needed. Large
sets of groups are solved on a working set, to which those are added whose price exceeds lambda.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._cones import Cones
from jensen.fit._losses import Floats, Hinge, Huber, Logistic, Squared
from jensen.fit._problem import Problem
from jensen.fit._semismooth import wants_gram
from jensen.fit._solution import FixedSolution, Groups, Status
from jensen.fit._subproblem import Centre, Design, Subproblem
from jensen.network._numbers import as_count, as_floats

_GROWTH = 5.0
"""Factor between prox parameters of consecutive steps."""
_FIRST_STEP = 0.1
_LARGEST_STEP = 1e8
"""sigma lambda^2 / F(0) at the start and at most."""
_FIRST_REACH = {"squared": 1e4, "huber": 1e4, "logistic": 1e4, "hinge": 10.0}
_LARGEST_REACH = 1e10
_SHARE = 1e-2
"""Subproblems are solved to this share of the gap, or to its square."""
_ROUNDING = 1e-13
"""Relative accuracy of an objective that can be asked for."""
_WORKING_BYTES = 1 << 29
"""Memory of the cones' factors in the first working set."""
_WORKING = 512
_PATIENCE = 8
"""Steps without progress after which rounding is blamed."""


def solve_gated(
    problem: Problem,
    groups: Groups,
    *,
    start: object = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    time_limit: float | None = None,
) -> FixedSolution:
    """Minimise over gated networks: sum_g sign_g D_g X u_g with free u_g, a group lasso.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and one of the losses squared, huber, logistic, hinge.
    groups : Groups
    start : (P, d) array, optional
        Coefficients to start from: those of a neighbouring problem.
    tolerance : float, default 1e-6
        Relative duality gap that is enough.
    max_iterations : int, default 1000
        Newton steps.
    time_limit : float, optional
        Seconds.

    Returns
    -------
    FixedSolution
        With status "interrupted" after a KeyboardInterrupt: the best so far.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    return _solve(problem, groups, False, start, tolerance, max_iterations, time_limit)


def solve_relu(
    problem: Problem,
    groups: Groups,
    *,
    start: object = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    time_limit: float | None = None,
) -> FixedSolution:
    """Minimise over ReLU networks with given patterns: (2 D_g - I) X u_g >= 0 for every group.

    Parameters and errors are those of `solve_gated`. A start outside the cones is projected.
    """
    return _solve(problem, groups, True, start, tolerance, max_iterations, time_limit)


@dataclass(frozen=True)
class _Data:
    """The problem on the samples that count, in at most n coordinates."""

    problem: Problem
    groups: Groups
    cones: bool
    rows: Floats
    """Data of all samples, in the same coordinates: for the cones."""
    counted: NDArray[np.bool_]
    back: Floats | None
    """From coordinates to coefficients, (r, d)."""
    gram: Floats | None


def _prepare(problem: Problem, groups: Groups, cones: bool) -> _Data:
    if problem.outputs or not isinstance(problem.loss, (Squared, Huber, Logistic, Hinge)):
        raise ArgumentError(
            "fixed groups are solved for a scalar output and one of the losses squared, huber, logistic and hinge; "
            f"got {problem.loss.name} with outputs of shape {problem.outputs}"
        )
    n, d = problem.x.shape
    gates, signs = groups.gates, groups.signs
    if gates.ndim != 2 or gates.shape[1] != n or gates.dtype != np.bool_ or signs.shape != (len(gates),):
        raise ArgumentError(
            f"groups must have bool gates of shape (P, {n}) and P signs, got {gates.dtype} {gates.shape} "
            f"and {signs.shape}"
        )
    if not np.isin(signs, (-1, 1)).all():
        raise ArgumentError("signs of groups must be 1 or -1")
    rows, back = problem.x, None
    if d > n:
        # Coefficients of a minimiser lie in the span of the rows of X.
        orthogonal, triangular = np.linalg.qr(problem.x.T)
        rows, back = np.ascontiguousarray(triangular.T), np.ascontiguousarray(orthogonal.T)
    counted = problem.weights > 0
    x = np.ascontiguousarray(rows[counted])
    inner = replace(problem, x=x, y=problem.y[counted], weights=problem.weights[counted])
    return _Data(inner, groups, cones, rows, counted, back, x @ x.T if wants_gram(len(x)) else None)


def _masks(data: _Data, chosen: NDArray[np.int64]) -> Floats:
    gates = data.groups.gates[chosen][:, data.counted]
    return np.asarray(gates * data.groups.signs[chosen, None].astype(np.float64))


def _prices(data: _Data, chosen: NDArray[np.int64], slopes: Floats, threshold: float) -> NDArray[np.float64]:
    """Bounds on prices of groups; only those above the threshold are sharp."""
    signal = data.problem.pull(slopes)
    prices = np.zeros(len(chosen))
    chunk = _room(data)
    for at in range(0, len(chosen), chunk):
        part = chosen[at : at + chunk]
        points = -(_masks(data, part) * signal) @ data.problem.x
        lengths = np.linalg.norm(points, axis=1)
        if data.cones:
            long = np.flatnonzero(lengths > threshold)
            cones = Cones(data.rows, data.groups.gates[part[long]])
            lengths[long] = cones.project(points[long], threshold)[1]
        prices[at : at + chunk] = lengths
    return prices


def _room(data: _Data) -> int:
    """Number of groups that are worked on together."""
    n, d = data.rows.shape
    if not data.cones:
        return _WORKING
    return int(np.clip(_WORKING_BYTES // (16 * min(n, d) * d), 16, _WORKING))


def group_prices(problem: Problem, groups: Groups, slopes: Floats, cones: bool) -> Floats:
    """Largest correlation of every group with the slopes: a dual point is feasible if none exceeds lambda.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    groups : Groups
    slopes : (n,) array
    cones : bool
        Whether coefficients are restricted to the cones of the gates.

    Returns
    -------
    (P,) array
        max over |u| <= 1 of -r' M_g u, with r the `Problem.pull` of the slopes.
    """
    data = _prepare(problem, groups, cones)
    return _prices(data, np.arange(len(groups)), slopes[data.counted], 0.0)


class _Run:
    """The state of a solve: a working set, the best point and the best bound."""

    def __init__(self, data: _Data, start: Floats | None) -> None:
        self.data, self.problem = data, data.problem
        self.strength = data.problem.regularisation
        count, d = len(data.groups), data.rows.shape[1]
        zero = np.zeros(len(data.problem.y))
        slopes = self.problem.loss.slope(zero, self.problem.y)
        used = np.flatnonzero(start.any(1)) if start is not None else np.zeros(0, dtype=np.int64)
        self.working = np.arange(count)
        if count > max(_room(data), len(used)):
            lengths = _prices(replace(data, cones=False), self.working, slopes, np.inf)
            lengths[used] = np.inf
            self.working = np.sort(np.argsort(-lengths)[: max(_room(data), 2 * len(used))])
        self.cones = Cones(data.rows, data.groups.gates[self.working]) if data.cones else None
        self._design()
        self.u, self.fitted = np.zeros((len(self.working), d)), zero
        self.slopes = slopes
        self.objective = self.problem.primal(zero, 0.0)
        self.bound, self.working_bound = -np.inf, -np.inf
        self.scale = self.objective / self.strength**2
        if start is not None:
            u = start[self.working]
            if self.cones is not None:
                u = self.cones.project(u)[0]
            self.offer(u, self.design.push(u))

    def _design(self) -> None:
        masks = _masks(self.data, self.working)
        self.design = Design(self.problem.x, masks, self.data.gram, self.cones)

    def offer(self, u: Floats, fitted: Floats) -> bool:
        """Take a primal point if it is better."""
        value = self.problem.primal(fitted, float(np.linalg.norm(u, axis=1).sum()))
        if not value < self.objective:
            return False
        self.u, self.fitted, self.objective = u, fitted, value
        return True

    def certify(self, slopes: Floats, tolerance: float) -> bool:
        """Bound the optimum by a dual point; True once the gap is closed.

        Groups outside the working set are looked at when the gap over the working set is closed, and join
        it where their price is too high.
        """
        points = -self.design.pull(self.problem.pull(slopes))
        price = self.design.project(points, self.strength)[1].max(initial=0.0)
        bound = self.problem.scaled_dual(slopes, float(price))[0]
        self.working_bound = max(self.working_bound, bound)
        whole = len(self.working) == len(self.data.groups)
        if not whole:
            if not self.closed(bound, tolerance):
                return False
            rest = np.setdiff1d(np.arange(len(self.data.groups)), self.working)
            prices = _prices(self.data, rest, slopes, self.strength)
            bound = self.problem.scaled_dual(slopes, max(float(price), float(prices.max())))[0]
        if bound > self.bound:
            self.bound, self.slopes = bound, slopes
        if self.closed(self.bound, tolerance):
            return True
        if not whole:
            order = rest[np.argsort(-prices)]
            self._enlarge(order[: min(max(64, len(self.working) // 2), int((prices > self.strength).sum()))])
        return False

    def closed(self, bound: float, tolerance: float) -> bool:
        """Whether objective and bound are as near as wanted."""
        return self.objective - bound <= tolerance * abs(self.objective)

    def gap(self) -> float:
        """Relative gap over the working set, at most 1."""
        return float(min(1.0, (self.objective - self.working_bound) / max(self.objective, 1e-300)))

    def _enlarge(self, new: NDArray[np.int64]) -> None:
        self.working = np.concatenate([self.working, new])
        self.u = np.concatenate([self.u, np.zeros((len(new), self.u.shape[1]))])
        self.working_bound = self.bound
        if self.cones is not None:
            self.cones = self.cones.extended(self.data.rows, self.data.groups.gates[new])
        self._design()

    def advance(self, most: int, tolerance: float, stop: Callable[[], bool]) -> tuple[Status, int]:
        """Iterate until the gap is closed."""
        iterations, idle = 0, 0
        sigma, reach = _FIRST_STEP * self.scale, _FIRST_REACH[self.problem.loss.name]
        s = self.problem.pull(self.problem.loss.slope(self.fitted, self.problem.y))
        if self.certify(s / self.problem.weights, tolerance):
            return "optimal", 0
        while True:
            before, size = self.gap(), len(self.working)
            centre = Centre(self.u, self.fitted, sigma, reach)
            accuracy = max(min(_SHARE, before) * before, _ROUNDING) * self.objective
            inner = Subproblem(self.problem, self.design, centre).solve(
                s, accuracy, min(100, most - iterations), stop
            )
            iterations += inner.steps
            better = self.offer(inner.u, inner.fitted)
            if self.certify(inner.slopes, tolerance):
                return "optimal", iterations
            if stop():
                return "time_limit", iterations
            if iterations >= most:
                return "iteration_limit", iterations
            if inner.converged or better:
                s = inner.s
                sigma = min(sigma * _GROWTH, _LARGEST_STEP * self.scale)
                reach = min(reach * _GROWTH, _LARGEST_REACH)
            else:
                sigma, reach = sigma / _GROWTH**2, reach / _GROWTH**2
            if len(self.working) > size:
                idle = 0
            elif self.gap() > 0.9 * before:
                idle += 1
                if idle > _PATIENCE:
                    return "inaccurate", iterations
            else:
                idle = 0


def _solve(
    problem: Problem,
    groups: Groups,
    cones: bool,
    start: object,
    tolerance: float,
    max_iterations: int,
    time_limit: float | None,
) -> FixedSolution:
    if not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
        raise ArgumentError(f"tolerance must be a number between 0 and 1, got {tolerance!r:.80}")
    if time_limit is not None and not (isinstance(time_limit, (int, float)) and time_limit > 0):
        raise ArgumentError(
            f"time_limit must be a positive number of seconds or None, got {time_limit!r:.80}"
        )
    most = as_count(max_iterations, "max_iterations")
    data = _prepare(problem, groups, cones)
    first = None if start is None else _as_start(start, (len(groups), problem.x.shape[1]))
    if first is not None and data.back is not None:
        first = first @ data.back.T
    end = np.inf if time_limit is None else monotonic() + time_limit
    run = _Run(data, first)
    iterations = 0
    try:
        status, iterations = run.advance(most, tolerance, lambda: monotonic() > end)
    except KeyboardInterrupt:
        status = "interrupted"
    return _finish(run, problem, status, iterations)


def _as_start(start: object, shape: tuple[int, int]) -> Floats:
    array = as_floats(start, "start", ArgumentError)
    if array.shape != shape or not np.isfinite(array).all():
        raise ArgumentError(f"start must hold finite coefficients of shape {shape}, got shape {array.shape}")
    return array


def _finish(run: _Run, problem: Problem, status: Status, iterations: int) -> FixedSolution:
    """Evaluate the best point on all samples, strictly inside its cones."""
    data, u = run.data, run.u
    used = np.flatnonzero(u.any(1))
    chosen, u = run.working[used], u[used]
    violation = 0.0
    if data.cones:
        cones = Cones(data.rows, data.groups.gates[chosen])
        u = cones.project(u)[0]
        violation = float(cones.violation(u).max(initial=0.0))
    signs = data.groups.signs[chosen, None].astype(np.float64)
    fitted = np.asarray((data.groups.gates[chosen] * signs * (u @ data.rows.T)).sum(0))
    coefficients = np.zeros((len(data.groups), problem.x.shape[1]))
    coefficients[chosen] = u if data.back is None else u @ data.back
    slopes = problem.loss.slope(fitted, problem.y)
    slopes[data.counted] = run.slopes
    objective = problem.primal(fitted, float(np.linalg.norm(u, axis=1).sum()))
    bound = max(run.bound, 0.0)
    return FixedSolution(coefficients, fitted, slopes, objective, bound, violation, iterations, status)
