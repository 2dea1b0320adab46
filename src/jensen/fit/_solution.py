"""What a solver for a fixed set of neurons' activation patterns returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.network._numbers import as_floats

Status: TypeAlias = Literal["optimal", "time_limit", "iteration_limit", "interrupted", "inaccurate"]


@dataclass(frozen=True)
class Groups:
    """Activation patterns, each with the sign of the output weights of its neurons.

    A group contributes sign * D X u to the outputs, with D = diag(gate). With cone constraints
    (2D - I) X u >= 0 it holds every neuron that is active on the gate's samples and inactive on the others.
    Gated networks have no constraints, and one group of sign 1 for each gate.

    Attributes
    ----------
    gates : (P, n) bool array
    signs : (P,) int8 array
        1 or -1.

    Raises
    ------
    ArgumentError
        If they are anything else.
    """

    gates: NDArray[np.bool_]
    signs: NDArray[np.int8]

    def __post_init__(self) -> None:
        gates, signs = np.asarray(self.gates), as_floats(self.signs, "signs of groups", ArgumentError)
        fits = gates.ndim == 2 and gates.dtype == np.bool_ and signs.shape == gates.shape[:1]
        if not fits or not np.isin(signs, (-1, 1)).all():
            raise ArgumentError(
                f"groups must have bool gates of shape (P, n) and P signs, 1 or -1, got gates {gates.dtype} "
                f"{gates.shape} and signs of shape {signs.shape}"
            )
        object.__setattr__(self, "gates", gates)
        object.__setattr__(self, "signs", signs.astype(np.int8))

    def __len__(self) -> int:
        return len(self.signs)

    @classmethod
    def both_signs(cls, gates: NDArray[np.bool_]) -> Groups:
        """Make a group of each sign for every gate: all positive ones first."""
        one = np.ones(len(gates), dtype=np.int8)
        return cls(np.concatenate([gates, gates]), np.concatenate([one, -one]))


@dataclass(frozen=True)
class FixedSolution:
    """A minimiser over a fixed set of groups, and the dual point that proves it.

    Attributes
    ----------
    coefficients : (P, d) float64 array
        u of every group; exactly 0 where a group is not used. With cone constraints every u satisfies
        (2D - I) X u >= 0 up to `violation`.
    fitted : (n,) float64 array
        Outputs sum sign D X u.
    slopes : (n,) float64 array
        Slopes of the losses: a dual point, feasible for these groups up to the factor that
        `Problem.scaled_dual` takes away.
    objective, lower_bound : float
        The lower bound holds for these groups, in float64; it says nothing about other patterns.
    violation : float
        Largest violation of a cone constraint, relative to |x_j| |u|; 0 for gated networks.
    iterations : int
    status : str
    """

    coefficients: Floats
    fitted: Floats
    slopes: Floats
    objective: float
    lower_bound: float
    violation: float
    iterations: int
    status: Status

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective where that is positive."""
        return (self.objective - self.lower_bound) / max(abs(self.objective), 1e-300)
