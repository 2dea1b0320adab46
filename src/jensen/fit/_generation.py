"""What a run of column generation knows: groups, the best network, the best bound; and its steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from jensen.fit._anneal import Slides, random_starts
from jensen.fit._certified import certified_dual, certified_objective, clip_slopes, require_scalar
from jensen.fit._descend import balanced, descend, objective_of
from jensen.fit._fixed import solve_relu
from jensen.fit._losses import Floats
from jensen.fit._network import coefficients_of, merge_neurons, neurons_of
from jensen.fit._patterns import gaussian_gates
from jensen.fit._pool import Pool
from jensen.fit._price_bound import bound_price
from jensen.fit._price_search import search_price
from jensen.fit._problem import Problem
from jensen.fit._result import Fit, FitStatus, Round
from jensen.fit._slack import allowed_excess
from jensen.fit._units import Units

STARTS = 16
"""Local searches of the first pricing, besides those from the network's own neurons."""
_WARM_STEPS = 300
"""L-BFGS steps from a network that is given."""
_GAUSSIAN = 16
"""Random gates in the first programme."""
_JOIN = 64
"""Most groups that join in a round."""
_VIOLATED = 8
"""Neurons above lambda that end a proof that there are none."""
_MOMENT = 0.01
"""Seconds that a solver gets at least."""
_FIRST_PROOF = 4.0
"""Seconds for the first search for a bound; every other one gets four times as much."""
_HARDLY = 0.8
"""Part of the gap that is left after a search that hardly helped."""
_COSTLY = 10_000
"""Cones whose search is not worth repeating if rounding ended it."""


class Generation:
    """What a run knows so far: groups, the best network, the best bound."""

    def __init__(self, problem: Problem, tolerance: float, deadline: float, seed: int) -> None:
        require_scalar(problem)
        self.given, self.units = problem, Units.of(problem)
        # Everything but the result is in units of the data.
        self.problem = problem = self.units.reduced(problem)
        self.tolerance, self.deadline = tolerance, deadline
        self.rng = np.random.default_rng(seed)
        self.pool = Pool(problem.x)
        d = problem.x.shape[1]
        self.weights, self.outputs = np.zeros((0, d)), np.zeros(0)
        self.value = self.zero = objective_of(problem, self.weights, self.outputs)
        self.slopes = clip_slopes(problem, problem.loss.slope(np.zeros(len(problem.y)), problem.y))
        self.lower, self.price, self.proof = 0.0, np.inf, self.slopes
        self.history: list[Round] = []
        self.begin = time.perf_counter()
        self.slides = Slides()
        self.care = 1.0
        """Part of the slack that is used; smaller where a proven price did not close the gap."""
        self.hopeless = False
        """Whether longer searches for a bound would not help."""

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

    def solve(self, tolerance: float) -> bool:
        """Solve the restricted programme and take its network and slopes; whether rounding is in the way."""
        groups = self.pool.groups
        if not len(groups):
            return False
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
        return solution.status in ("inaccurate", "iteration_limit")

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
        joined, missing = self.join(found), self.missing(excess)
        if not joined and missing > 0.5 * self.tolerance and self.problem.loss.smooth:
            # The solver's slopes are not accurate enough to prove optimality; those of the network may be.
            of_solver = self.slopes
            self.slopes = self._own_slopes()
            other, found = self._excess(starts)
            if self.missing(other) < missing:
                return other, self.join(found)
            self.slopes = of_solver
        return excess, joined

    def _own_slopes(self) -> Floats:
        """Slopes at the outputs of the best network."""
        fitted = np.maximum(self.problem.x @ self.weights.T, 0) @ self.outputs
        return clip_slopes(self.problem, self.problem.loss.slope(fitted, self.problem.y))

    def missing(self, excess: float) -> float:
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
        return self.care * allowed_excess(self.problem, self.slopes, self.value, self.tolerance)

    def certify(self, excess: float, effort: float) -> int:
        """Bound the price from above and prove what follows; returns the number of new groups.

        Searches for a bound start again with more time, so that an interrupt finds what the last one proved,
        and end when four times the time hardly helps.

        Parameters
        ----------
        excess : float
            The largest that was found.
        effort : float
            Seconds for all searches together.
        """
        signal = self.problem.pull(self.slopes)
        begin, joined, searched = time.perf_counter(), 0, 0
        time_limit, slack = _FIRST_PROOF, self.slack
        while True:
            left, before = min(self.left, begin + effort - time.perf_counter()), self.gap
            if left <= 0:
                self.hopeless = self.left > 0
                return joined
            bound = bound_price(
                self.problem.x,
                signal,
                threshold=self.problem.regularisation,
                tolerance=slack,
                time_limit=min(time_limit, left),
                # Neurons whose groups are there already cannot help: the bound goes around them.
                count=_VIOLATED if excess <= slack else 0,
                starts=STARTS,
                seeds=self.weights,
                rng=self.rng,
            )
            searched += 1
            self._believe(bound.upper)
            joined = self.join(bound.neurons)
            if joined or self.gap <= self.tolerance:
                return joined
            if bound.status != "time_limit":
                if bound.status == "proven":
                    self.care *= 0.25
                self.hopeless = bound.nodes > _COSTLY and bound.status == "inaccurate"
                return 0
            if searched > 1 and self.gap > _HARDLY * before:
                self.hopeless = True
                return 0
            time_limit *= 4

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
        value, lower = self.units.values(self.value), self.units.values(self.lower)
        line = Round(value, lower, excess, len(self.pool), len(self.outputs), seconds)
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
        weights, outputs = self.units.neurons(self.weights, self.outputs)
        slopes, price = self.units.slopes(self.proof), self.units.prices(self.price)
        if not self._same(slopes):
            slopes, price = np.zeros_like(slopes), 0.0
        objective = certified_objective(self.given, weights, outputs)
        lower = certified_dual(self.given, slopes, price)
        if status == "optimal" and not objective - lower <= self.tolerance * objective:
            status = "stalled"  # by the rounding errors of the objective
        return Fit(
            problem=self.given,
            weights=weights,
            outputs=outputs,
            objective=objective,
            lower_bound=lower,
            slopes=slopes,
            price=price,
            status=status,
            history=tuple(self.history),
            seconds=time.perf_counter() - self.begin,
        )

    def _same(self, slopes: Floats) -> bool:
        """Whether these slopes are the proof's down to the last bit, so that its price is theirs."""
        pulled = self.units.slopes(self.given.pull(slopes), back=True)
        return bool((pulled == self.problem.pull(self.proof)).all())
