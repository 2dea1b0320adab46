from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._generate import fit_network
from jensen.fit._problem import Problem, make_problem
from jensen.fit.ancestors._frank_wolfe import fit_frank_wolfe
from jensen.fit.ancestors._incremental import fit_incremental
from jensen.fit.ancestors._sign_units import SignOracle, sign_outputs

Floats = NDArray[np.float64]


def small(loss: str = "squared", seed: int = 0, n: int = 10, d: int = 2, strength: float = 0.05) -> Problem:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(size=(n, d)), np.ones((n, 1))], axis=1)
    y = rng.normal(size=n) if loss == "squared" else rng.choice([-1.0, 1.0], n)
    return make_problem(x, y, strength, loss)


class TestFrankWolfe:
    @pytest.mark.parametrize("loss", ["squared", "logistic"])
    def test_corrective_steps_reach_the_certified_optimum(self, loss: str) -> None:
        problem = small(loss)
        best = fit_network(problem, time_limit=60)
        found = fit_frank_wolfe(problem, tolerance=1e-4, max_iterations=300)
        assert found.status == "optimal"
        assert found.objective >= best.lower_bound
        assert found.objective <= best.objective * (1 + 1e-4)
        assert found.lower_bound <= best.objective
        assert np.linalg.norm(found.weights, axis=1) == pytest.approx(1.0)
        fitted = np.maximum(problem.x @ found.weights.T, 0) @ found.outputs
        assert problem.primal(fitted, float(np.abs(found.outputs).sum())) == pytest.approx(found.objective)

    @pytest.mark.parametrize("step", ["plain", "away"])
    def test_the_other_steps_approach_it(self, step: Literal["plain", "away"]) -> None:
        problem = small(seed=1)
        best = fit_network(problem, time_limit=60)
        found = fit_frank_wolfe(problem, step=step, tolerance=1e-6, max_iterations=150)
        objectives = [line.objective for line in found.history]
        assert all(b <= a * (1 + 1e-12) for a, b in pairwise(objectives))
        assert best.lower_bound <= found.objective <= best.objective * 1.05
        assert found.lower_bound <= best.objective

    def test_strong_regularisation_leaves_nothing(self) -> None:
        found = fit_frank_wolfe(small(strength=50.0))
        assert found.status == "optimal"
        assert len(found.outputs) == 0

    def test_what_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match="smooth"):
            fit_frank_wolfe(small("hinge"))
        with pytest.raises(ArgumentError, match="step"):
            fit_frank_wolfe(small(), step="sideways")  # type: ignore[arg-type]


class TestIncremental:
    @pytest.mark.parametrize("loss", ["hinge", "logistic", "squared"])
    def test_sign_units_reach_the_programme_over_all_cells(self, loss: str) -> None:
        cp = pytest.importorskip("cvxpy")
        problem = small(loss, seed=2, n=9)
        found = fit_incremental(problem, units="sign")
        gates = all_gates(problem.x)
        columns = np.concatenate([np.where(gates, 1.0, -1.0).T, -np.ones((9, 1))], axis=1)
        a = cp.Variable(columns.shape[1])
        o = columns @ a
        values = {
            "hinge": lambda: cp.pos(1 - cp.multiply(problem.y, o)),
            "logistic": lambda: cp.logistic(-cp.multiply(problem.y, o)),
            "squared": lambda: cp.square(o - problem.y) / 2,
        }[loss]()
        programme = cp.Problem(cp.Minimize(problem.weights @ values + problem.regularisation * cp.norm1(a)))
        programme.solve(solver=cp.CLARABEL)
        assert found.status == "optimal"
        assert found.objective == pytest.approx(programme.value, rel=2e-6)
        assert found.lower_bound <= programme.value * (1 + 1e-7)
        fitted = sign_outputs(problem.x, found.weights) @ found.outputs
        assert problem.primal(fitted, float(np.abs(found.outputs).sum())) == pytest.approx(found.objective)

    @pytest.mark.parametrize("loss", ["hinge", "logistic"])
    def test_relu_units_approach_the_certified_optimum(self, loss: str) -> None:
        problem = small(loss, seed=3)
        best = fit_network(problem, time_limit=60)
        found = fit_incremental(problem, tolerance=1e-4, max_iterations=200, time_limit=30)
        assert best.lower_bound <= found.objective <= best.objective * (1 + 2e-4)
        assert found.lower_bound <= best.objective

    def test_the_exact_oracle_is_exact_and_the_search_near_it(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(12, 3))
        x[0], x[1] = 0, -2 * x[2]
        signal = rng.normal(size=12)
        oracle = SignOracle(x, rng)
        w, score = oracle.best(signal)
        many = sign_outputs(x, rng.normal(size=(20_000, 3)))
        most = float(np.abs(signal @ many).max())
        assert oracle.exact
        assert score == pytest.approx(most)
        assert abs(float(signal @ sign_outputs(x, w[None])[:, 0])) == pytest.approx(score)
        oracle.exact = False
        assert 0.95 * most <= oracle.best(signal)[1] <= most * (1 + 1e-12)

    def test_what_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match="units"):
            fit_incremental(small(), units="tanh")  # type: ignore[arg-type]
