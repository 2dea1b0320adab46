"""How far above lambda the price may be for a dual point to prove a network optimal to a tolerance."""

from __future__ import annotations

import math

from jensen.fit._losses import Floats
from jensen.fit._problem import Problem

_LEAST = 1e-12
_STEPS = 12


def allowed_excess(problem: Problem, slopes: Floats, value: float, tolerance: float) -> float:
    """Return an e such that a price of (1 + e) lambda leaves half of the gap that the tolerance allows.

    The dual point has to be shortened by 1 / (1 + e). What that costs is found by trying: near the zero
    network it is of second order in e for smooth losses, and it is steep where slopes are at the border of
    their domain.

    Parameters
    ----------
    problem : Problem
    slopes : (n,) array
        The dual point.
    value : float
        The network's objective.
    tolerance : float
        Relative gap.

    Returns
    -------
    float
        Between 1e-12 and 1. Where the gap is too large even at the price lambda, what adds half of the
        tolerance to it.
    """

    def gap(excess: float) -> float:
        return value - problem.scaled_dual(slopes, problem.regularisation * (1 + excess))[0]

    missing, whole = max(gap(0.0), 0.0), tolerance * value
    most = missing + 0.5 * (whole - missing if missing < whole else whole)
    low, high = math.log(_LEAST), 0.0
    if gap(1.0) <= most:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(math.exp(middle)) <= most else (low, middle)
    return math.exp(low)
