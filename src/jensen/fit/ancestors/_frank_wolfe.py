"""Conditional gradients over infinitely many neurons.

After Bach, "Breaking the curse of dimensionality with convex neural networks" (JMLR 2017).

The functions sum_i c_i (+-relu(x . w_i)), |w_i| = 1, c_i >= 0, with variation norm tau = sum_i c_i form a
cone; losses plus lambda tau are minimised over its points with tau <= T, where T = F(0) / lambda cuts
nothing off that is better than zero (the penalty as a linear term over the epigraph: Harchaoui, Juditsky
and Nemirovski 2015). The linear subproblem is the pricing of neurons, max |r' relu(X w)|; its answer is
one neuron a step.

Steps: "plain", towards the neuron found (or 0); "away", those or away from the worst neuron in use;
"corrective", all coefficients optimised after every neuron. In the paper the norm is constrained rather
than penalised, and the subproblem is left open; here it is searched locally, and proved at the end by
branch and bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from jensen.errors import ArgumentError
from jensen.fit._certified import certified_dual, clip_slopes, require_scalar
from jensen.fit._losses import Floats
from jensen.fit._price_bound import bound_price
from jensen.fit._price_search import search_price
from jensen.fit._problem import Problem
from jensen.fit.ancestors._line import AncestorFit, AncestorStatus, Line
from jensen.network._numbers import as_count, as_floats

Step: TypeAlias = Literal["plain", "away", "corrective"]

_STARTS = 16
_THOROUGH = 256
"""Local searches before neurons are held to be complete."""
_TINY = 1e-12
"""Share of T below which a neuron is dropped by a step away from it."""


def fit_coefficients(problem: Problem, hidden: Floats, start: Floats) -> Floats:
    """Minimise losses plus lambda sum_i c_i over c >= 0, for outputs `hidden` c.

    By projected L-BFGS; for smooth losses.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    hidden : (n, m) array
    start : (m,) array
    """

    def objective(c: Floats) -> tuple[float, Floats]:
        fitted = hidden @ c
        value = problem.primal(fitted, float(c.sum()))
        signal = problem.pull(problem.loss.slope(fitted, problem.y))
        return value, hidden.T @ signal + problem.regularisation

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(start),
        options={"maxiter": 1000, "maxfun": 2000, "ftol": 1e-15, "gtol": 1e-12},
    )
    return np.asarray(np.maximum(found.x, 0.0))


class _Atoms:
    """Neurons of unit length with signs, their outputs on the data and their coefficients."""

    def __init__(self, problem: Problem) -> None:
        n, d = problem.x.shape
        self.problem = problem
        self.most = problem.primal(np.zeros(n), 0.0) / problem.regularisation
        self.weights, self.signs = np.zeros((0, d)), np.zeros(0)
        self.hidden, self.c = np.zeros((n, 0)), np.zeros(0)

    def copy(self) -> _Atoms:
        """Copy what steps change: coefficients in place, the rest by assignment."""
        other = copy(self)
        other.c = self.c.copy()
        return other

    @property
    def fitted(self) -> Floats:
        return np.asarray(self.hidden @ self.c)

    def value(self, c: Floats) -> float:
        return self.problem.primal(np.asarray(self.hidden @ c), float(c.sum()))

    def place(self, w: Floats, sign: float) -> int:
        """Index of a neuron, which is added if it is new."""
        same = np.flatnonzero((self.signs == sign) & ((self.weights * w).sum(1) > 1 - 1e-14))
        if same.size:
            return int(same[0])
        self.weights = np.concatenate([self.weights, w[None]])
        self.signs = np.append(self.signs, sign)
        column = sign * np.maximum(self.problem.x @ w, 0)
        self.hidden = np.concatenate([self.hidden, column[:, None]], axis=1)
        self.c = np.append(self.c, 0.0)
        return len(self.c) - 1

    def keep(self, kept: NDArray[np.bool_]) -> None:
        used = np.flatnonzero(kept)
        self.weights, self.signs = self.weights[used], self.signs[used]
        self.hidden, self.c = self.hidden[:, used], self.c[used]

    def along(self, direction: Floats, most: float) -> None:
        """Move the coefficients by the best multiple in [0, most] of a direction."""
        problem, o, change = self.problem, self.fitted, self.hidden @ direction
        if problem.loss.name == "squared":
            square = float(problem.weights @ change**2)
            slope = float(problem.pull(o - problem.y) @ change) + problem.regularisation * float(
                direction.sum()
            )
            step = most if square == 0 else float(np.clip(-slope / square, 0.0, most))
        else:
            found = minimize_scalar(
                lambda t: self.value(self.c + t * direction),
                bounds=(0.0, most),
                method="bounded",
                options={"xatol": 1e-12 * most},
            )
            step = float(found.x)
        moved = np.maximum(self.c + step * direction, 0.0)
        if self.value(moved) < self.value(self.c):
            self.c = moved


def _step_plain(atoms: _Atoms, new: int | None) -> None:
    target = np.zeros_like(atoms.c)
    if new is not None:
        target[new] = atoms.most
    atoms.along(target - atoms.c, 1.0)


def _step_away(atoms: _Atoms, new: int | None, signal: Floats) -> None:
    """Step towards the new corner, or away from the worst corner in use, whichever promises more."""
    slopes = atoms.most * (atoms.hidden.T @ signal + atoms.problem.regularisation)
    shares = atoms.c / atoms.most
    rest = 1 - shares.sum()
    now = float(shares @ slopes)
    target = np.zeros_like(atoms.c)
    if new is not None:
        target[new] = atoms.most
    towards = now - (slopes[new] if new is not None else 0.0)
    used = np.flatnonzero(shares > 0)
    worst = int(used[np.argmax(slopes[used])]) if used.size else None
    highest = float(slopes[worst]) if worst is not None else -np.inf
    if rest > 0 and highest < 0:
        worst, highest = None, 0.0  # the corner 0
    share = rest if worst is None else float(shares[worst])
    if highest - now > towards and 0 < share < 1:
        corner = np.zeros_like(atoms.c)
        if worst is not None:
            corner[worst] = atoms.most
        atoms.along(atoms.c - corner, share / (1 - share))
        if worst is not None and atoms.c[worst] < _TINY * atoms.most:
            atoms.c[worst] = 0.0
    else:
        atoms.along(target - atoms.c, 1.0)
    atoms.keep(atoms.c > 0)


def fit_frank_wolfe(
    problem: Problem,
    *,
    step: Step = "corrective",
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    certify: bool = True,
    time_limit: float | None = None,
    seed: int = 0,
    progress: Callable[[Line], object] | None = None,
) -> AncestorFit:
    """Train a two-layer ReLU network by conditional gradients.

    Ctrl-C ends the training with the network of the last whole step, without a proof.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and one of the losses squared, huber, logistic.
    step : {"plain", "away", "corrective"}, default "corrective"
    tolerance : float, default 1e-4
        Relative gap at which to stop. The gap after k plain steps is of order 1 / k.
    max_iterations : int, default 1000
    certify : bool, default True
        Prove a lower bound at the end.
    time_limit : float, optional
        Seconds; the proof gets as long again.
    seed : int, default 0
    progress : callable, optional
        Called with a `Line` after every iteration.

    Returns
    -------
    AncestorFit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    require_scalar(problem)
    if not problem.loss.smooth:
        raise ArgumentError("conditional gradients need a smooth loss: use fit_incremental for the hinge")
    if step not in ("plain", "away", "corrective"):
        raise ArgumentError(f"step must be 'plain', 'away' or 'corrective', got {step!r:.80}")
    wanted = as_floats(tolerance, "tolerance", ArgumentError)
    if wanted.ndim or not 0 < wanted < np.inf:
        raise ArgumentError(f"tolerance must be a positive number, got {tolerance!r:.80}")
    most = as_count(max_iterations, "max_iterations")
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    begin = time.perf_counter()
    deadline = begin + (np.inf if time_limit is None else time_limit)
    atoms, history = _Atoms(problem), []
    status: AncestorStatus = "iteration_limit"
    kept = atoms.copy()
    try:
        for _ in range(most):
            kept = atoms.copy()
            slopes = clip_slopes(problem, problem.loss.slope(atoms.fitted, problem.y))
            signal = problem.pull(slopes)
            new, value = None, atoms.value(atoms.c)
            for starts in (_STARTS, _THOROUGH):
                found = search_price(problem.x, signal, starts=starts, rng=rng, count=1, seeds=atoms.weights)
                price = float(np.abs(signal @ np.maximum(problem.x @ found.T, 0)).max(initial=0.0))
                guess = problem.scaled_dual(slopes, price)[0]
                if value - guess > float(wanted) * value:
                    break
            line = Line(value, 0.0, len(atoms.c), time.perf_counter() - begin)
            history.append(line)
            if progress is not None:
                progress(line)
            if value - guess <= float(wanted) * value:
                status = "uncertified"
                break
            if time.perf_counter() > deadline:
                status = "time_limit"
                break
            if price > problem.regularisation:
                sign = -1.0 if signal @ np.maximum(problem.x @ found[0], 0) > 0 else 1.0
                new = atoms.place(found[0], sign)
            if step == "corrective":
                atoms.c = fit_coefficients(problem, atoms.hidden, atoms.c)
                atoms.keep(atoms.c > 0)
            elif step == "plain":
                _step_plain(atoms, new)
            else:
                _step_away(atoms, new, signal)
    except KeyboardInterrupt:
        status, certify, atoms = "interrupted", False, kept
    lower = 0.0
    if certify:
        slopes = clip_slopes(problem, problem.loss.slope(atoms.fitted, problem.y))
        bound = bound_price(
            problem.x,
            problem.pull(slopes),
            tolerance=0.1 * float(wanted),
            threshold=problem.regularisation,
            time_limit=time_limit,
            count=0,
            seeds=atoms.weights,
        )
        lower = certified_dual(problem, slopes, bound.upper)
        value = atoms.value(atoms.c)
        if status == "uncertified" and value - lower <= float(wanted) * value * (1 + 1e-6):
            status = "optimal"
    root = atoms.signs * atoms.c
    return AncestorFit(
        problem=problem,
        units="relu",
        weights=atoms.weights,
        outputs=root,
        objective=atoms.value(atoms.c),
        lower_bound=lower,
        status=status,
        history=tuple(history),
        seconds=time.perf_counter() - begin,
    )
