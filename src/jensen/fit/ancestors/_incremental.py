"""Networks that grow by one unit at a time (Bengio, Le Roux, Vincent, Delalleau and Marcotte, NIPS 2005).

Theirs: hinge loss, l1 norm on the output weights, units that are linear thresholds; the unit that is
added is the linear classifier with the least weighted error, weighted by the slopes of the losses; then
all output weights are optimised (a linear programme), and training ends when no unit's correlation with
the slopes exceeds lambda. In their terms the search for the unit is exact in two dimensions and heuristic
beyond.

Ours: the search is exact as long as all cells can be listed, whatever the dimension; ReLU units too, of
unit length, so that the problem is the one of this package, with prices proved by branch and bound; the
other losses; and a lower bound of the objective, from the dual of the linear programme.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy

import numpy as np
from scipy.optimize import linprog

from jensen.errors import ArgumentError
from jensen.fit._certified import clip_slopes, require_scalar
from jensen.fit._losses import Floats, Hinge
from jensen.fit._price_bound import bound_price
from jensen.fit._price_search import search_price
from jensen.fit._problem import Problem
from jensen.fit.ancestors._frank_wolfe import fit_coefficients
from jensen.fit.ancestors._line import AncestorFit, AncestorStatus, Line, Units
from jensen.fit.ancestors._sign_units import SignOracle, sign_outputs
from jensen.network._numbers import as_count, as_floats

_STARTS = 64
_PROOF = 1.0
"""Seconds that a proof gets at least."""


def _linear_programme(problem: Problem, hidden: Floats) -> tuple[Floats, Floats]:
    """Minimise hinge losses plus lambda sum_i c_i over c >= 0; coefficients and slopes of the losses."""
    n, m = hidden.shape
    used = problem.weights > 0
    found = linprog(
        np.concatenate([np.full(m, problem.regularisation), problem.weights]),
        A_ub=np.concatenate([-problem.y[:, None] * hidden, -np.eye(n)], axis=1),
        b_ub=-np.ones(n),
        bounds=[(0.0, None)] * (m + n),
        method="highs",
    )
    if found.status != 0 or found.x is None:
        raise ArgumentError(f"the linear programme of the output weights was not solved: {found.message}")
    slopes = np.zeros(n)
    slopes[used] = problem.y[used] * found.ineqlin.marginals[used] / problem.weights[used]
    return np.maximum(found.x[:m], 0.0), clip_slopes(problem, slopes)


class _Growth:
    """Units with signed columns, and the oracle that finds more."""

    def __init__(self, problem: Problem, units: Units, seed: int) -> None:
        self.problem, self.units = problem, units
        self.rng = np.random.default_rng(seed)
        self.oracle = SignOracle(problem.x, self.rng) if units == "sign" else None
        self.weights, self.signs = np.zeros((0, problem.x.shape[1])), np.zeros(0)
        self.hidden, self.c = np.zeros((len(problem.y), 0)), np.zeros(0)

    def outputs(self, w: Floats) -> Floats:
        """Evaluate a unit on the data."""
        if self.units == "sign":
            return np.asarray(sign_outputs(self.problem.x, w[None])[:, 0])
        return np.maximum(self.problem.x @ w, 0)

    def add(self, w: Floats, sign: float) -> bool:
        """Add a unit unless its column is there."""
        column = sign * self.outputs(w)[:, None]
        if (np.abs(self.hidden - column).max(0, initial=0.0) <= 1e-13 * np.abs(column).max()).any():
            return False
        self.weights = np.concatenate([self.weights, w[None]])
        self.signs, self.c = np.append(self.signs, sign), np.append(self.c, 0.0)
        self.hidden = np.concatenate([self.hidden, column], axis=1)
        return True

    def optimise(self) -> Floats:
        """Optimise all output weights; the slopes of the losses."""
        problem = self.problem
        if isinstance(problem.loss, Hinge):
            self.c, slopes = _linear_programme(problem, self.hidden)
            return slopes
        if len(self.c):
            self.c = fit_coefficients(problem, self.hidden, self.c)
        return clip_slopes(problem, problem.loss.slope(self.hidden @ self.c, problem.y))

    def find(self, signal: Floats) -> tuple[Floats, float, bool]:
        """Return a unit, the correlation, and whether there is none with a larger one."""
        if self.oracle is not None:
            return *self.oracle.best(signal), self.oracle.exact
        found = search_price(
            self.problem.x, signal, starts=_STARTS, rng=self.rng, count=1, seeds=self.weights
        )
        if not len(found):
            return np.zeros(self.problem.x.shape[1]), 0.0, False
        return found[0], float(abs(signal @ np.maximum(self.problem.x @ found[0], 0))), False

    def prove(self, signal: Floats, tolerance: float, w: Floats, deadline: float) -> tuple[float, Floats]:
        """Bound the price of ReLU units; the bound, and the best unit (w if there is none)."""
        bound = bound_price(
            self.problem.x,
            signal,
            threshold=self.problem.regularisation,
            tolerance=tolerance,
            count=0,
            time_limit=max(_PROOF, deadline - time.perf_counter()) if np.isfinite(deadline) else None,
            seeds=self.weights,
        )
        return bound.upper, bound.neurons[0] if len(bound.neurons) else w

    def value(self) -> float:
        """Objective."""
        return self.problem.primal(np.asarray(self.hidden @ self.c), float(self.c.sum()))


def fit_incremental(
    problem: Problem,
    *,
    units: Units = "relu",
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    time_limit: float | None = None,
    seed: int = 0,
    progress: Callable[[Line], object] | None = None,
) -> AncestorFit:
    """Train a network with one hidden layer by adding a unit at a time.

    Ctrl-C ends the training with the network of the last whole step.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and one of the losses hinge (theirs), squared, huber, logistic. A bias is a
        column of ones in X.
    units : {"relu", "sign"}, default "relu"
        Sign units are theirs; they are penalised by lambda sum |a_i|.
    tolerance : float, default 1e-6
        Relative gap at which to stop.
    max_iterations : int, default 1000
    time_limit : float, optional
        Seconds.
    seed : int, default 0
    progress : callable, optional
        Called with a `Line` after every unit.

    Returns
    -------
    AncestorFit
        Its lower bound is over all sign units, or all ReLU networks.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    require_scalar(problem)
    if units not in ("relu", "sign"):
        raise ArgumentError(f"units must be 'relu' or 'sign', got {units!r:.80}")
    wanted = as_floats(tolerance, "tolerance", ArgumentError)
    if wanted.ndim or not 0 < wanted < np.inf:
        raise ArgumentError(f"tolerance must be a positive number, got {tolerance!r:.80}")
    most = as_count(max_iterations, "max_iterations")
    begin = time.perf_counter()
    deadline = begin + (np.inf if time_limit is None else time_limit)
    growth, history = _Growth(problem, units, as_count(seed, "seed", 0)), []
    lower = 0.0
    status: AncestorStatus = "iteration_limit"
    kept = copy(growth)
    try:
        for _ in range(most):
            kept = copy(growth)
            slopes = growth.optimise()
            signal, value = problem.pull(slopes), growth.value()
            w, price, exact = growth.find(signal)
            if exact:
                lower = max(lower, problem.scaled_dual(slopes, price)[0])
            line = Line(value, lower, int((growth.c > 0).sum()), time.perf_counter() - begin)
            history.append(line)
            if progress is not None:
                progress(line)
            closed = value - problem.scaled_dual(slopes, price)[0] <= float(wanted) * value
            if closed and units == "relu":
                upper, w = growth.prove(signal, 0.1 * float(wanted), w, deadline)
                lower = max(lower, problem.scaled_dual(slopes, upper)[0])
            if value - lower <= float(wanted) * value:
                status = "optimal"
                break
            if time.perf_counter() > deadline:
                status = "time_limit"
                break
            if not growth.add(w, -1.0 if signal @ growth.outputs(w) > 0 else 1.0):
                status = "uncertified" if closed else "stalled"
                break
    except KeyboardInterrupt:
        status, growth = "interrupted", kept
    if status not in ("optimal", "interrupted") and units == "relu":
        slopes = growth.optimise()
        upper, _ = growth.prove(problem.pull(slopes), float(wanted), w, deadline)
        lower = max(lower, problem.scaled_dual(slopes, upper)[0])
    used = growth.c > 0
    return AncestorFit(
        problem=problem,
        units=units,
        weights=growth.weights[used],
        outputs=(growth.signs * growth.c)[used],
        objective=growth.value(),
        lower_bound=lower,
        status=status,
        history=tuple(history),
        seconds=time.perf_counter() - begin,
    )
