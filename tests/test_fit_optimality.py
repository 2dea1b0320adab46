from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fit_optimality import LOSSES, adam, brute_force, compare, draw, patterns
from jensen.fit import count_gates, fit_network, make_problem


@pytest.mark.parametrize("number", range(24))
def test_the_optimum_is_that_of_brute_force_over_all_patterns(number: int) -> None:
    pytest.importorskip("cvxpy")
    kind, problem = draw(number + 100, most=9)
    found = compare(problem)
    assert found.holds, (kind, problem.loss.name, found)


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
