"""Data that are hard on arithmetic: units far from 1, rows that cancel, lambda at its extremes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit import (
    Groups,
    all_parallel_patterns,
    bound_price,
    fit_parallel_network,
    gaussian_gates,
    make_problem,
    solve_gated,
    solve_relu,
)
from jensen.fit._distinct import distinct_samples
from jensen.fit._losses import Huber
from jensen.fit._semismooth import ActiveGroups, _by_products, _factored

Floats = NDArray[np.float64]


def table(n: int = 30, d: int = 2, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, np.abs(x[:, 0]) + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("solve", [solve_relu, solve_gated])
@pytest.mark.parametrize(("of_x", "of_y"), [(-40, 30), (27, -300), (-301, -100)])
@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_units_of_given_patterns_change_no_bit(solve: object, of_x: int, of_y: int, loss: str) -> None:
    assert callable(solve)
    x, y = table()
    groups = Groups.both_signs(gaussian_gates(x, 20, seed=0))
    width = 0.5
    plain = solve(make_problem(x, y, 0.01, Huber(width) if loss == "huber" else loss), groups)
    scaled = solve(
        make_problem(
            np.ldexp(x, of_x),
            np.ldexp(y, of_y),
            np.ldexp(0.01, of_x + of_y),
            Huber(np.ldexp(width, of_y)) if loss == "huber" else loss,
        ),
        groups,
    )
    assert plain.status == scaled.status == "optimal"
    np.testing.assert_array_equal(scaled.coefficients, np.ldexp(plain.coefficients, of_y - of_x))
    np.testing.assert_array_equal(scaled.slopes, np.ldexp(plain.slopes, of_y))
    assert scaled.lower_bound == np.ldexp(plain.lower_bound, 2 * of_y)


def test_differences_of_matrices_that_cancel_are_replaced_by_sums() -> None:
    rng = np.random.default_rng(0)
    n, d = 12, 3
    x = np.column_stack([1e-8 * rng.standard_normal((n, d - 1)), np.ones(n)])
    normals = [np.array([[0.0, 0.0, 1.0]])] * 8
    masks = np.ones((8, n))
    directions = np.tile([1.0, 0.0, 0.0], (8, 1))
    active = ActiveGroups(masks, directions, np.full(8, 0.5), normals)
    right = rng.standard_normal(n)
    found = _by_products(x, x @ x.T, active, np.full(n, 1e-3), 1e18, right)
    face = x[:, :2]
    system = 1e-3 * np.eye(n) + 8e18 * face @ np.diag([1.0, 0.5]) @ face.T
    np.testing.assert_allclose(system @ found, right, atol=1e-6)


def test_systems_that_are_no_numbers_have_no_solution() -> None:
    assert _factored(np.full((2, 2), np.nan), np.ones(2)) is None
    assert _factored(np.array([[1.0, 3.0], [3.0, 1.0]]), np.ones(2), 1e-8) is None
    assert _factored(np.array([[1.0, 1.0], [1.0, 1.0]]), np.ones(2)) is not None


@pytest.mark.parametrize("most", [1e308, 5e-324])
def test_weights_at_the_ends_of_the_floats(most: float) -> None:
    x, y = table(20)
    even = make_problem(x, y, 0.01, sample_weight=np.full(20, most))
    np.testing.assert_array_equal(even.weights, make_problem(x, y, 0.01, sample_weight=np.ones(20)).weights)
    _, _, sums = distinct_samples(np.ones((3, 1)), np.ones(3), np.full(3, most))
    assert np.isfinite(sums).all()
    assert (sums > 0).all()


def test_limits_may_be_any_numbers() -> None:
    x, y = table(12)
    problem, groups = make_problem(x, y, 0.05), Groups.both_signs(gaussian_gates(x, 5, seed=0))
    found = solve_relu(problem, groups, tolerance=np.float32(1e-3), time_limit=np.inf)  # type: ignore[arg-type]
    assert found.status == "optimal"
    with pytest.raises(ArgumentError, match="time_limit"):
        solve_relu(problem, groups, time_limit=np.nan)


def test_prices_at_the_ends_of_the_floats() -> None:
    x, y = table(12, 3)
    plain = bound_price(x, y, threshold=0.1, count=0)
    assert plain.status == "proven"
    scaled = bound_price(x * 2.0**600, y * 2.0**-100, threshold=0.1 * 2.0**500, count=0)
    # One ulp is added outside.
    assert scaled.upper == pytest.approx(plain.upper * 2.0**500, rel=1e-15)
    huge = bound_price(x * 1e200, y * 1e200, count=0)
    assert huge.upper == np.inf
    assert np.isfinite(huge.lower)
    assert huge.status == "inaccurate"
    assert bound_price(x, y, threshold=1e308).status == "proven"
    assert bound_price(x, y, threshold=5e-324, count=1).status == "violated"


def test_prices_of_other_types() -> None:
    x, y = table(8)
    listed = bound_price(x.tolist(), y.tolist(), count=0)
    assert listed.upper == bound_price(x, y, count=0).upper
    single = bound_price(x.astype(np.float32), y.astype(np.float32), count=0)
    assert single.neurons.dtype == np.float64
    for wrong in ({"threshold": "a"}, {"tolerance": 0}, {"count": 1.5}, {"seeds": np.ones((1, 9))}):
        with pytest.raises(ArgumentError):
            bound_price(x, y, **wrong)
    with pytest.raises(ArgumentError, match="x holds"):
        bound_price("text", y)  # type: ignore[arg-type]


def test_rows_that_all_but_cancel_end_the_search() -> None:
    rng = np.random.default_rng(1507)
    x = rng.standard_normal((5, 3)) * [1e-11, 1e-3, 1e-4]
    r = rng.standard_normal(5)
    bound = bound_price(np.vstack([x, x * (1 + 1e-13)]), np.concatenate([r, -r]), count=0, time_limit=100)
    assert bound.status == "inaccurate"
    assert 0 <= bound.lower <= bound.upper < 1e-10


def test_groups_and_losses_of_wrong_types_are_told() -> None:
    x, y = table(4)
    listed = Groups([[True] * 4], [1])  # type: ignore[arg-type]
    assert solve_relu(make_problem(x, y, 0.1), listed).status == "optimal"
    for gates, signs in (([[1, 0]], [1]), ([[True]], [2]), ([[True]], [1, 1]), ([True], [1])):
        with pytest.raises(ArgumentError):
            Groups(gates, signs)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="width"):
        Huber("a")  # type: ignore[arg-type]


def test_no_patterns_make_an_empty_network() -> None:
    x, y = np.zeros((2, 2)), np.ones(2)
    found = fit_parallel_network(make_problem(x, y, 0.1), all_parallel_patterns(x, 2))
    assert found.solution.objective == pytest.approx(0.5)
