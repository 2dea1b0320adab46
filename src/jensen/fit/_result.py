"""What training to global optimality returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from jensen.fit._certified import certified_dual, certified_objective
from jensen.fit._losses import Floats
from jensen.fit._network import to_torch
from jensen.fit._problem import Problem
from jensen.fit._rows import as_rows

if TYPE_CHECKING:
    from torch import nn

FitStatus: TypeAlias = Literal["optimal", "uncertified", "time_limit", "interrupted", "stalled"]


@dataclass(frozen=True)
class Round:
    """One round of column generation.

    Attributes
    ----------
    objective : float
        Of the best network so far.
    lower_bound : float
        Of the optimum over all networks: the best that is proved so far.
    excess : float
        Largest price that was found, divided by lambda, minus 1: what the local search says; at most 0 says
        that no neuron is missing.
    groups, neurons : int
        Groups in the programme, and those in use.
    seconds : float
        Since the start.
    """

    objective: float
    lower_bound: float
    excess: float
    groups: int
    neurons: int
    seconds: float


@dataclass(frozen=True)
class Fit:
    """A trained network, and what is proved about it.

    Attributes
    ----------
    problem : Problem
    weights : (m, d) float64 array
        Hidden neurons w_i.
    outputs : (m,) float64 array
        Output weights a_i, with |a_i| = |w_i| up to rounding.
    objective : float
        The objective of this network, rounded up.
    lower_bound : float
        No network of any width has a smaller objective; rounded down.
    slopes : (n,) float64 array
        The dual point that proves it.
    price : float
        An upper bound of |r' relu(X w)| over |w| <= 1 for r = `problem.pull(slopes)`.
    status : str
        "optimal": the gap is at most the tolerance. "uncertified": no neuron is missing as far as the
        local search can tell, and no proof was asked for, or it was given up. "stalled": neither could the
        objective be lowered nor the bound be raised further. "time_limit", "interrupted".
    history : tuple of Round
    seconds : float
    """

    problem: Problem = field(repr=False)
    weights: Floats = field(repr=False)
    outputs: Floats = field(repr=False)
    objective: float
    lower_bound: float
    slopes: Floats = field(repr=False)
    price: float
    status: FitStatus
    history: tuple[Round, ...] = field(repr=False)
    seconds: float

    @property
    def n_neurons(self) -> int:
        """Number of hidden neurons."""
        return len(self.outputs)

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective: in [0, 1]."""
        if self.objective <= self.lower_bound:
            return 0.0
        return (self.objective - self.lower_bound) / self.objective

    def predict(self, x: object) -> Floats:
        """Evaluate the network.

        Parameters
        ----------
        x : (n, d) array

        Returns
        -------
        (n,) float64 array

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, self.weights.shape[1])
        return np.asarray(np.maximum(data @ self.weights.T, 0) @ self.outputs)

    def to_torch(self, *, bias: bool = False) -> nn.Module:
        """Make the network a `torch.nn.Sequential`; see `jensen.fit.to_torch`.

        Parameters
        ----------
        bias : bool, default False
            The last column of X is of ones and becomes the first layer's bias.
        """
        return to_torch(self.weights, self.outputs, bias=bias)

    def replay(self) -> tuple[float, float]:
        """Compute objective and lower bound again, rigorously, from the network, slopes and price.

        Returns
        -------
        objective, lower_bound : floats
            They rest on nothing but the price; `jensen.fit.bound_price` bounds that again.
        """
        return (
            certified_objective(self.problem, self.weights, self.outputs),
            certified_dual(self.problem, self.slopes, self.price),
        )
