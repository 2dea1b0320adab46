"""Vector-output ReLU networks trained to global optimality, by column generation over neurons.

Minimise sum_j omega_j l(o_j, y_j) + lambda sum_i |w_i| |a_i| with a_i in R^c: weight decay. In convex
form every gate holds a matrix Z, whose norm is the gauge of products u v' with u in the gate's cone and
|u| |v| <= 1; for c > 1 it has no short description (it makes the programme a copositive one: Sahiner,
Ergen, Pauly and Pilanci, ICLR 2021). So the atoms are generated: a network is descended, polished in its
cells, and priced; where no neuron has |R' relu(X w)| above lambda |w|, the bound of the price bounds the
objective of all networks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jensen.fit._certified import certified_dual, clip_slopes
from jensen.fit._losses import Floats, Huber, Squared
from jensen.fit._problem import Problem
from jensen.fit._rows import as_rows
from jensen.fit.extensions._numbers import positive
from jensen.fit.extensions._vector_atoms import join_vectors, select_vectors
from jensen.fit.extensions._vector_network import (
    balanced_vectors,
    descend_vectors,
    network_outputs,
    network_value,
    random_vector_network,
    require_vectors,
)
from jensen.fit.extensions._vector_polish import polish_vectors
from jensen.fit.extensions._vector_price import bound_vector_price, search_vector_price
from jensen.network._numbers import as_count

VectorStatus = Literal["optimal", "time_limit", "stalled", "interrupted"]

_STEPS = 500
"""L-BFGS steps of a descent."""
_STARTS = 8
_JOIN = 16
"""Most neurons that join in a round."""
_STALLED = 4
_NEGLIGIBLE = 1e-7
"""Neurons with a smaller share of the norm are dropped where the objective allows it."""


@dataclass(frozen=True)
class VectorFit:
    """A trained network with vector outputs, and what is proved about it.

    Attributes
    ----------
    problem : Problem
    weights : (m, d) float64 array
    outputs : (m, c) float64 array
        |a_i| = |w_i| up to rounding.
    objective : float
        In float64.
    lower_bound : float
        Of the objective of every network, of any width. Rigorous for squared and Huber losses; for the
        multinomial one the price is bounded rigorously, and the dual value is one of float64.
    slopes : (n, c) float64 array
        The dual point, before it is scaled.
    price : float
        Upper bound of max |R' relu(X w)| for them.
    status : str
        "optimal": the gap is at most the tolerance.
    rounds : int
    seconds : float
    """

    problem: Problem
    weights: Floats
    outputs: Floats
    objective: float
    lower_bound: float
    slopes: Floats
    price: float
    status: VectorStatus
    rounds: int
    seconds: float

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective."""
        return (self.objective - self.lower_bound) / self.objective if self.objective > 0 else 0.0

    def predict(self, x: object) -> Floats:
        """Evaluate the network: (n, d) to (n, c).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, self.weights.shape[1])
        return network_outputs(data, self.weights, self.outputs)


def vector_dual(problem: Problem, slopes: Floats, price: float) -> float:
    """Lower bound from a dual point and an upper bound of its price.

    Parameters
    ----------
    problem : Problem
        With vector outputs.
    slopes : (n, c) array
        In the conjugate's domain.
    price : float
    """
    if isinstance(problem.loss, (Squared, Huber)):
        # Sums over samples and outputs are those of a problem with n c samples.
        c = problem.y.shape[1]
        flat = replace(
            problem,
            x=np.zeros((problem.y.size, 1)),
            y=problem.y.ravel(),
            weights=np.repeat(problem.weights, c),
        )
        return certified_dual(flat, clip_slopes(flat, slopes.ravel()), price)
    return max(0.0, problem.scaled_dual(slopes, price)[0])


class _Training:
    """The best network and the best bound so far."""

    def __init__(self, problem: Problem, tolerance: float, deadline: float, seed: int) -> None:
        self.problem, self.tolerance, self.deadline = problem, tolerance, deadline
        self.rng = np.random.default_rng(seed)
        c = require_vectors(problem)
        self.weights, self.outputs = np.zeros((0, problem.x.shape[1])), np.zeros((0, c))
        self.value = network_value(problem, self.weights, self.outputs)
        self.lower, self.price = 0.0, float(np.inf)
        self.proof = problem.loss.slope(np.zeros_like(problem.y), problem.y)

    @property
    def left(self) -> float:
        return self.deadline - time.perf_counter()

    def offer(self, weights: Floats, outputs: Floats) -> None:
        weights, outputs = balanced_vectors(weights, outputs)
        value = network_value(self.problem, weights, outputs)
        if value < self.value:
            self.weights, self.outputs, self.value = weights, outputs, value

    def improve(self, weights: Floats, outputs: Floats) -> None:
        """Select among neurons, descend, join those of one cell, polish; then drop what is negligible."""
        found = select_vectors(self.problem, weights, outputs)
        self.offer(*found)
        found = descend_vectors(self.problem, *found, steps=_STEPS, deadline=self.deadline, keep=self.offer)
        for candidate in (join_vectors(self.problem, *found), found):
            before = self.value
            if self.left > 0:
                self.offer(*polish_vectors(self.problem, *candidate, self.rng))
            if self.value < before:
                break
        sizes = np.linalg.norm(self.weights, axis=1) ** 2
        kept = sizes > _NEGLIGIBLE * sizes.sum()
        if not kept.all():
            self.offer(self.weights[kept], self.outputs[kept])

    def slopes(self) -> Floats:
        fitted = network_outputs(self.problem.x, self.weights, self.outputs)
        return self.problem.loss.slope(fitted, self.problem.y)

    @property
    def gap(self) -> float:
        return (self.value - self.lower) / self.value if self.value > 0 else 0.0

    @property
    def slack(self) -> float:
        """Excess of the price that the tolerance allows."""
        norm = float(np.linalg.norm(self.weights, axis=1) @ np.linalg.norm(self.outputs, axis=1))
        share = self.problem.regularisation * norm / self.value if self.value > 0 else 1.0
        return 0.5 * self.tolerance / max(share, 1e-3)

    def violated(self, neurons: Floats, excess: float) -> Floats:
        """Those of some unit vectors whose price exceeds lambda by the share `excess`."""
        signal = self.problem.pull(self.slopes())
        prices = np.linalg.norm(np.maximum(neurons @ self.problem.x.T, 0) @ signal, axis=1)
        return np.asarray(neurons[prices > self.problem.regularisation * (1 + excess)])

    def certify(self) -> Floats:
        """Bound the price; neurons found above it."""
        slopes = self.slopes()
        bound = bound_vector_price(
            self.problem.x,
            self.problem.pull(slopes),
            goal=self.problem.regularisation,
            tolerance=self.slack,
            time_limit=max(0.0, self.left),
        )
        lower = vector_dual(self.problem, slopes, bound.upper)
        if lower > self.lower or not np.isfinite(self.price):
            self.lower, self.price, self.proof = lower, bound.upper, slopes
        return self.violated(bound.neurons, self.slack)


def fit_vector_network(
    problem: Problem,
    *,
    tolerance: float = 1e-5,
    neurons: int = 20,
    time_limit: float | None = None,
    seed: int = 0,
) -> VectorFit:
    """Train a two-layer ReLU network with vector outputs to global optimality.

    Ctrl-C ends the training with the best network so far.

    Parameters
    ----------
    problem : Problem
        With y of shape (n, c) and a smooth loss. The bound needs a rank of X and a c that are small
        (up to about 6 and 4).
    tolerance : float, default 1e-5
        Relative gap at which to stop.
    neurons : int, default 20
        Width of the random network at the start.
    time_limit : float, optional
        Seconds.
    seed : int, default 0

    Returns
    -------
    VectorFit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    begin = time.perf_counter()
    seed, neurons = as_count(seed, "seed", 0), as_count(neurons, "neurons")
    accuracy = positive(tolerance, "tolerance")
    limit = np.inf if time_limit is None else positive(time_limit, "time_limit")
    run = _Training(problem, accuracy, begin + limit, seed)
    status: VectorStatus = "time_limit"
    rounds, idle = 0, 0
    try:
        run.improve(*random_vector_network(problem, neurons, run.rng))
        while run.left > 0:
            rounds += 1
            before = run.value, run.lower
            signal = problem.pull(run.slopes())
            found = search_vector_price(
                problem.x, signal, starts=_STARTS, rng=run.rng, count=_JOIN, seeds=run.weights
            )
            missing = run.violated(found, run.slack)
            if not len(missing):
                missing = run.certify()
                if run.gap <= accuracy:
                    status = "optimal"
                    break
            none = np.zeros((len(missing), problem.y.shape[1]))
            run.improve(np.concatenate([run.weights, missing]), np.concatenate([run.outputs, none]))
            better = run.value < before[0] * (1 - 0.01 * accuracy) or run.lower > before[1]
            idle = 0 if better else idle + 1
            if idle >= _STALLED:
                status = "stalled"
                break
    except KeyboardInterrupt:
        status, run.deadline = "interrupted", time.perf_counter()
    if not np.isfinite(run.price):
        run.certify()
    return VectorFit(
        problem=problem,
        weights=run.weights,
        outputs=run.outputs,
        objective=run.value,
        lower_bound=run.lower,
        slopes=run.proof,
        price=run.price,
        status=status,
        rounds=rounds,
        seconds=time.perf_counter() - begin,
    )
