from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import nnls

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._certified import certified_objective
from jensen.fit._descend import balanced, descend, random_network
from jensen.fit._generate import fit_network
from jensen.fit._losses import Huber, Loss
from jensen.fit._pool import Pool
from jensen.fit._problem import Problem, make_problem
from jensen.fit._result import Round

Floats = NDArray[np.float64]
LOSSES: list[str | Loss] = ["squared", Huber(0.5), "logistic", "hinge"]


def small(loss: str | Loss, seed: int, n: int = 8, d: int = 3, strength: float = 0.02) -> Problem:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n) if loss == "squared" or isinstance(loss, Huber) else rng.choice([-1.0, 1.0], n)
    x = rng.normal(size=(n, d))
    if seed % 2:
        x[:, -1] = 1  # a bias
        x[1] = x[0]
        x[2, :-1] = 0
    return make_problem(x, y, strength, loss)


def optimum(problem: Problem) -> float:
    """The convex programme with every gate and both signs, by an interior-point method."""
    cp: Any = pytest.importorskip("cvxpy")
    x, y, gates = problem.x, problem.y, all_gates(problem.x)
    u = [cp.Variable((len(gates), x.shape[1])) for _ in range(2)]
    stacked = np.concatenate([g[:, None] * x for g in gates], axis=1)
    output = stacked @ cp.reshape(u[0] - u[1], (stacked.shape[1],), order="C")
    rows = [np.where(g, 1.0, -1.0)[:, None] * x for g in gates]
    cones = [a @ part[i] >= 0 for i, a in enumerate(rows) for part in u]
    losses = {
        "squared": lambda: cp.square(output - y) / 2,
        "huber": lambda: cp.huber(output - y, 0.5) / 2,
        "logistic": lambda: cp.logistic(-cp.multiply(y, output)),
        "hinge": lambda: cp.pos(1 - cp.multiply(y, output)),
    }
    loss = problem.weights @ losses[problem.loss.name]()
    norms = cp.sum(cp.norm(u[0], axis=1)) + cp.sum(cp.norm(u[1], axis=1))
    programme = cp.Problem(cp.Minimize(loss + problem.regularisation * norms), cones)
    programme.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return float(programme.value)


def exact_price(x: Floats, r: Floats) -> float:
    """Maximise |r' relu(X w)| over the ball, cell by cell: the length of a projection on each cone."""
    most = 0.0
    for gate in all_gates(x):
        rows = np.where(gate, 1.0, -1.0)[:, None] * x
        for signal in (r, -r):
            most = max(most, nnls(rows.T, -(x.T @ (gate * signal)))[1])
    return most


@pytest.mark.parametrize("loss", LOSSES, ids=["squared", "huber", "logistic", "hinge"])
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_over_all_patterns_is_found_and_proved(loss: str | Loss, seed: int) -> None:
    problem = small(loss, seed)
    fit = fit_network(problem, neurons=10, seed=seed, time_limit=60)
    best = optimum(problem)
    assert fit.status == "optimal"
    assert fit.gap <= 1e-6
    assert fit.objective == pytest.approx(best, rel=1e-6, abs=1e-9)
    assert fit.lower_bound <= best * (1 + 1e-8) + 1e-9
    # What the bound rests on, by another way.
    assert exact_price(problem.x, problem.pull(fit.slopes)) <= fit.price * (1 + 1e-12)
    objective, lower = fit.replay()
    assert objective == fit.objective
    assert lower == fit.lower_bound


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twelve_samples(seed: int) -> None:
    problem = small(LOSSES[seed % 4], seed, n=12, strength=0.01)
    fit = fit_network(problem, neurons=20, time_limit=60)
    assert fit.status == "optimal"
    assert fit.objective == pytest.approx(optimum(problem), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=["squared", "huber", "logistic", "hinge"])
def test_no_descent_ends_below_the_bound(loss: str | Loss) -> None:
    problem = small(loss, 4, n=15, d=3)
    fit = fit_network(problem, time_limit=60)
    rng = np.random.default_rng(0)
    assert fit.gap <= 1e-6
    for _ in range(10):
        found = descend(problem, *random_network(problem, 30, rng), steps=500)
        assert certified_objective(problem, *found) >= fit.lower_bound


def test_the_same_seed_gives_the_same_network() -> None:
    one, two = (fit_network(small("squared", 2), seed=5) for _ in range(2))
    assert (one.weights == two.weights).all()
    assert one.lower_bound == two.lower_bound


def test_strong_regularisation_leaves_no_neuron() -> None:
    problem = small("squared", 0, strength=100.0)
    fit = fit_network(problem)
    assert fit.status == "optimal"
    assert fit.n_neurons == 0
    assert fit.objective == pytest.approx(float((problem.y**2).mean() / 2))
    assert not fit.predict(problem.x).any()


def test_rounds_are_reported_and_bounds_only_improve() -> None:
    lines: list[Round] = []
    fit = fit_network(small("squared", 1, n=20), progress=lines.append, neurons=3)
    assert tuple(lines) == fit.history
    objectives = [line.objective for line in lines]
    assert objectives == sorted(objectives, reverse=True)
    lowers = [line.lower_bound for line in lines]
    assert lowers == sorted(lowers)
    assert fit.objective == pytest.approx(objectives[-1], rel=1e-12)
    assert fit.objective <= objectives[-1] * (1 + 1e-12)
    assert fit.lower_bound == lowers[-1]


def test_without_a_certificate_the_bound_is_crude_but_one() -> None:
    problem = small("squared", 3)
    fit = fit_network(problem, certify=False)
    assert fit.status == "uncertified"
    assert fit.objective == pytest.approx(optimum(problem), rel=1e-6)
    assert 0 < fit.lower_bound < fit.objective
    assert fit.replay() == (fit.objective, fit.lower_bound)


def test_time_limits_and_interrupts_keep_the_best_network() -> None:
    rng = np.random.default_rng(0)
    problem = make_problem(rng.normal(size=(200, 20)), rng.normal(size=200), 0.001)
    begin = time.perf_counter()
    fit = fit_network(problem, time_limit=0.5)
    assert time.perf_counter() - begin < 20
    assert fit.status == "time_limit"
    zero = certified_objective(problem, np.zeros((0, 20)), np.zeros(0))
    assert 0 <= fit.lower_bound < fit.objective < zero

    def stop(line: Round) -> None:
        raise KeyboardInterrupt

    fit = fit_network(small("squared", 0), progress=stop)
    assert fit.status == "interrupted"
    assert len(fit.history) == 1
    assert fit.replay() == (fit.objective, fit.lower_bound)


def test_training_starts_from_a_module_or_arrays() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    problem = small("squared", 1)
    module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1, bias=False))
    fit = fit_network(problem, start=module)
    again = fit_network(problem, start=(fit.weights, fit.outputs))
    assert again.objective == pytest.approx(fit.objective, rel=2e-6)
    back = fit.to_torch(bias=True)(torch.tensor(problem.x[:, :2])).detach().numpy()[:, 0]
    assert back == pytest.approx(fit.predict(problem.x))
    assert (fit.predict(problem.x) == np.maximum(problem.x @ fit.weights.T, 0) @ fit.outputs).all()


def test_nonsense_is_refused() -> None:
    problem = small("squared", 0)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": "small"}, "tolerance"),
        ({"time_limit": -1}, "time_limit"),
        ({"seed": -1}, "seed"),
        ({"neurons": 0}, "neurons"),
        ({"start": 3}, "start"),
        ({"start": (np.ones((2, 2)), np.ones(2))}, "start"),
        ({"start": (np.ones((2, 3)), np.array([1, np.nan]))}, "start"),
    ]
    for arguments, says in wrong:
        with pytest.raises(ArgumentError, match=says):
            fit_network(problem, **arguments)
    with pytest.raises(ArgumentError, match="scalar output"):
        fit_network(make_problem(np.ones((3, 1)), np.ones((3, 2)), 0.1))
    with pytest.raises(ArgumentError, match="columns"):
        fit_network(problem).predict(np.ones((2, 5)))


def test_data_without_any_signal() -> None:
    for x, y in ((np.zeros((4, 2)), np.ones(4)), (np.ones((4, 2)), np.zeros(4))):
        fit = fit_network(make_problem(x, y, 0.1))
        assert fit.status == "optimal"
        assert fit.n_neurons == 0


def test_descent_does_not_raise_the_objective() -> None:
    problem = small("logistic", 0)
    rng = np.random.default_rng(1)
    weights, outputs = rng.normal(size=(6, 3)), rng.normal(size=6)
    before = certified_objective(problem, weights, outputs)
    same = balanced(weights, outputs)
    assert certified_objective(problem, *same) == pytest.approx(before)
    assert np.linalg.norm(same[0], axis=1) == pytest.approx(np.abs(same[1]))
    after = descend(problem, weights, outputs, steps=50)
    assert certified_objective(problem, *after) < before
    late = descend(problem, weights, outputs, steps=50, deadline=time.perf_counter())
    assert certified_objective(problem, *late) <= before * (1 + 1e-12)


def test_pools_keep_groups_once_and_forget_idle_ones() -> None:
    x = np.eye(3)
    pool = Pool(x)
    gates = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=bool)
    assert pool.add(gates, np.array([1, -1, 1, 1], dtype=np.int8)) == 3
    assert pool.add(gates, np.array([1, -1, 1, 1], dtype=np.int8)) == 0
    assert len(pool) == len(pool.groups) == 3
    assert pool.move_to(np.array([[1.0, -1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([1, 1], dtype=np.int8)) == 1
    assert pool.coefficients[0].tolist() == [1.0, -1.0, 2.0]
    used = np.zeros((4, 3))
    used[2] = 1.0
    for _ in range(6):
        pool.forget()
        assert len(pool) == 4
        pool.solved(used)
    pool.forget()
    assert len(pool) == 1
    assert pool.groups.gates.tolist() == [[False, True, False]]
    assert pool.add(gates, np.array([1, -1, 1, 1], dtype=np.int8)) == 2
    assert pool.groups.gates[1].tolist() == [True, False, True]
