"""Training to global optimality over all activation patterns, by column generation.

A restricted programme holds some groups (gate, sign). Its dual point prices neurons: one with
|r' relu(X w)| > lambda |w| lowers the objective, and its group joins. Where no such neuron is left, an upper
bound of the price over all directions turns the dual point into a lower bound for networks of every width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._anneal import Slides, random_starts
from jensen.fit._certified import certified_dual, certified_objective, clip_slopes, require_scalar
from jensen.fit._descend import balanced, descend, objective_of
from jensen.fit._fixed import solve_relu
from jensen.fit._losses import Floats
from jensen.fit._network import coefficients_of, merge_neurons, neurons_of, read_network
from jensen.fit._patterns import gaussian_gates
from jensen.fit._pool import Pool
from jensen.fit._price_bound import bound_price
from jensen.fit._price_search import search_price
from jensen.fit._problem import Problem
from jensen.fit._result import Fit, FitStatus, Round
from jensen.network._numbers import as_count, as_floats

if TYPE_CHECKING:
    from torch import nn

_WARM_STEPS = 300
"""L-BFGS steps from a network that is given."""
_GAUSSIAN = 16
"""Random gates in the first programme."""
_STARTS = 16
"""Local searches of the first pricing, besides those from the network's own neurons."""
_THOROUGH = 512
"""Local searches before neurons are held to be complete."""
_FEW, _MANY = 4, 16
"""Groups joined in a round that call for twice the searches, or half of them."""
_JOIN = 64
"""Most groups that join in a round."""
_FIRST_ACCURACY = 1e-3
"""Relative gap to which the first programme is solved."""
_FINEST = 1e-10
"""Relative gap that no programme is asked to beat."""
_SHRINK = 1e-4
"""Part of the dual point by which it is shortened to see what that costs."""
_VIOLATED = 8
"""Neurons above lambda that end a proof that there are none."""
_MOMENT = 0.01
"""Seconds that a solver gets at least."""
_FIRST_PROOF = 4.0
"""Seconds for the first search for a bound; every other one gets four times as much."""
_STALLED = 3
"""Rounds without progress after which the tolerances are beyond what floats can do."""


class _Generation:
    """What a run knows so far: groups, the best network, the best bound."""

    def __init__(self, problem: Problem, tolerance: float, deadline: float, seed: int) -> None:
        require_scalar(problem)
        self.problem, self.tolerance, self.deadline = problem, tolerance, deadline
        self.rng = np.random.default_rng(seed)
        self.pool = Pool(problem.x)
        d = problem.x.shape[1]
        self.weights, self.outputs = np.zeros((0, d)), np.zeros(0)
        self.value = objective_of(problem, self.weights, self.outputs)
        self.slopes = clip_slopes(problem, problem.loss.slope(np.zeros(len(problem.y)), problem.y))
        self.lower, self.price, self.proof = 0.0, np.inf, self.slopes
        self.history: list[Round] = []
        self.begin = time.perf_counter()
        self.slides = Slides()

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.deadline - time.perf_counter()

    def offer(self, weights: Floats, outputs: Floats) -> bool:
        """Keep a network if it is the best so far."""
        value = objective_of(self.problem, weights, outputs)
        if not value < self.value:
            return False
        self.weights, self.outputs, self.value = weights, outputs, value
        return True

    def warm_up(self, start: tuple[Floats, Floats] | None, neurons: int) -> None:
        """Descend from a network, given or random, and take its groups and some random ones."""
        if start is None:
            weights, outputs = self.weights, self.outputs
            for weights, outputs in random_starts(self.problem, neurons, self.rng, self.deadline):
                self.offer(weights, outputs)
            weights, outputs = self.slides.run(
                self.problem, weights, outputs, least=self.tolerance, deadline=self.deadline
            )
        else:
            self.offer(*balanced(*start))
            weights, outputs = descend(self.problem, *start, steps=_WARM_STEPS, deadline=self.deadline)
        self._enter(weights, outputs)
        gates = gaussian_gates(self.problem.x, _GAUSSIAN, int(self.rng.integers(1 << 31)))
        for sign in (1, -1):
            self.pool.add(gates, np.full(len(gates), sign, dtype=np.int8))

    def _enter(self, weights: Floats, outputs: Floats) -> int:
        """Let the next solve start at a network; returns the number of new groups."""
        weights, outputs = merge_neurons(self.problem.x, weights, outputs)
        self.offer(weights, outputs)
        return self.pool.move_to(*coefficients_of(weights, outputs))

    def solve(self, tolerance: float) -> None:
        """Solve the restricted programme and take its network and slopes."""
        groups = self.pool.groups
        if not len(groups):
            return
        solution = solve_relu(
            self.problem,
            groups,
            start=self.pool.coefficients,
            tolerance=tolerance,
            time_limit=max(self.left, _MOMENT),
        )
        self.pool.solved(solution.coefficients)
        self.slopes = clip_slopes(self.problem, solution.slopes)
        self.offer(*merge_neurons(self.problem.x, *neurons_of(solution.coefficients, groups.signs)))
        if solution.status == "interrupted":
            raise KeyboardInterrupt

    def slide(self) -> int:
        """Move the best network's neurons across gates by descent; returns the number of new groups."""
        before, least = self.value, 0.01 * self.tolerance
        found = self.slides.run(self.problem, self.weights, self.outputs, least=least, deadline=self.deadline)
        if not objective_of(self.problem, *found) < before * (1 - least):
            return 0
        return self._enter(*found)

    def search(self, starts: int) -> tuple[float, int]:
        """Look for neurons priced above lambda; returns the largest excess and the number of new groups."""
        excess, found = self._excess(starts)
        joined, missing = self.join(found), self._missing(excess)
        if not joined and missing > 0.5 * self.tolerance and self.problem.loss.smooth:
            # The solver's slopes are not accurate enough to prove optimality; those of the network may be.
            of_solver = self.slopes
            self.slopes = self._own_slopes()
            other, found = self._excess(starts)
            if self._missing(other) < missing:
                return other, self.join(found)
            self.slopes = of_solver
        return excess, joined

    def _own_slopes(self) -> Floats:
        """Slopes at the outputs of the best network."""
        fitted = np.maximum(self.problem.x @ self.weights.T, 0) @ self.outputs
        return clip_slopes(self.problem, self.problem.loss.slope(fitted, self.problem.y))

    def _missing(self, excess: float) -> float:
        """Relative gap that would be left if no neuron were priced higher than what was found."""
        price = self.problem.regularisation * (1 + excess)
        return (self.value - self.problem.scaled_dual(self.slopes, price)[0]) / max(self.value, 1e-300)

    def _excess(self, starts: int) -> tuple[float, Floats]:
        """Search for neurons; the largest price divided by lambda, minus 1, and the neurons."""
        x, signal = self.problem.x, self.problem.pull(self.slopes)
        found = search_price(x, signal, starts=starts, rng=self.rng, count=_JOIN, seeds=self.weights)
        most = float(np.abs(signal @ np.maximum(x @ found.T, 0)).max(initial=0.0))
        return most / self.problem.regularisation - 1, found

    def join(self, directions: Floats) -> int:
        """Add the groups of neurons, unit vectors, that would lower the objective."""
        signal = self.problem.pull(self.slopes)
        values = signal @ np.maximum(self.problem.x @ directions.T, 0)
        worth = np.abs(values) > self.problem.regularisation
        signs = np.where(values[worth] > 0, -1, 1).astype(np.int8)
        return self.pool.add(directions[worth] @ self.problem.x.T > 0, signs)

    @property
    def slack(self) -> float:
        """Excess of the price that the tolerance allows."""
        # Scaling the dual point by 1 / (1 + e) costs about e times the derivative along it: the part that
        # lambda has in the objective, or more where slopes are at the border of the conjugate's domain.
        cost = self.problem.dual(self.slopes) - self.problem.dual((1 - _SHRINK) * self.slopes)
        share = cost / _SHRINK / self.value if self.value > 0 else 1.0
        return 0.5 * self.tolerance / max(share, 1e-3)

    def certify(self, excess: float) -> int:
        """Bound the price from above and prove what follows; returns the number of new groups.

        Searches for a bound start again with more time, so that an interrupt finds what the last one proved.
        """
        signal = self.problem.pull(self.slopes)
        time_limit, joined = _FIRST_PROOF, 0
        while self.left > 0 and not joined:
            bound = bound_price(
                self.problem.x,
                signal,
                threshold=self.problem.regularisation,
                tolerance=self.slack,
                time_limit=min(time_limit, self.left),
                # Neurons whose groups are there already cannot help: the bound goes around them.
                count=_VIOLATED if excess <= self.slack else 0,
                starts=_STARTS,
                seeds=self.weights,
                rng=self.rng,
            )
            self._believe(bound.upper)
            joined = self.join(bound.neurons)
            if bound.status != "time_limit" or self.gap <= self.tolerance:
                break
            time_limit *= 4
        return joined

    def _believe(self, price: float) -> None:
        """Keep the current dual point if, with this bound of its price, it proves most so far."""
        lower = certified_dual(self.problem, self.slopes, price)
        if lower > self.lower or not np.isfinite(self.price):
            self.lower, self.price, self.proof = lower, price, self.slopes

    @property
    def gap(self) -> float:
        """Relative gap of the best network and the best bound."""
        return (self.value - self.lower) / self.value if self.value > 0 else 0.0

    def record(self, excess: float, progress: Callable[[Round], object] | None) -> None:
        """Write a line of history and tell the caller."""
        seconds = time.perf_counter() - self.begin
        line = Round(self.value, self.lower, excess, len(self.pool), len(self.outputs), seconds)
        self.history.append(line)
        if progress is not None:
            progress(line)

    def finish(self, status: FitStatus) -> Fit:
        """Evaluate the best network and the best bound rigorously."""
        if not np.isfinite(self.price):
            # Without time for a search these bounds are crude, but bounds.
            for slopes in (self.slopes, self._own_slopes()):
                self.slopes = slopes
                signal, threshold = self.problem.pull(slopes), self.problem.regularisation
                bound = bound_price(self.problem.x, signal, threshold=threshold, time_limit=0.0, starts=0)
                self._believe(bound.upper)
        objective = certified_objective(self.problem, self.weights, self.outputs)
        if status == "optimal" and objective - self.lower > self.tolerance * objective:
            status = "stalled"  # by the rounding errors of the objective
        return Fit(
            problem=self.problem,
            weights=self.weights,
            outputs=self.outputs,
            objective=objective,
            lower_bound=self.lower,
            slopes=self.proof,
            price=self.price,
            status=status,
            history=tuple(self.history),
            seconds=time.perf_counter() - self.begin,
        )


def _rounds(run: _Generation, certify: bool, progress: Callable[[Round], object] | None) -> FitStatus:
    """Solve, slide, price and certify until the gap is closed."""
    accuracy, least = _FIRST_ACCURACY, 0.1 * run.tolerance
    idle, starts = 0, _STARTS
    while run.left > 0:
        value, lower = run.value, run.lower
        run.solve(accuracy)
        moved = run.slide()
        excess, joined = run.search(starts)
        if joined < _FEW:
            starts = min(2 * starts, _THOROUGH)
        elif joined > _MANY:
            starts = max(starts // 2, _STARTS)
        if run.value < value * (1 - run.tolerance):
            run.pool.forget()
        settled = accuracy <= least
        if settled and (excess <= run.slack or not joined):
            excess, more = run.search(_THOROUGH)
            joined += more
        if settled and (excess <= run.slack or not joined):
            if not certify:
                run.record(excess, progress)
                return "uncertified"
            joined += run.certify(excess)
            if run.gap <= run.tolerance:
                run.record(excess, progress)
                return "optimal"
            least = max(0.3 * least, _FINEST)
        run.record(excess, progress)
        # A programme need not be solved much better than it approximates the whole.
        accuracy = max(least, min(0.3 * accuracy, 0.1 * excess))
        better = run.value < value * (1 - 0.01 * run.tolerance) or run.lower > lower
        idle = 0 if better or moved or joined or not settled else idle + 1
        if idle >= _STALLED:
            return "stalled"
    return "time_limit"


def fit_network(
    problem: Problem,
    *,
    tolerance: float = 1e-6,
    certify: bool = True,
    start: nn.Module | tuple[object, object] | None = None,
    neurons: int = 50,
    time_limit: float | None = None,
    seed: int = 0,
    progress: Callable[[Round], object] | None = None,
) -> Fit:
    """Train a two-layer ReLU network to global optimality, over all widths and activation patterns.

    Ctrl-C ends the training with the best network so far.

    Parameters
    ----------
    problem : Problem
        With scalar outputs; from `make_problem`.
    tolerance : float, default 1e-6
        Relative gap at which to stop.
    certify : bool, default True
        Prove a lower bound. Otherwise training ends when the local search finds no neuron that is
        missing, and the lower bound is a crude one.
    start : torch.nn.Module or pair of arrays, optional
        Network to start from: Linear, ReLU, Linear, or (m, d) weights and (m,) output weights. By default
        a random one, after some descent.
    neurons : int, default 50
        Width of the random network.
    time_limit : float, optional
        Seconds; a step under way may overrun it.
    seed : int, default 0
    progress : callable, optional
        Called with a `Round` after every round.

    Returns
    -------
    Fit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    seed, neurons = as_count(seed, "seed", 0), as_count(neurons, "neurons")
    tolerance = _positive(tolerance, "tolerance")
    limit = np.inf if time_limit is None else _positive(time_limit, "time_limit")
    run = _Generation(problem, tolerance, time.perf_counter() + limit, seed)
    network = None if start is None else _network(problem, start)
    try:
        run.warm_up(network, neurons)
        status = _rounds(run, certify, progress)
    except KeyboardInterrupt:
        status = "interrupted"
    return run.finish(status)


def _positive(value: object, what: str) -> float:
    number = as_floats(value, what, ArgumentError)
    if number.ndim or not 0 < number < np.inf:
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return float(number)


def _network(problem: Problem, start: nn.Module | tuple[object, object]) -> tuple[Floats, Floats]:
    """Read the network to start from."""
    if isinstance(start, tuple) and len(start) == 2:
        weights, outputs = (as_floats(part, "start", ArgumentError) for part in start)
    elif hasattr(start, "modules"):
        weights, outputs = read_network(start, problem.x)
    else:
        raise ArgumentError("start must be a torch.nn.Module or a pair (weights, outputs)")
    fits = weights.ndim == 2 and weights.shape[1] == problem.x.shape[1] and outputs.shape == weights.shape[:1]
    if not fits or not (np.isfinite(weights).all() and np.isfinite(outputs).all()):
        raise ArgumentError(
            f"start must have finite weights (m, {problem.x.shape[1]}) and outputs (m,), got shapes "
            f"{weights.shape} and {outputs.shape}"
        )
    return weights, outputs
