"""Conjugates and proximal maps, exact and one point after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jensen.certify import Verdict
from jensen.errors import ArgumentError
from jensen.minimize._arguments import as_domain
from jensen.minimize.exact._argmin import METHODS, Method, make_engine
from jensen.minimize.posed._polyhedron import polyhedron
from jensen.minimize.posed._problem import pose
from jensen.minimize.posed._result import Minimum, Status
from jensen.network import Domain, FloatArray
from jensen.network._numbers import as_floats, as_positive


@dataclass(frozen=True, eq=False)
class Batch:
    """The answers to a batch of problems.

    Attributes
    ----------
    point : (batch, n) array
        Where the supremum or infimum is taken; NaN where the domain is empty, any point where it is infinite.
    value : (batch,) array
        Of the conjugate or of the envelope there.
    gap : (batch,) array
        How far the value may be from the supremum or infimum, proved as in `Minimum.lower_bound`.
    status : tuple of str
        As in `Minimum`; "unbounded" where a conjugate is infinite.
    iterations : int
        Of all together.
    seconds : float
    """

    point: FloatArray
    value: FloatArray
    gap: FloatArray
    status: tuple[Status, ...]
    iterations: int
    seconds: float


class _Map:
    """Many problems with one function: min f(y) + slope . y + (curvature / 2) |y|^2."""

    def __init__(
        self,
        f: Any,
        domain: Domain | None,
        x: Any,
        method: Method,
        gap: float,
        assume_convex: bool,
        verdict: Verdict | None,
        curvature: float,
    ) -> None:
        if method not in METHODS:
            raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r:.80}")
        gap, where = as_positive(gap, "gap"), as_domain(domain)
        self.problem = pose(f, where, x, assume_convex, verdict)
        self.inside = polyhedron(where, self.problem.size)
        self.curvature, self.gap = self.problem.curvature + curvature, gap
        self.engine = make_engine(self.problem, self.inside, method)

    def rows(self, values: ArrayLike, what: str) -> FloatArray:
        """Read a batch of vectors, or one."""
        given = as_floats(values, what, ArgumentError)
        size, shape = self.problem.size, self.problem.shape
        if given.shape in ((size,), shape):
            given = given.reshape(1, size)
        if given.shape[1:] not in ((size,), shape):
            raise ArgumentError(f"{what} must have the shape (batch, {size}), got {given.shape}")
        if not np.isfinite(given).all():
            raise ArgumentError(f"{what} must be finite, and some are not")
        return np.ascontiguousarray(given.reshape(len(given), size))

    def solve(self, slopes: FloatArray) -> list[Minimum]:
        """Solve for each slope, each beginning with what the last one left."""
        solved: list[Minimum] = []
        for slope in slopes:
            solved.append(self.engine.solve(slope, self.curvature, gap=self.gap))
            if solved[-1].status == "interrupted":
                raise KeyboardInterrupt  # the engine stops at the first; the caller wants all to stop
        return solved

    def batch(self, solved: list[Minimum], value: FloatArray) -> Batch:
        """Put the answers side by side."""
        return Batch(
            np.array([m.point for m in solved]).reshape(len(solved), self.problem.size),
            value,
            np.array([m.gap for m in solved]),
            tuple(m.status for m in solved),
            sum(m.iterations for m in solved),
            sum(m.seconds for m in solved),
        )


class ExactConjugate(_Map):
    """The convex conjugate of a network; made by `exact_conjugate`."""

    def __call__(self, slopes: ArrayLike) -> Batch:
        """Compute sup over y of slope . y - f(y) for each slope.

        Parameters
        ----------
        slopes : (batch, n) array

        Returns
        -------
        Batch
            Its points are (sub)gradients of the conjugate.

        Raises
        ------
        ArgumentError
            If the slopes have another shape or are not finite.
        """
        solved = self.solve(-self.rows(slopes, "slopes"))
        return self.batch(solved, np.array([-m.value for m in solved]))


class ExactProx(_Map):
    """The proximal map of a network; made by `exact_prox`."""

    def __call__(self, points: ArrayLike) -> Batch:
        """Compute the minimiser over y of f(y) + |y - point|^2 / (2 step) for each point.

        Parameters
        ----------
        points : (batch, n) array

        Returns
        -------
        Batch
            Its values are those of the Moreau envelope.

        Raises
        ------
        ArgumentError
            If the points have another shape or are not finite.
        """
        given = self.rows(points, "points")
        weight = self.curvature - self.problem.curvature
        solved = self.solve(-weight * given)
        shift = 0.5 * weight * (given * given).sum(axis=1)
        return self.batch(solved, np.array([m.value for m in solved]) + shift)


def exact_conjugate(
    f: Any,
    domain: Domain | None = None,
    x: Any = None,
    *,
    method: Method = "auto",
    gap: float = 1e-6,
    assume_convex: bool = False,
    verdict: Verdict | None = None,
) -> ExactConjugate:
    """Make the convex conjugate f*(s) = sup over y in the domain of s . y - f(y), exactly.

    Parameters
    ----------
    f, domain, x, method, gap, assume_convex, verdict
        As for `argmin`.

    Returns
    -------
    ExactConjugate
        A function of slopes (batch, n); what it found for one slope is where the next begins.

    Raises
    ------
    NotConvexError, ArgumentError, DomainError, NetworkError, UnsupportedOperatorError, ModelFileError
        As `argmin` does.
    """
    return ExactConjugate(f, domain, x, method, gap, assume_convex, verdict, 0.0)


def exact_prox(
    f: Any,
    step: float,
    domain: Domain | None = None,
    x: Any = None,
    *,
    method: Method = "auto",
    gap: float = 1e-6,
    assume_convex: bool = False,
    verdict: Verdict | None = None,
) -> ExactProx:
    """Make the proximal map p -> argmin over y in the domain of f(y) + |y - p|^2 / (2 step), exactly.

    Parameters
    ----------
    step : float
        Positive.
    f, domain, x, method, gap, assume_convex, verdict
        As for `argmin`.

    Returns
    -------
    ExactProx
        A function of points (batch, n).

    Raises
    ------
    NotConvexError, ArgumentError, DomainError, NetworkError, UnsupportedOperatorError, ModelFileError
        As `argmin` does.
    """
    weight = 1.0 / as_positive(step, "step")
    return ExactProx(f, domain, x, method, gap, assume_convex, verdict, weight)
