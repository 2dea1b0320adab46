"""What a minimisation found: a point, its value, and how much lower the function could be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from jensen.network import FloatArray

Status: TypeAlias = Literal["optimal", "infeasible", "unbounded", "time_limit", "interrupted", "inaccurate"]


@dataclass(frozen=True, eq=False)
class Minimum:
    """The answer of `jensen.minimize.argmin`.

    Attributes
    ----------
    point : (n,) array
        The best point found; NaN if the domain is empty.
    value : float
        The function there, in float64; +inf if the domain is empty, -inf if it is unbounded below.
    lower_bound : float
        No point of the domain has a smaller value. It is computed from an affine function (methods "walk" and
        "lp") or from cuts that lie below f, in float64 and less all rounding errors of that computation; the
        solver is not trusted. Along variables that the domain leaves unbounded it covers the points within
        1000 max(1, |point|) of `point`, where a slope of rounding size is left over, and is -inf where more
        is. For functions that are no ReLU networks it rests on their own values and gradients, rounded as
        torch rounds them.
    iterations : int
        Rounds of the walk, pivots of the simplex method, or cuts.
    method : {"walk", "lp", "cuts"}
    status : {"optimal", "infeasible", "unbounded", "time_limit", "interrupted", "inaccurate"}
        "optimal": the gap asked for was reached. "inaccurate": the method ended, but rounding errors leave a
        larger gap.
    seconds : float
    ray : (n,) array or None
        For "unbounded": the function falls without end along point + t ray.
    """

    point: FloatArray
    value: float
    lower_bound: float
    iterations: int
    method: str
    status: Status
    seconds: float
    ray: FloatArray | None = None

    @property
    def gap(self) -> float:
        """Value less lower bound, at least 0; NaN where both are infinite."""
        if np.isinf(self.value):
            return float("nan")
        return max(self.value - self.lower_bound, 0.0)

    @property
    def relative_gap(self) -> float:
        """The gap divided by max(1, |value|)."""
        return self.gap / max(1.0, abs(self.value))


def empty_domain(n: int, method: str, seconds: float) -> Minimum:
    """Report that no point is feasible."""
    return Minimum(np.full(n, np.nan), np.inf, np.inf, 0, method, "infeasible", seconds)
