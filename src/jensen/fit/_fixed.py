"""Optimal networks over a fixed set of groups."""

from __future__ import annotations

from time import monotonic

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._cones import Cones
from jensen.fit._grouped import Grouped
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit._proximal_point import Run
from jensen.fit._solution import FixedSolution, Groups, Status
from jensen.fit._units import Units
from jensen.network._numbers import as_count, as_floats


def solve_gated(
    problem: Problem,
    groups: Groups,
    *,
    start: object = None,
    slopes: object = None,
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
    slopes : (n,) array, optional
        Slopes of the losses to start from: those of the same neighbour.
    tolerance : float, default 1e-6
        Relative duality gap that is enough.
    max_iterations : int, default 1000
        Newton steps.
    time_limit : float, optional
        Seconds.

    Returns
    -------
    FixedSolution
        After a KeyboardInterrupt the best so far, with status "interrupted".

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    return _solve(problem, groups, False, start, slopes, tolerance, max_iterations, time_limit)


def solve_relu(
    problem: Problem,
    groups: Groups,
    *,
    start: object = None,
    slopes: object = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    time_limit: float | None = None,
) -> FixedSolution:
    """Minimise over ReLU networks with given patterns: (2 D_g - I) X u_g >= 0 for every group.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and one of the losses squared, huber, logistic, hinge.
    groups : Groups
    start : (P, d) array, optional
        Coefficients to start from, which are projected on the cones.
    slopes : (n,) array, optional
        Slopes of the losses to start from: those of the same neighbour.
    tolerance : float, default 1e-6
        Relative duality gap that is enough.
    max_iterations : int, default 1000
        Newton steps.
    time_limit : float, optional
        Seconds.

    Returns
    -------
    FixedSolution
        After a KeyboardInterrupt the best so far, with status "interrupted".

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    return _solve(problem, groups, True, start, slopes, tolerance, max_iterations, time_limit)


def _solve(
    problem: Problem,
    groups: Groups,
    cones: bool,
    start: object,
    slopes: object,
    tolerance: float,
    max_iterations: int,
    time_limit: float | None,
) -> FixedSolution:
    accuracy = as_floats(tolerance, "tolerance", ArgumentError)
    if accuracy.ndim or not 0 < accuracy < 1:
        raise ArgumentError(f"tolerance must be a number between 0 and 1, got {tolerance!r:.80}")
    seconds = np.asarray(np.inf) if time_limit is None else as_floats(time_limit, "time_limit", ArgumentError)
    if seconds.ndim or not seconds > 0:
        raise ArgumentError(
            f"time_limit must be a positive number of seconds or None, got {time_limit!r:.80}"
        )
    most = as_count(max_iterations, "max_iterations")
    units = Units.of(problem)
    data = Grouped.prepare(units.reduced(problem), groups, cones)
    first = None if start is None else _as_start(start, "start", (len(data.groups), problem.x.shape[1]))
    dual = None if slopes is None else _as_start(slopes, "slopes", problem.y.shape)[data.counted]
    if first is not None:
        first = units.coefficients(first, back=True)
        first = first if data.back is None else first @ data.back.T
    if dual is not None:
        dual = units.slopes(dual, back=True)
    end = monotonic() + float(seconds)
    run = Run(data, first)
    status: Status
    try:
        status = run.advance(most, float(accuracy), lambda: monotonic() > end, dual)
    except KeyboardInterrupt:
        status = "interrupted"
    return _finish(run, data, problem, units, status)


def _as_start(start: object, name: str, shape: tuple[int, ...]) -> Floats:
    array = as_floats(start, name, ArgumentError)
    if array.shape != shape or not np.isfinite(array).all():
        raise ArgumentError(f"{name} must hold finite numbers in shape {shape}, got shape {array.shape}")
    return array


def _finish(run: Run, data: Grouped, problem: Problem, units: Units, status: Status) -> FixedSolution:
    """Evaluate the best point on all samples, after a last projection on its cones."""
    used = np.flatnonzero(run.u.any(1))
    chosen, u = run.working[used], run.u[used]
    violation = 0.0
    if data.cones:
        cones = Cones(data.rows, data.groups.gates[chosen])
        u = cones.project(u)[0]
        violation = float(cones.violation(u).max(initial=0.0))
    signs = data.groups.signs[chosen, None].astype(np.float64)
    fitted = units.slopes(np.asarray((data.groups.gates[chosen] * signs * (u @ data.rows.T)).sum(0)))
    norms = np.linalg.norm(u, axis=1)
    coefficients = np.zeros((len(data.groups), problem.x.shape[1]))
    coefficients[chosen] = units.coefficients(u if data.back is None else u @ data.back)
    slopes = problem.loss.slope(fitted, problem.y)
    slopes[data.counted] = units.slopes(run.slopes)
    # Losses are not negative.
    bound = units.values(max(run.bound, 0.0))
    return FixedSolution(
        coefficients=coefficients,
        fitted=fitted,
        slopes=slopes,
        objective=problem.primal(fitted, float(units.coefficients(norms).sum())),
        lower_bound=bound,
        violation=violation,
        iterations=run.iterations,
        status=status,
    )
