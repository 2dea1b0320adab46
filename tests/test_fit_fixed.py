"""Optimal networks over fixed patterns, against CVXPY with Clarabel and against nonnegative least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cvxpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import nnls

from jensen.errors import ArgumentError
from jensen.fit import _grouped
from jensen.fit._cones import Cones
from jensen.fit._fixed import solve_gated, solve_relu
from jensen.fit._grouped import group_prices
from jensen.fit._loss_prox import proximal
from jensen.fit._losses import Hinge, Huber, Logistic, Loss, Multinomial, Squared
from jensen.fit._path import critical_regularisation, regularisation_path
from jensen.fit._problem import Problem, make_problem
from jensen.fit._semismooth import (
    ActiveGroups,
    _by_columns,
    _by_conjugate_gradients,
    _by_products,
    solve_newton,
)
from jensen.fit._soft_hinge import SoftHinge
from jensen.fit._solution import FixedSolution, Groups

Floats = NDArray[np.float64]
cp: Any = cvxpy
LOSSES = ["squared", "huber", "logistic", "hinge"]


def clarabel(problem: Problem, groups: Groups, cones: bool) -> float:
    n, d = problem.x.shape
    if not len(groups):
        return problem.primal(np.zeros(n), 0.0)
    u = cp.Variable((len(groups), d))
    masks = groups.gates * groups.signs[:, None]
    fitted = cp.sum(cp.multiply(masks.T, problem.x @ u.T), axis=1)
    y, w = problem.y, problem.weights
    losses = {
        "squared": lambda: cp.sum(cp.multiply(w, cp.square(fitted - y))) / 2,
        "huber": lambda: cp.sum(cp.multiply(w, cp.huber(fitted - y, 1.0))) / 2,
        "logistic": lambda: cp.sum(cp.multiply(w, cp.logistic(-cp.multiply(y, fitted)))),
        "hinge": lambda: cp.sum(cp.multiply(w, cp.pos(1 - cp.multiply(y, fitted)))),
    }
    constraints = []
    if cones:
        flips = np.where(groups.gates, 1.0, -1.0)
        constraints = [cp.multiply(flips.T, problem.x @ u.T) >= 0]
    programme = cp.Problem(
        cp.Minimize(losses[problem.loss.name]() + problem.regularisation * cp.sum(cp.norm(u, axis=1))),
        constraints,
    )
    accuracy = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}
    programme.solve(solver=cp.CLARABEL, **accuracy)
    return float(programme.value)


def instance(
    seed: int,
    n: int = 25,
    d: int = 4,
    count: int = 10,
    loss: str = "squared",
    share: float = 0.1,
    cones: bool = True,
) -> tuple[Problem, Groups]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return finish(x, rng, count, loss, share, cones)


def finish(
    x: Floats,
    rng: np.random.Generator,
    count: int,
    loss: str,
    share: float,
    cones: bool,
    weights: Floats | None = None,
    gates: NDArray[np.bool_] | None = None,
) -> tuple[Problem, Groups]:
    n, d = x.shape
    y = np.maximum(x @ rng.standard_normal((d, 3)), 0) @ rng.standard_normal(3) + 0.3 * rng.standard_normal(n)
    if loss in ("logistic", "hinge"):
        y = np.where(y > np.median(y) - 1e-9, 1.0, -1.0)
    if gates is None:
        gates = rng.standard_normal((count, d)) @ x.T >= 0
    groups = Groups.both_signs(gates) if cones else Groups(gates, np.ones(len(gates), dtype=np.int8))
    problem = make_problem(x, y, 1.0, loss, weights)
    most = critical_regularisation(problem, groups, cones)
    return replace(problem, regularisation=share * most if most > 0 else 1.0), groups


def solve(problem: Problem, groups: Groups, cones: bool, **options: object) -> FixedSolution:
    solver: Callable[..., FixedSolution] = solve_relu if cones else solve_gated
    return solver(problem, groups, **options)


def agree(problem: Problem, groups: Groups, cones: bool) -> FixedSolution:
    """Check a solution against itself and against Clarabel."""
    found = solve(problem, groups, cones)
    assert found.status == "optimal"
    assert found.gap <= 1e-6
    u = found.coefficients
    masks = groups.gates * groups.signs[:, None]
    fitted = (masks * (u @ problem.x.T)).sum(0)
    np.testing.assert_allclose(found.fitted, fitted, atol=1e-9 * (1 + np.abs(fitted).max()))
    norm = np.linalg.norm(u, axis=1).sum()
    assert found.objective == pytest.approx(problem.primal(fitted, norm), rel=1e-12, abs=1e-15)
    if cones:
        flips = np.where(groups.gates, 1.0, -1.0)
        sizes = np.linalg.norm(u, axis=1)[:, None] * np.linalg.norm(problem.x, axis=1)
        assert (flips * (u @ problem.x.T) >= -1e-9 * sizes).all()
        assert found.violation <= 1e-9
    # The dual point is feasible, and its value is the bound.
    price = group_prices(problem, groups, found.slopes, cones).max(initial=0.0)
    bound = problem.scaled_dual(found.slopes, price)[0]
    assert found.lower_bound <= max(bound, 0.0) + 1e-10 * (1 + abs(bound))
    reference = clarabel(problem, groups, cones)
    assert found.objective == pytest.approx(reference, rel=2e-6, abs=1e-8)
    assert found.lower_bound <= reference * (1 + 1e-8) + 1e-9
    return found


@pytest.mark.parametrize("cones", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.5, 0.05, 0.002])
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_clarabel(seed: int, share: float, loss: str, cones: bool) -> None:
    agree(*instance(seed, loss=loss, share=share, cones=cones), cones)


@pytest.mark.parametrize("cones", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "kind",
    [
        "weights",
        "repeated",
        "deficient",
        "zero row",
        "bias",
        "duplicates",
        "unrealised",
        "wide",
        "one",
        "scaled",
    ],
)
def test_degenerate_data(kind: str, loss: str, cones: bool) -> None:
    rng = np.random.default_rng(3)
    x, weights, gates = rng.standard_normal((20, 3)), None, None
    if kind == "weights":
        weights = rng.exponential(size=20)
        weights[:4] = 0.0
    elif kind == "repeated":
        x = np.concatenate([x[:7], x[:7], -x[:3], 2 * x[:3]])
    elif kind == "deficient":
        x = np.concatenate([x, x[:, :1] - 2 * x[:, 1:2], np.zeros((20, 1))], axis=1)
    elif kind == "zero row":
        x[3] = 0.0
    elif kind == "bias":
        x = np.concatenate([x, np.ones((20, 1))], axis=1)
    elif kind == "duplicates":
        gates = rng.standard_normal((5, 3)) @ x.T >= 0
        gates = np.concatenate([gates, gates, np.zeros((2, 20), dtype=bool), np.ones((1, 20), dtype=bool)])
    elif kind == "unrealised":
        gates = rng.random((8, 20)) > 0.5
        gates[0] = rng.standard_normal(3) @ x.T > 0
    elif kind == "wide":
        x = rng.standard_normal((6, 15))
    elif kind == "one":
        x = rng.standard_normal((1, 3))
    elif kind == "scaled":
        x = 1e4 * x
    agree(*finish(x, rng, 6, loss, 0.05, cones, weights, gates), cones)


def test_fifty_small_problems() -> None:
    rng = np.random.default_rng(11)
    for seed in range(50):
        cones = bool(seed % 2)
        n, d = int(rng.integers(1, 13)), int(rng.integers(1, 4))
        agree(
            *instance(seed, n, d, 4, LOSSES[seed // 2 % 4], float(10 ** rng.uniform(-2.5, -0.1)), cones),
            cones,
        )


@pytest.mark.parametrize("cones", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_critical_regularisation(loss: str, cones: bool) -> None:
    problem, groups = instance(5, loss=loss, cones=cones)
    most = critical_regularisation(problem, groups, cones)
    above = solve(replace(problem, regularisation=most * (1 + 1e-9)), groups, cones)
    assert not above.coefficients.any()
    assert (above.iterations, above.status) == (0, "optimal")
    below = solve(replace(problem, regularisation=most * (1 - 1e-3)), groups, cones, tolerance=1e-9)
    assert below.coefficients.any()


def test_nothing_to_fit() -> None:
    problem, groups = instance(0)
    zero = solve_relu(replace(problem, y=np.zeros_like(problem.y)), groups)
    assert (zero.objective, zero.gap, zero.status) == (0.0, 0.0, "optimal")
    none = solve_relu(problem, Groups.both_signs(np.zeros((0, len(problem.y)), dtype=bool)))
    assert none.coefficients.shape == (0, 4)
    assert none.gap <= 1e-12


@pytest.mark.parametrize("cones", [True, False])
def test_working_sets_find_all_groups(cones: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, groups = instance(2, count=60, share=0.02, cones=cones)
    whole = solve(problem, groups, cones)
    monkeypatch.setattr(_grouped, "_WORKING", 6)
    parts = solve(problem, groups, cones)
    assert parts.status == "optimal"
    assert parts.objective == pytest.approx(whole.objective, rel=2e-6)
    assert parts.lower_bound <= whole.objective * (1 + 1e-12)
    again = solve(problem, groups, cones, start=parts.coefficients, tolerance=2e-6)
    assert again.iterations <= parts.iterations


@pytest.mark.parametrize("cones", [True, False])
def test_path_agrees_with_single_solves(cones: bool) -> None:
    problem, groups = instance(4, cones=cones)
    lambdas = problem.regularisation * np.array([10.5, 3.0, 1.0, 0.3])
    path = regularisation_path(problem, groups, lambdas.tolist(), cones)
    assert not path[0].coefficients.any()
    for strength, found in zip(lambdas, path, strict=True):
        alone = solve(replace(problem, regularisation=float(strength)), groups, cones)
        assert found.objective == pytest.approx(alone.objective, rel=2e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_warm_start_is_kept(loss: str) -> None:
    problem, groups = instance(6, loss=loss)
    first = solve_relu(problem, groups)
    again = solve_relu(problem, groups, start=first.coefficients, max_iterations=1)
    assert again.objective <= first.objective * (1 + 1e-12)
    both = solve_relu(problem, groups, start=first.coefficients, slopes=first.slopes, tolerance=2e-6)
    assert (both.iterations, both.status) == (0, "optimal")
    outside = solve_relu(problem, groups, start=-first.coefficients)
    assert outside.objective == pytest.approx(first.objective, rel=2e-6)


def test_limits_and_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, groups = instance(7, n=60, d=6, count=40, share=0.01)
    few = solve_relu(problem, groups, max_iterations=2)
    assert (few.status, few.iterations) == ("iteration_limit", 2)
    short = solve_relu(problem, groups, time_limit=1e-9)
    assert short.status == "time_limit"
    assert short.violation <= 1e-9
    best = solve_relu(problem, groups)
    calls = 0

    def interrupt(*args: object) -> Floats:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return solve_newton(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("jensen.fit._subproblem.solve_newton", interrupt)
    broken = solve_relu(problem, groups)
    assert broken.status == "interrupted"
    for found in (few, short, broken):
        assert best.objective * (1 - 2e-6) <= found.objective
        assert found.lower_bound <= best.objective
        assert found.objective <= problem.primal(np.zeros_like(problem.y), 0.0)


def test_bad_arguments() -> None:
    problem, groups = instance(0)
    for start in (np.zeros((3, 4)), np.zeros((20, 5)), np.full((20, 4), np.nan), "no"):
        with pytest.raises(ArgumentError, match="start"):
            solve_relu(problem, groups, start=start)
    for options in ({"tolerance": 0.0}, {"tolerance": "x"}, {"time_limit": -1.0}, {"max_iterations": 0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            solve_gated(problem, groups, **options)
    with pytest.raises(ArgumentError, match="slopes"):
        solve_relu(problem, groups, slopes=np.zeros(3))
    with pytest.raises(ArgumentError, match="gates"):
        solve_relu(problem, Groups(groups.gates[:, 1:], groups.signs))
    with pytest.raises(ArgumentError, match="signs"):
        solve_relu(problem, Groups(groups.gates, 2 * groups.signs))
    with pytest.raises(ArgumentError, match="scalar"):
        solve_relu(make_problem(problem.x, np.eye(25), 1.0), groups)
    with pytest.raises(ArgumentError, match="multinomial"):
        proximal(Multinomial(), problem.y, 1.0, problem.y)
    wrong: list[Any] = [[1.0, 0.0], [[1.0]], [np.inf]]
    for lambdas in wrong:
        with pytest.raises(ArgumentError, match="lambdas"):
            regularisation_path(problem, groups, lambdas, True)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6), st.booleans())
def test_projection_on_cones(seed: int, n: int, d: int, integers: bool) -> None:
    """The projection is the residual of nonnegative least squares, from any passive set."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (n, d)).astype(float) if integers else rng.standard_normal((n, d))
    gates = rng.random((3, n)) > 0.5
    if integers:
        gates[0] = x @ rng.integers(-2, 3, d) > 0
    cones = Cones(x, gates)
    for _ in range(4):
        points = rng.integers(-3, 4, (3, d)).astype(float) if integers else rng.standard_normal((3, d))
        found, lengths = cones.project(points)
        for g in range(3):
            a = np.where(gates[g], 1.0, -1.0)[:, None] * x
            expected = points[g] + a.T @ nnls(a.T, -points[g])[0]
            np.testing.assert_allclose(found[g], expected, atol=1e-9)
        np.testing.assert_allclose(lengths, np.linalg.norm(found, axis=1), atol=1e-12)
        most = np.linalg.norm(points, axis=1).max() / 2
        short, bounds = cones.project(points, most)
        assert (bounds >= lengths - 1e-12).all()
        long = bounds > most
        np.testing.assert_allclose(short[long], found[long], atol=1e-9)
        assert (long == (lengths > most)).all()


@pytest.mark.parametrize(
    "loss", [Squared(), Huber(0.7), Logistic(), SoftHinge(0.2, np.linspace(0.01, 0.99, 400))]
)
@pytest.mark.parametrize("reach", [0.1, 10.0, 1e5])
def test_proximal_map_of_losses(loss: Loss, reach: float) -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random(400) > 0.5, 1.0, -1.0)
    z = rng.standard_normal(400) * np.geomspace(0.1, 10 * reach, 400)
    o, curvature = proximal(loss, z, reach, y)
    np.testing.assert_allclose((z - o) / reach, loss.slope(o, y), atol=1e-9)
    np.testing.assert_allclose(curvature, loss.curvature(o, y), atol=1e-6)
    assert (curvature <= loss.most_curved * (1 + 1e-12)).all()


def test_soft_hinge() -> None:
    """It is below the hinge, touches it, and its conjugate is one."""
    rng = np.random.default_rng(0)
    y, o = np.where(rng.random(300) > 0.5, 1.0, -1.0), 3 * rng.standard_normal(300)
    loss = SoftHinge(0.1, rng.uniform(0.01, 0.99, 300))
    assert (loss.value(o, y) <= Hinge().value(o, y) + 1e-12).all()
    np.testing.assert_allclose(loss.value(y, y), 0.0, atol=1e-12)
    np.testing.assert_allclose(loss.slope(y, y), -y * loss.centre, atol=1e-12)
    h = 1e-6
    np.testing.assert_allclose(
        (loss.value(o + h, y) - loss.value(o - h, y)) / (2 * h), loss.slope(o, y), atol=1e-7
    )
    np.testing.assert_allclose(
        (loss.slope(o + h, y) - loss.slope(o - h, y)) / (2 * h), loss.curvature(o, y), atol=1e-6
    )
    s = loss.slope(o, y)
    np.testing.assert_allclose(loss.conjugate(s, y), s * o - loss.value(o, y), atol=1e-9)
    assert np.isinf(loss.conjugate(y, y)).all()


def test_newton_systems_agree() -> None:
    """Columns, Hadamard products and conjugate gradients solve the system that the definition gives."""
    rng = np.random.default_rng(1)
    n, d, m = 12, 5, 4
    x, masks = rng.standard_normal((n, d)), rng.integers(-1, 2, (m, n)).astype(float)
    normals = [np.linalg.qr(rng.standard_normal((d, k)))[0].T for k in (0, 1, 3, 4)]
    w = rng.standard_normal((m, d))
    w = np.stack([v - rows.T @ (rows @ v) for v, rows in zip(w, normals, strict=True)])
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    a, c, b = rng.random(m), rng.random(n) + 0.1, rng.standard_normal(n)
    for rows in (normals, None):
        active = ActiveGroups(masks, w, a, rows)
        system = np.diag(c)
        for g in range(m):
            face = np.eye(d) - (normals[g].T @ normals[g] if rows else 0)
            j = (1 - a[g]) * face + a[g] * np.outer(w[g], w[g])
            column = masks[g][:, None] * x
            system += 3.0 * column @ j @ column.T
        expected = np.linalg.solve(system, b)
        np.testing.assert_allclose(solve_newton(x, x @ x.T, active, c, 3.0, b), expected, atol=1e-9)
        np.testing.assert_allclose(_by_columns(x, active, c, 3.0, b), expected, atol=1e-9)
        np.testing.assert_allclose(_by_products(x, x @ x.T, active, c, 3.0, b), expected, atol=1e-9)
        np.testing.assert_allclose(_by_conjugate_gradients(x, active, c, 3.0, b), expected, atol=1e-2)


def test_large_systems_by_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, groups = instance(9, n=40, d=5, count=15)
    direct = solve_relu(problem, groups)
    monkeypatch.setattr("jensen.fit._semismooth._USUAL_STEPS", 0)
    found = solve_relu(problem, groups)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(direct.objective, rel=2e-6)
