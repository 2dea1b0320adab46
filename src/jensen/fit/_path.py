"""Regularisation paths over a fixed set of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._fixed import solve_gated, solve_relu
from jensen.fit._grouped import group_prices
from jensen.fit._problem import Problem
from jensen.fit._solution import FixedSolution, Groups
from jensen.network._numbers import as_floats


def critical_regularisation(problem: Problem, groups: Groups, cones: bool) -> float:
    """Return the smallest lambda for which all coefficients are zero.

    Parameters
    ----------
    problem : Problem
        With scalar outputs; its lambda plays no role.
    groups : Groups
    cones : bool
        Whether coefficients are restricted to the cones of the gates.

    Raises
    ------
    ArgumentError
        If loss or shapes do not fit.
    """
    slopes = problem.loss.slope(np.zeros_like(problem.y), problem.y)
    return float(group_prices(problem, groups, slopes, cones).max(initial=0.0))


def regularisation_path(
    problem: Problem,
    groups: Groups,
    lambdas: Sequence[float],
    cones: bool,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    time_limit: float | None = None,
) -> list[FixedSolution]:
    """Solve for several lambdas, each from the solution before it: falling lambdas are fastest.

    Parameters
    ----------
    problem : Problem
        Its lambda plays no role.
    groups : Groups
    lambdas : sequence of float
    cones : bool
    tolerance, max_iterations, time_limit
        Of every solve; see `solve_relu`.

    Returns
    -------
    list of FixedSolution
        One for each lambda; fewer after an interruption, the last of which has status "interrupted".

    Raises
    ------
    ArgumentError
        If lambdas are not positive, or as `solve_relu`.
    """
    strengths = as_floats(lambdas, "lambdas", ArgumentError)
    if strengths.ndim != 1 or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise ArgumentError("lambdas must be a sequence of positive numbers")
    solve = solve_relu if cones else solve_gated
    found: list[FixedSolution] = []
    for strength in strengths.tolist():
        found.append(
            solve(
                replace(problem, regularisation=strength),
                groups,
                start=found[-1].coefficients if found else None,
                slopes=found[-1].slopes if found else None,
                tolerance=tolerance,
                max_iterations=max_iterations,
                time_limit=time_limit,
            )
        )
        if found[-1].status == "interrupted":
            break
    return found
