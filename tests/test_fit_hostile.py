"""Data that are hard on arithmetic: units far from 1, rows that cancel, lambda at its extremes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    Groups,
    all_parallel_patterns,
    bound_price,
    fit_network,
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


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6])
def test_a_loose_tolerance_is_reached_at_the_zero_network(tolerance: float) -> None:
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((10, 3)), rng.standard_normal(10)
    problem = make_problem(np.vstack([x, x]), np.concatenate([v, -v]), 0.05)
    fit = fit_network(problem, tolerance=tolerance)
    assert fit.status == "optimal"
    assert fit.gap <= tolerance
    assert fit.objective == pytest.approx(float(v @ v) / 20)


@pytest.mark.parametrize("part", [0.9, 0.99, 1.0, 1.05, 1.5])
def test_estimators_are_certified_around_the_critical_lambda(part: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    model = ConvexReLURegressor(part, random_state=0).fit(x, y)
    assert model.status_ == "optimal"
    assert model.gap_ <= 1e-3
    assert ConvexReLUClassifier(part, random_state=0).fit(x, y > 0).status_ == "optimal"


@pytest.mark.parametrize("loss", ["squared", "huber", "logistic", "hinge"])
def test_units_of_data_change_no_network(loss: str) -> None:
    x, y = table(15)
    real = loss in ("squared", "huber")
    target = y if real else np.sign(y - 0.5)
    of_y = -300 if real else 0
    strength = 0.02
    plain = fit_network(make_problem(x, target, strength, loss), tolerance=1e-4)
    kind = Huber(np.ldexp(1.0, of_y)) if loss == "huber" else loss
    scaled_problem = make_problem(
        np.ldexp(x, 500), np.ldexp(target, of_y), np.ldexp(strength, 500 + of_y), kind
    )
    scaled = fit_network(scaled_problem, tolerance=1e-4)
    assert plain.status == scaled.status == "optimal"
    assert scaled.lower_bound == np.ldexp(plain.lower_bound, 2 * of_y)
    np.testing.assert_array_equal(scaled.weights, np.ldexp(plain.weights, (of_y - 500) // 2))
    np.testing.assert_array_equal(scaled.slopes, np.ldexp(plain.slopes, of_y))
    assert scaled.replay() == (scaled.objective, scaled.lower_bound)
    started = fit_network(scaled_problem, tolerance=1e-4, start=(scaled.weights, scaled.outputs))
    assert started.objective <= scaled.objective * (1 + 1e-12)


@pytest.mark.parametrize("near", [0.0, 1e-13, 1e-9])
def test_contradictory_rows_end(near: float) -> None:
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((6, 2)), rng.standard_normal(6)
    data = np.vstack([x, x + near * rng.standard_normal(x.shape)])
    model = ConvexReLURegressor(random_state=0)
    begin = time.process_time()
    if near:
        with pytest.warns():
            model.fit(data, np.concatenate([v, -v]))
    else:
        model.fit(data, np.concatenate([v, -v]))
    assert time.process_time() - begin < 60
    assert 0 <= model.lower_bound_ <= model.objective_


def test_lambda_at_the_ends_of_the_floats() -> None:
    x, y = table(6)
    problem = make_problem(x, y, 1.0)
    vanished = fit_network(replace(problem, regularisation=1e308))
    assert vanished.status == "optimal"
    assert vanished.n_neurons == 0
    fit = fit_network(replace(problem, regularisation=5e-324), time_limit=2)
    assert fit.status in ("stalled", "optimal", "time_limit")
    assert 0 <= fit.lower_bound <= fit.objective < 1e-10


def test_no_targets_no_objective() -> None:
    x, _ = table(5)
    fit = fit_network(make_problem(x, np.zeros(5), 0.1))
    assert fit.status == "optimal"
    assert str(fit.objective) == "0.0"
    assert fit.gap == 0


def test_what_overflows_is_told() -> None:
    x, y = table(5)
    with pytest.raises(ArgumentError, match="overflow"):
        make_problem(x, y * 1e200, 0.1)
    with pytest.raises(ArgumentError, match="progress"):
        fit_network(make_problem(x, y, 0.1), progress=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="certify"):
        fit_network(make_problem(x, y, 0.1), certify="maybe")  # type: ignore[arg-type]


def test_the_time_limit_holds_for_the_critical_lambda_too() -> None:
    x = np.random.default_rng(0).standard_normal((1500, 30))
    begin = time.perf_counter()
    with pytest.warns():
        model = ConvexReLURegressor(time_limit=0.5, random_state=0).fit(x, np.abs(x).sum(1))
    assert model.status_ == "time_limit"
    assert time.perf_counter() - begin < 20
