from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fit_optimality import LOSSES, adam, brute_force, compare, draw, patterns
from jensen.fit import count_gates, fit_network, make_problem
from jensen.fit._anneal import Slides, anneal, random_starts
from jensen.fit._descend import descend, objective_of, random_network


@pytest.mark.parametrize("number", range(24))
def test_the_optimum_is_that_of_brute_force_over_all_patterns(number: int) -> None:
    pytest.importorskip("cvxpy")
    kind, problem = draw(number + 100, most=9)
    found = compare(problem)
    assert found.holds, (kind, problem.loss.name, found)


def test_slopes_at_the_border_of_their_domain_cost_no_proof() -> None:
    _, problem = draw(156)
    assert problem.loss.name == "hinge"
    assert not problem.x[1].any()
    assert fit_network(problem).status == "optimal"


@pytest.mark.parametrize("loss", range(4))
def test_no_adam_ends_below_the_bound(loss: int) -> None:
    _, problem = draw(8 * loss + 5, most=15)
    assert problem.loss.name == ("squared", "huber", "logistic", "hinge")[loss]
    fit = fit_network(problem)
    assert fit.gap <= 1e-6
    reached = adam(problem, fit, steps=200, seed=loss)
    assert reached.shape == (25,)
    assert (reached >= fit.lower_bound).all()


def test_brute_force_knows_the_number_of_patterns() -> None:
    x = np.random.default_rng(0).standard_normal((8, 3))
    assert len(patterns(x)) == count_gates(8, 3)
    assert len(patterns(np.vstack([x, x, np.zeros((1, 3))])[6:])) == len(patterns(x))


def test_brute_force_finds_what_is_known() -> None:
    pytest.importorskip("cvxpy")
    # One sample: relu(w) a with x = 1 has the objective (o - 2)^2 / 2 + |o| / 2, least at o = 1.5.
    assert brute_force(make_problem([[1.0]], [2.0], 0.5)) == pytest.approx(0.875, rel=1e-8)


def test_all_losses_and_kinds_are_drawn() -> None:
    drawn = [draw(number) for number in range(32)]
    assert len({(kind, problem.loss.name) for kind, problem in drawn}) == 8 * len(LOSSES)


def test_long_steps_end_below_a_plain_descent() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 20))
    problem = make_problem(x, rng.standard_normal(200), 0.005)
    start = random_network(problem, 30, rng)
    found = anneal(problem, *start, steps=300, rate=2.0)
    assert objective_of(problem, *found) < objective_of(problem, *descend(problem, *start, steps=300))
    # Units of the data make no difference, as far as float32 goes.
    scaled = replace(problem, x=2.0**40 * x, y=2.0**-60 * problem.y, regularisation=2.0**-20 * 0.005)
    same = (2.0**-50 * start[0], 2.0**-50 * start[1])
    other = objective_of(scaled, *anneal(scaled, *same, steps=300, rate=2.0))
    assert other * 2.0**120 == pytest.approx(objective_of(problem, *found), rel=1e-6)


def test_runs_of_adam_end_in_time_and_survive_what_float32_does_not() -> None:
    rng = np.random.default_rng(0)
    problem = make_problem(rng.standard_normal((50, 5)), rng.standard_normal(50), 0.05)
    start = random_network(problem, 10, rng)
    late = time.perf_counter()
    assert objective_of(problem, *anneal(problem, *start, steps=10**9, rate=2.0, deadline=late)) < np.inf
    assert not list(random_starts(problem, 10, rng, late))
    before = objective_of(problem, *start)
    assert objective_of(problem, *Slides().run(problem, *start, least=1e-6, deadline=np.inf)) < before
    for strength in (1e-300, 1e300):
        extreme = replace(problem, regularisation=strength)
        weights, outputs = anneal(extreme, *start, steps=60, rate=2.0)
        assert np.isfinite(weights).all()
        assert np.isfinite(outputs).all()
    values = [objective_of(problem, *net) for net in random_starts(problem, 10, rng, np.inf)]
    assert values == sorted(values, reverse=True)
