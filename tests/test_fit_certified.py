from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._certified import certified_dual, certified_objective, clip_slopes
from jensen.fit._losses import Huber, Loss
from jensen.fit._problem import Problem, make_problem

LOSSES: list[str | Loss] = ["squared", Huber(0.5), "logistic", "hinge"]
Floats = NDArray[np.float64]


def small(loss: str | Loss, seed: int = 0, n: int = 7) -> Problem:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n) if loss == "squared" or isinstance(loss, Huber) else rng.choice([-1.0, 1.0], n)
    return make_problem(rng.normal(size=(n, 2)), y, 0.05, loss, rng.random(n))


def network(seed: int, m: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, 2)), rng.normal(size=m)


def exact_objective(problem: Problem, weights: Floats, outputs: Floats) -> Fraction:
    """The squared loss and an upper bound of the norms, good to 1e-30, in rationals."""
    total = Fraction(0)
    fractions = [[Fraction(v) for v in w] for w in weights.tolist()]
    amounts = [Fraction(a) for a in outputs.tolist()]
    for row, y, omega in zip(problem.x.tolist(), problem.y.tolist(), problem.weights.tolist(), strict=True):
        o = sum(
            a * max(Fraction(0), sum(Fraction(v) * c for v, c in zip(row, w, strict=True)))
            for a, w in zip(amounts, fractions, strict=True)
        )
        total += Fraction(omega) * (o - Fraction(y)) ** 2 / 2
    for a, w in zip(amounts, fractions, strict=True):
        square = sum(v * v for v in w) * a * a
        root = Fraction(float(square) ** 0.5)
        for _ in range(3):
            root = (root + square / root) / 2 if root else root
        total += Fraction(problem.regularisation) * root
    return total


@pytest.mark.parametrize("loss", LOSSES)
def test_objectives_are_those_of_plain_floats_rounded_up(loss: str | Loss) -> None:
    for seed in range(5):
        problem = small(loss, seed)
        weights, outputs = network(seed)
        fitted = np.maximum(problem.x @ weights.T, 0) @ outputs
        plain = problem.primal(fitted, float(np.linalg.norm(weights, axis=1) @ np.abs(outputs)))
        assert certified_objective(problem, weights, outputs) == pytest.approx(plain, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-8, 8))
def test_objectives_are_not_below_the_exact_ones(seed: int, exponent: float) -> None:
    problem = small("squared", seed)
    weights, outputs = network(seed)
    value = certified_objective(problem, weights * 10**exponent, outputs)
    exact = exact_objective(problem, weights * 10**exponent, outputs)
    assert exact <= Fraction(value) <= exact * (1 + Fraction(1, 10**12))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_network_is_below_a_dual_value(loss: str | Loss) -> None:
    for seed in range(5):
        problem = small(loss, seed)
        for other in range(5):
            weights, outputs = network(other)
            fitted = np.maximum(problem.x @ weights.T, 0) @ outputs
            slopes = clip_slopes(problem, problem.loss.slope(fitted, problem.y))
            # In two dimensions a fine grid misses little of the maximum; 1 % covers what it misses.
            angle = np.linspace(0, 2 * np.pi, 2001)
            circle = np.column_stack([np.cos(angle), np.sin(angle)])
            price = 1.01 * np.abs(problem.pull(slopes) @ np.maximum(problem.x @ circle.T, 0)).max()
            bound = certified_dual(problem, slopes, float(price))
            assert bound <= certified_objective(problem, weights, outputs)
            assert bound <= certified_objective(problem, np.zeros((0, 2)), np.zeros(0))
            assert bound >= max(0, problem.scaled_dual(slopes, float(price))[0]) * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 10))
def test_squared_duals_are_rounded_down_and_feasible(seed: int, price: float) -> None:
    problem = small("squared", seed)
    slopes = np.random.default_rng(seed).normal(size=7) - problem.y
    bound = certified_dual(problem, slopes, price)
    if bound == 0:
        return
    # The dual along r is a concave parabola in theta; its exact maximum over the exact interval.
    r = [Fraction(v) for v in problem.pull(slopes).tolist()]
    omega = [Fraction(v) for v in problem.weights.tolist()]
    square = sum(a * a / w for a, w in zip(r, omega, strict=True))
    along = -sum(a * Fraction(v) for a, v in zip(r, problem.y.tolist(), strict=True))
    theta = min(along / square, Fraction(problem.regularisation) / Fraction(price))
    best = theta * along - theta * theta * square / 2
    assert best * (1 - Fraction(1, 10**12)) <= Fraction(bound) <= best


def test_slopes_at_the_border_stay_inside() -> None:
    for loss in LOSSES[1:]:
        problem = small(loss)
        width = 0.5 if isinstance(loss, Huber) else 1.0
        slopes = -problem.y / np.abs(problem.y) * width
        # Along a ray the dual is concave: its maximum over a fine grid.
        best = max(problem.dual(theta * slopes) for theta in np.linspace(0, 1, 4001))
        for some in (slopes, clip_slopes(problem, slopes * (1 + 1e-12)), 0.25 * slopes):
            assert certified_dual(problem, some, 1e-9) == pytest.approx(best, rel=1e-6)


def test_what_proves_nothing_gives_zero() -> None:
    problem = small("logistic")
    assert certified_dual(problem, 0.5 * problem.y, 1.0) == 0
    assert certified_dual(problem, np.zeros(7), 0.0) == 0
    assert certified_dual(problem, -0.5 * problem.y, np.inf) == 0
    assert certified_dual(problem, np.full(7, np.nan), 1.0) == 0


def test_samples_without_weight_do_not_count() -> None:
    weights: Any = [1.0, 0.0, 1.0]
    problem = make_problem([[1.0], [5.0], [2.0]], [1.0, 9.0, 2.0], 0.1, sample_weight=weights)
    without = make_problem([[1.0], [2.0]], [1.0, 2.0], 0.1)
    slopes = np.array([-1.0, 7.0, -2.0])
    assert certified_dual(problem, slopes, 3.0) == certified_dual(without, slopes[[0, 2]], 3.0)
    network = (np.array([[0.5]]), np.array([0.5]))
    assert certified_objective(problem, *network) == certified_objective(without, *network)


def test_overflow_is_no_bound() -> None:
    problem = small("squared")
    assert certified_objective(problem, np.full((1, 2), 1e200), np.array([1e200])) == np.inf


def test_vectors_are_refused() -> None:
    problem = make_problem(np.ones((2, 1)), np.ones((2, 2)), 0.1)
    with pytest.raises(ArgumentError, match="scalar output"):
        certified_objective(problem, np.ones((1, 1)), np.ones(1))
    with pytest.raises(ArgumentError, match="scalar output"):
        certified_dual(problem, np.ones((2, 2)), 1.0)
