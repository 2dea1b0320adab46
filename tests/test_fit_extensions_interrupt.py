"""Ctrl-C keeps the best so far; and a table that is not random."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jensen.fit import (
    all_gates,
    fit_batch_norm_after,
    fit_frank_wolfe,
    fit_incremental,
    fit_mixture,
    fit_polynomial_network,
    fit_vector_network,
    make_problem,
    solve_gated_vectors,
)
from jensen.fit.extensions import (
    _cone_lasso,
    _degree_two,
    _gated_nuclear,
    _mixture_game,
    _vector_fit,
    _vector_network,
)
from jensen.fit.extensions._vector_network import network_value

CALLS = [0, 1, 3, 8]


def interrupt(monkeypatch: pytest.MonkeyPatch, home: object, name: str, after: int) -> None:
    """Let the call number `after` of a function be the one in which Ctrl-C is pressed."""
    true: Callable[..., Any] = getattr(home, name)
    count = 0

    def pressed(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == after + 1:
            raise KeyboardInterrupt
        return true(*args, **options)

    monkeypatch.setattr(home, name, pressed)


def vectors(n: int = 20, d: int = 3, c: int = 2) -> Any:
    rng = np.random.default_rng(0)
    return make_problem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), 0.02)


def scalars() -> Any:
    rng = np.random.default_rng(0)
    return make_problem(rng.normal(size=(12, 2)), rng.normal(size=12), 0.02)


@pytest.mark.parametrize(
    "name", ["select_vectors", "descend_vectors", "polish_vectors", "search_vector_price"]
)
@pytest.mark.parametrize("after", [0, 1])
def test_vector_networks(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    problem = vectors()
    interrupt(monkeypatch, _vector_fit, name, after)
    found = fit_vector_network(problem)
    assert found.status == "interrupted"
    assert found.objective == pytest.approx(network_value(problem, found.weights, found.outputs), rel=1e-12)
    assert 0 <= found.lower_bound <= found.objective
    nothing = network_value(problem, found.weights[:0], found.outputs[:0])
    assert found.objective <= nothing
    if (name, after) != ("select_vectors", 0):
        assert found.objective < nothing


def test_a_descent_hands_over_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = vectors()
    network = _vector_network.random_vector_network(problem, 20, np.random.default_rng(0))
    seen: list[float] = []
    evaluations = 0
    true = type(problem).primal

    def counted(self: Any, *args: Any) -> float:
        nonlocal evaluations
        evaluations += 1
        if evaluations == 50:
            raise KeyboardInterrupt
        return float(true(self, *args))

    monkeypatch.setattr(type(problem), "primal", counted)
    with pytest.raises(KeyboardInterrupt):
        _vector_network.descend_vectors(
            problem, *network, steps=1000, keep=lambda w, a: seen.append(network_value(problem, w, a))
        )
    assert seen[0] < 0.7 * network_value(problem, *network)


def test_a_signal_from_outside() -> None:
    import _thread

    problem = vectors(60, 6, 4)
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    found = fit_vector_network(problem, tolerance=1e-9)
    timer.join()
    assert found.status == "interrupted"
    assert found.objective < network_value(problem, found.weights[:0], found.outputs[:0])


@pytest.mark.parametrize("after", CALLS)
def test_gated_vectors(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    problem = vectors(8, 2)
    gates = all_gates(problem.x)
    interrupt(monkeypatch, _gated_nuclear._Run, "shrink", after)
    found = solve_gated_vectors(problem, gates)
    assert found.status == "interrupted"
    assert found.lower_bound <= found.objective < np.inf


@pytest.mark.parametrize("after", CALLS)
def test_cones(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    problem = scalars()
    interrupt(monkeypatch, _cone_lasso._Barrier, "newton", after)
    found = fit_batch_norm_after(problem.x, problem.y, 0.02)
    assert found.solution.status == "interrupted"
    assert 0 <= found.solution.lower_bound <= found.solution.objective
    assert found.solution.objective <= problem.primal(np.zeros(12), 0.0)


@pytest.mark.parametrize("after", CALLS[:3])
def test_polynomials(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    problem = scalars()
    interrupt(monkeypatch, _degree_two, "minimize", after)
    found = fit_polynomial_network(problem, (0.1, 1.0, 0.0), tolerance=1e-12)
    assert found.status == "interrupted"
    norm = float(np.abs(found.outputs).sum())
    assert found.objective == pytest.approx(problem.primal(found.predict(problem.x), norm), rel=1e-12)


@pytest.mark.parametrize("after", CALLS[:2])
def test_mixtures(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    rng = np.random.default_rng(0)
    interrupt(monkeypatch, _mixture_game, "linprog", after)
    found = fit_mixture(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)))
    assert found.status == "interrupted"
    assert 0 <= found.lower_bound <= found.upper_bound < np.inf


@pytest.mark.parametrize("trainer", [fit_frank_wolfe, fit_incremental])
def test_ancestors(trainer: Any) -> None:
    problem, lines = scalars(), []

    def press(line: Any) -> None:
        lines.append(line)
        if len(lines) == 4:
            raise KeyboardInterrupt

    found = trainer(problem, progress=press)
    assert found.status == "interrupted"
    norm = float(np.linalg.norm(found.weights, axis=1) @ np.abs(found.outputs))
    fitted = np.maximum(problem.x @ found.weights.T, 0) @ found.outputs
    assert found.objective == pytest.approx(problem.primal(fitted, norm), rel=1e-9)
    assert found.objective <= lines[2].objective


def test_iris_is_trained_to_a_gap() -> None:
    datasets: Any = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_iris(return_X_y=True)
    table = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    problem = make_problem(table, np.eye(3)[y], 0.02, "multinomial")
    found = fit_vector_network(problem, tolerance=1e-4)
    assert found.status == "optimal"
    assert 0 <= found.gap <= 1e-4
    assert (found.predict(table).argmax(1) == y).mean() >= 0.96
    rng = np.random.default_rng(1)
    for _ in range(3):
        network = _vector_network.random_vector_network(problem, 30, rng)
        end = network_value(problem, *_vector_network.descend_vectors(problem, *network, steps=300))
        assert end >= found.lower_bound
    assert end <= found.objective * 1.01
