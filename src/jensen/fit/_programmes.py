"""The programmes that the estimators solve for one output: over all patterns, given ones, or given gates.

Each can be solved for several lambdas, from the solution for another one.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jensen.fit._arrangement import count_gates
from jensen.fit._fixed import solve_gated, solve_relu
from jensen.fit._generate import fit_network
from jensen.fit._losses import Floats
from jensen.fit._network import neurons_of
from jensen.fit._path import critical_regularisation
from jensen.fit._patterns import Gates
from jensen.fit._price_search import search_price
from jensen.fit._problem import Problem
from jensen.fit._result import Round
from jensen.fit._solution import Groups

_SEARCHES, _TOGETHER = 256, 16
"""Local searches for the lambda at which the network vanishes, and those between two looks at the clock."""
_MOMENT = 1e-3
"""Seconds that a solve gets at least."""
_ROUNDING = 1e-14
"""Correlations this small, relative to what they could be, are not in the data."""
_FEW_PATTERNS, _LOW_RANK = 1_000_000, 6
"""Where data have no more patterns and no higher rank, a proof over all directions takes seconds."""


@dataclass(frozen=True)
class Limits:
    """When to stop: relative gap, Newton steps, seconds."""

    tolerance: float
    max_iter: int
    seconds: float | None

    def shared(self, spent: float, left: int) -> float | None:
        """Seconds for the next of `left` solves after `spent` ones."""
        return None if self.seconds is None else max((self.seconds - spent) / left, _MOMENT)


@dataclass(frozen=True)
class Solved:
    """A network with one output, and what is known about it.

    Attributes
    ----------
    weights : (m, d) array
        Hidden weights, the bias last.
    outputs : (m,) array
    directions : (m, d) array or None
        Of the gates of gated neurons; None for ReLU neurons.
    objective, lower_bound : float
    iterations : int
    status : str
    start : object
        Where another lambda may start from: for the programme that made it.
    """

    weights: Floats
    outputs: Floats
    directions: Floats | None
    objective: float
    lower_bound: float
    iterations: int
    status: str
    start: object


class Programme(ABC):
    """A problem with everything but lambda and limits decided.

    Parameters
    ----------
    problem : Problem
        Its lambda plays no role.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def critical(self, deadline: float = np.inf) -> float:
        """Return the smallest lambda for which the network is zero; 1 where every lambda makes it so.

        Parameters
        ----------
        deadline : float
            On the clock of `time.perf_counter`, from when on what was found so far will do.
        """
        problem = self.problem
        signal = problem.pull(problem.loss.slope(np.zeros_like(problem.y), problem.y))
        largest = float(np.abs(signal) @ np.linalg.norm(problem.x, axis=1))
        price = self._price(signal, deadline)
        return price if price > _ROUNDING * largest else 1.0

    @abstractmethod
    def _price(self, signal: Floats, deadline: float) -> float:
        """Return the largest correlation of a neuron with a signal, that of the zero network."""

    @abstractmethod
    def solve(
        self,
        strength: float,
        start: object,
        limits: Limits,
        seconds: float | None,
        show: Callable[[str], None],
    ) -> Solved:
        """Solve for a lambda, from the `start` of another solution or from None."""


class AllPatterns(Programme):
    """Networks of any width with any patterns, by column generation.

    Parameters
    ----------
    problem : Problem
    certify : bool or "auto"
        Whether to prove a lower bound; "auto" where that is affordable, as far as it is.
    seed : int
    """

    def __init__(self, problem: Problem, certify: bool | str, seed: int) -> None:
        super().__init__(problem)
        n, d = problem.x.shape
        rank = min(n, d)
        affordable = rank <= _LOW_RANK and count_gates(n, rank) <= _FEW_PATTERNS
        self.certify: bool | Literal["auto"] = bool(certify)
        if isinstance(certify, str):
            self.certify = "auto" if affordable else False
        self.seed = seed

    def _price(self, signal: Floats, deadline: float) -> float:
        # The largest that local searches find; their seed is fixed.
        x, rng, price = self.problem.x, np.random.default_rng(0), 0.0
        for _ in range(_SEARCHES // _TOGETHER):
            best = search_price(x, signal, starts=_TOGETHER, rng=rng, count=1)
            price = max(price, float(np.abs(signal @ np.maximum(x @ best.T, 0)).max(initial=0.0)))
            if time.perf_counter() > deadline:
                break
        return price

    def solve(
        self,
        strength: float,
        start: object,
        limits: Limits,
        seconds: float | None,
        show: Callable[[str], None],
    ) -> Solved:
        """Train from a network (weights, outputs), or from a random one."""

        def tell(line: Round) -> None:
            show(f"objective {line.objective:.6g}, {line.neurons} neurons, {line.excess:.1e} above lambda")

        fit = fit_network(
            replace(self.problem, regularisation=strength),
            tolerance=limits.tolerance,
            certify=self.certify,
            start=start if isinstance(start, tuple) and len(start[1]) else None,
            time_limit=seconds,
            seed=self.seed,
            progress=tell,
        )
        return Solved(
            weights=fit.weights,
            outputs=fit.outputs,
            directions=None,
            objective=fit.objective,
            lower_bound=fit.lower_bound,
            iterations=len(fit.history),
            status=fit.status,
            start=(fit.weights, fit.outputs),
        )


class GivenPatterns(Programme):
    """ReLU networks with given patterns: with cone constraints.

    Parameters
    ----------
    problem : Problem
    gates : (P, n) bool array
    """

    def __init__(self, problem: Problem, gates: Gates) -> None:
        super().__init__(problem)
        self.groups = Groups.both_signs(gates)

    def _price(self, signal: Floats, deadline: float) -> float:
        return critical_regularisation(self.problem, self.groups, True)

    def solve(
        self,
        strength: float,
        start: object,
        limits: Limits,
        seconds: float | None,
        show: Callable[[str], None],
    ) -> Solved:
        """Solve from coefficients (2 P, d), or from zero."""
        show(f"{len(self.groups) // 2} patterns, {len(self.problem.y)} samples")
        found = solve_relu(
            replace(self.problem, regularisation=strength),
            self.groups,
            start=start,
            tolerance=limits.tolerance,
            max_iterations=limits.max_iter,
            time_limit=seconds,
        )
        weights, outputs = neurons_of(found.coefficients, self.groups.signs)
        return Solved(
            weights=weights,
            outputs=outputs,
            directions=None,
            objective=found.objective,
            lower_bound=found.lower_bound,
            iterations=found.iterations,
            status=found.status,
            start=found.coefficients,
        )


class GivenGates(Programme):
    """Gated networks: neurons that are switched by given directions.

    Parameters
    ----------
    problem : Problem
    directions : (P, d) array
        Of several that make the same gate the first is taken, and of those that make the empty gate none.
    """

    def __init__(self, problem: Problem, directions: Floats) -> None:
        super().__init__(problem)
        gates = directions @ problem.x.T > 0
        _, first = np.unique(np.packbits(gates, axis=1), axis=0, return_index=True)
        chosen = np.sort(first)
        chosen = chosen[gates[chosen].any(1)]
        self.directions = directions[chosen]
        self.groups = Groups(gates[chosen], np.ones(len(chosen), dtype=np.int8))

    def _price(self, signal: Floats, deadline: float) -> float:
        return critical_regularisation(self.problem, self.groups, False)

    def solve(
        self,
        strength: float,
        start: object,
        limits: Limits,
        seconds: float | None,
        show: Callable[[str], None],
    ) -> Solved:
        """Solve from coefficients (P, d), or from zero."""
        show(f"{len(self.groups)} gates, {len(self.problem.y)} samples")
        found = solve_gated(
            replace(self.problem, regularisation=strength),
            self.groups,
            start=start,
            tolerance=limits.tolerance,
            max_iterations=limits.max_iter,
            time_limit=seconds,
        )
        weights, outputs = neurons_of(found.coefficients, self.groups.signs)
        return Solved(
            weights=weights,
            outputs=outputs,
            directions=self.directions[found.coefficients.any(1)],
            objective=found.objective,
            lower_bound=found.lower_bound,
            iterations=found.iterations,
            status=found.status,
            start=found.coefficients,
        )
