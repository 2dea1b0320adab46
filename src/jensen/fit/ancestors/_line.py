"""What the ancestors return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from jensen.fit._losses import Floats
from jensen.fit._problem import Problem

Units: TypeAlias = Literal["relu", "sign"]
AncestorStatus: TypeAlias = Literal[
    "optimal", "uncertified", "time_limit", "iteration_limit", "stalled", "interrupted"
]


@dataclass(frozen=True)
class Line:
    """One iteration.

    Attributes
    ----------
    objective, lower_bound : float
        The best so far.
    neurons : int
    seconds : float
        Since the start.
    """

    objective: float
    lower_bound: float
    neurons: int
    seconds: float


@dataclass(frozen=True)
class AncestorFit:
    """A network trained by one of the ancestors.

    Attributes
    ----------
    problem : Problem
    units : str
        "relu" or "sign": the outputs are sum_i a_i relu(x . w_i), or sum_i a_i s(x . w_i) with
        s(t) = 1 for t > 0 and -1 otherwise.
    weights : (m, d) float64 array
        Unit vectors for ReLU units.
    outputs : (m,) float64 array
    objective, lower_bound : float
        Of losses and lambda sum |w_i| |a_i| for ReLU, lambda sum |a_i| for sign units; in float64, but
        the lower bound rests on a proved bound of the price. 0 if nothing was proved.
    status : str
        "uncertified": the search finds no unit to add, and no proof was asked for or possible.
    history : tuple of Line
    seconds : float
    """

    problem: Problem
    units: Units
    weights: Floats
    outputs: Floats
    objective: float
    lower_bound: float
    status: AncestorStatus
    history: tuple[Line, ...]
    seconds: float

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective."""
        return (self.objective - self.lower_bound) / self.objective if self.objective > 0 else 0.0
