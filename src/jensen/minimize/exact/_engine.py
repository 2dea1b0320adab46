"""What methods of exact minimisation have in common; the walk and the programme as one method."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from jensen.certify._progress import Clock
from jensen.errors import JensenError
from jensen.minimize.exact._lp import EpigraphLP
from jensen.minimize.posed._polyhedron import Polyhedron
from jensen.minimize.posed._result import Minimum
from jensen.minimize.walk._compiled import is_compiled
from jensen.network import FloatArray, ReLUNetwork

COMPILING = 35.0
"""Seconds that compiling the walk takes, once per machine."""


class Engine(Protocol):
    """Minimises f(y) + slope . y + (curvature / 2) |y|^2 over one domain, for many slopes and curvatures."""

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
    ) -> Minimum:
        """Minimise with this slope and curvature added.

        Parameters
        ----------
        slope : (n,) array, optional
        curvature : float, default 0.0
        start : (n,) array, optional
            Where to begin; by default where the last solution was, unless that is far.
        gap : float
            Relative to max(1, |value|): a larger one is reported as "inaccurate".
        clock : Clock, optional
        progress : callable, optional
            Called with the best so far.
        """


class Exact:
    """The walk for input convex networks, with linear programmes for what it cannot do, or not yet.

    Compiling the walk takes longer than most linear programmes. So until it has been compiled these do its
    work, for as long as compiling would take: then it was worth while. They also take over where rounding
    keeps the walk from its gap.

    Parameters
    ----------
    network : ReLUNetwork
        With nonnegative weights on hidden neurons.
    inside : Polyhedron
    """

    spent: ClassVar[float] = 0.0
    """Seconds that linear programmes took in place of the walk, in this process."""

    def __init__(self, network: ReLUNetwork, inside: Polyhedron) -> None:
        self._network, self._inside = network, inside
        self._walker: Engine | None = None
        self._programme: EpigraphLP | None = None

    def solve(
        self,
        slope: FloatArray | None = None,
        curvature: float = 0.0,
        start: FloatArray | None = None,
        gap: float = 1e-6,
        clock: Clock | None = None,
        progress: Callable[[Minimum], None] | None = None,
    ) -> Minimum:
        """Minimise with this slope and curvature added; see `Engine`."""
        clock = clock or Clock(None)
        tried: Minimum | None = None
        if self._walker is None and not curvature and not is_compiled():
            left = COMPILING - Exact.spent
            if left > 0 or clock.left < COMPILING:
                short = clock.left < COMPILING
                tried = self._by_programme(slope, start, gap, clock if short else Clock(left), progress)
                if tried is not None:
                    Exact.spent += tried.seconds
                    if short or tried.status not in ("time_limit", "inaccurate"):
                        return tried
        if self._walker is None:
            from jensen.minimize.walk._walker import Walker  # compiled code: only loaded where it is used

            self._walker = Walker(self._network, self._inside)
        near = start if tried is None else tried.point
        found = self._walker.solve(slope, curvature, near, gap, clock, progress)
        if found.status == "inaccurate" and not curvature:
            other = self._by_programme(slope, found.point, gap, clock, progress)
            if other is not None and (
                other.status in ("optimal", "unbounded", "infeasible") or not other.gap >= found.gap
            ):
                return other
        return found

    def _by_programme(
        self,
        slope: FloatArray | None,
        start: FloatArray | None,
        gap: float,
        clock: Clock,
        progress: Callable[[Minimum], None] | None,
    ) -> Minimum | None:
        """Solve the linear programme; None where its numbers are beyond HiGHS."""
        try:
            if self._programme is None:
                self._programme = EpigraphLP(self._network, self._inside)
            return self._programme.solve(slope, 0.0, start, gap, clock, progress)
        except JensenError:
            return None  # the walk takes any numbers
