"""Layers, proximal maps and conjugates where methods used to give up in silence; referees are independent."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy
import numpy as np
import pytest
import scipy.optimize
import torch

import jensen
from jensen.errors import ArgumentError, ConvergenceWarning
from jensen.minimize import (
    ArgminLayer,
    MaxMarginLoss,
    conjugate,
    gradient_map,
    minimize_batch,
    prox,
    to_cvxpy,
)
from jensen.nn import FICNN, PICNN, RelayICNN

pytestmark = pytest.mark.filterwarnings("error::jensen.errors.ConvergenceWarning")


def cube(n: int, rows: int = 0, seed: int = 0) -> jensen.Polytope:
    """[-1, 1]^n, cut by some more rows."""
    cuts = np.random.default_rng(seed).normal(size=(rows, n))
    return jensen.Polytope(np.vstack([np.eye(n), -np.eye(n), cuts]), np.ones(2 * n + rows))


def referee(f: Any, domain: jensen.Polytope, linear: Any, modulus: float, centre: Any = 0.0) -> Any:
    """Minimise f + <linear, y> + (modulus / 2) |y - centre|^2 by an interior point method for cones."""
    cp: Any = cvxpy
    y = cp.Variable(domain.A.shape[1])
    rows, goal = [domain.A @ y <= domain.b], linear @ y + modulus / 2 * cp.sum_squares(y - centre)
    if f is not None:
        wrapped = to_cvxpy(f.eval(), y)
        goal, rows = goal + wrapped.expression, rows + wrapped.constraints
    cp.Problem(cp.Minimize(goal), rows).solve(solver=cp.CLARABEL)
    return y.value


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("rows", [0, 3])
def test_projections_from_afar(scale: float, rows: int) -> None:
    torch.manual_seed(0)
    domain, cost = cube(3, rows), scale * torch.randn(8, 3, dtype=torch.double)
    found = ArgminLayer(None, domain, "quadratic")(linear=cost).numpy()
    assert (found @ domain.A.T - domain.b).max() <= 1e-12 * scale
    for y, c in zip(found, cost.numpy(), strict=True):
        np.testing.assert_allclose(y, referee(None, domain, c, 1.0), atol=1e-5)


@pytest.mark.parametrize(("n", "scale"), [(3, 100.0), (4, 100.0), (6, 10.0)])
def test_proximal_points_from_afar(n: int, scale: float) -> None:
    torch.manual_seed(0)
    domain, f = cube(n, 3, n), FICNN(n, (4,)).double()
    p = scale * torch.randn(8, n, dtype=torch.double)
    found = prox(f, 1.0, domain=domain)(p).detach().numpy()
    assert (found @ domain.A.T - domain.b).max() <= 1e-12 * scale
    for y, point in zip(found, p.numpy(), strict=True):
        np.testing.assert_allclose(y, referee(f, domain, 0 * point, 1.0, point), atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("activation", "own"), [("softplus", 0.0), ("softplus", 0.5), ("relu", 0.5)])
def test_conjugates_over_polytopes(seed: int, activation: str, own: float) -> None:
    torch.manual_seed(seed)
    f = FICNN(6, (6,), activation, quadratic=own).double()
    s = 3 * torch.randn(4, 6, dtype=torch.double)
    domain = jensen.Polytope(np.vstack([cube(6).A, np.ones((1, 6))]), np.ones(13))
    values = conjugate(f, domain=domain)(s).detach()
    points = ArgminLayer(f, domain, None)(linear=-s).detach()
    f.requires_grad_(False)
    assert (points.numpy() @ domain.A.T - domain.b).max() <= 1e-12
    for value, y, slope in zip(values, points, s, strict=True):
        z = torch.from_numpy(referee(f, domain, -slope.numpy(), 0.0))[None]
        assert float(value) >= float((slope * z).sum() - f(z)) - 1e-7
        assert float((slope * y).sum() - f(y[None])) == pytest.approx(float(value), abs=1e-8)


def test_what_is_not_solved_is_told() -> None:
    """Warnings count the samples; `solve` tells which, and how far they are from their bounds."""
    torch.manual_seed(0)
    f, slopes = FICNN(8, (8, 8)).double(), 5 * torch.randn(4, 8, dtype=torch.double)
    hurried = ArgminLayer(f, jensen.Box(-1.0, 1.0), "quadratic", weight=0.01, max_iterations=2)
    with pytest.warns(ConvergenceWarning, match=r"^[1-4] of 4 problems missed the tolerance"):
        hurried(linear=slopes)
    thorough = ArgminLayer(f, jensen.Box(-1.0, 1.0), "quadratic", weight=0.01)
    rough, fine = hurried.solve(linear=slopes), thorough.solve(linear=slopes)
    assert fine.converged.all()
    assert not rough.converged.all()
    assert (rough.lower_bound <= fine.value + 1e-9).all()
    assert (rough.value >= fine.value - 1e-9).all()
    torch.testing.assert_close(fine.point, thorough(linear=slopes))
    with pytest.warns(ConvergenceWarning):
        prox(f, 100.0, max_iterations=2)(slopes)
    smooth = FICNN(8, (8, 8), "softplus").double()
    with pytest.warns(ConvergenceWarning):
        conjugate(smooth, domain=cube(8), max_iterations=2)(slopes)
    x, target = torch.randn(5, 3).double(), torch.ones(5, 4).double()
    with pytest.warns(ConvergenceWarning):
        MaxMarginLoss(PICNN(3, 4, (8, 8)).double(), weight=0.01, max_iterations=1)(x, target)
    with pytest.raises(ArgumentError, match="unrolled"):
        ArgminLayer(f, (0.0, 1.0), unrolled=3).solve(batch=1)


def test_a_conjugate_without_maximiser_is_told() -> None:
    f = FICNN(2, (3,), "softplus").double()
    with pytest.warns(ConvergenceWarning):
        conjugate(f, max_iterations=20)(torch.full((1, 2), 100.0).double())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point = torch.randn(3, 2, dtype=torch.double)
        inner = torch.func.vmap(torch.func.grad(lambda y: f(y[None])[0]))(point)
        values = conjugate(f)(inner.detach())  # the slopes at points have these as maximisers
    torch.testing.assert_close(values, (inner * point).sum(1) - f(point), atol=1e-9, rtol=0)


@pytest.mark.parametrize("activation", ["softplus", "elu", "celu"])
def test_newton_on_boxes(activation: str) -> None:
    """Clipped at full length a step may ascend: shorter ones do not. L-BFGS of scipy is the referee."""
    for seed in [21, *range(8)]:
        torch.manual_seed(seed)
        f = FICNN(8, (7, 4), activation).double().requires_grad_(False)
        slopes = torch.randn(4, 8, dtype=torch.double)
        found = minimize_batch(f, jensen.Box(-0.5, 0.5), linear=slopes)
        assert found.converged.all()
        assert found.iterations.max() <= 30
        conjugates = conjugate(f, domain=jensen.Box(-0.5, 0.5))(-slopes)
        for value, other, slope in zip(found.value, conjugates, slopes, strict=True):
            best = descend(f, slope, 0.5)
            assert float(value) <= best + 2e-6 * max(1.0, abs(best))
            assert -float(other) == pytest.approx(best, abs=1e-7)


def descend(f: FICNN, slope: torch.Tensor, half: float) -> float:
    """Minimise f + <slope, y> over a cube by scipy."""

    def both(point: Any) -> tuple[float, Any]:
        y = torch.from_numpy(point).requires_grad_(True)
        value = f(y[None])[0] + slope @ y
        (gradient,) = torch.autograd.grad(value, y)
        return value.item(), gradient.numpy()

    n = len(slope)
    start, bounds = np.zeros(n), scipy.optimize.Bounds(np.full(n, -half), np.full(n, half))
    options: Any = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000}
    return float(scipy.optimize.minimize(both, start, jac=True, bounds=bounds, options=options).fun)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_single_precision_far_from_the_domain(activation: str) -> None:
    """The constant |p|^2 of a proximal map from afar must not decide what counts as rounding."""
    torch.manual_seed(3)
    f, p = FICNN(12, (8,), activation), 1000 * torch.randn(3, 12)
    found = prox(f, 0.01, domain=cube(12))(p)
    torch.testing.assert_close(found, p.sign(), atol=0.03, rtol=0)
    again = prox(f.double(), 0.01, domain=cube(12))(p.double())
    torch.testing.assert_close(found.double(), again, atol=1e-5, rtol=0)


def test_wrong_arguments() -> None:
    f, box = FICNN(2, (3,), quadratic=1.0).double(), jensen.Box(-1.0, 1.0)
    for call in (prox(f), conjugate(f), gradient_map(f)):
        for wrong in (None, np.zeros((2, 2)), torch.tensor(0.0)):
            with pytest.raises(ArgumentError, match="must be a tensor"):
                call(wrong)
    for tensor in (torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, 2)):
        with pytest.raises(ArgumentError, match="float64"):
            gradient_map(f)(tensor)
    assert minimize_batch(RelayICNN(2, (6, 6)), box).point.shape == (1, 2)
    assert minimize_batch(f, cube(2), right=torch.ones(0, 4)).point.shape == (0, 2)
    none = torch.zeros(0, 2, dtype=torch.double)
    assert ArgminLayer(f, box, "entropy", unrolled=3)(linear=none).shape == (0, 2)
    assert ArgminLayer(f, cube(2), None).solve(linear=none).gap.shape == (0,)
    assert prox(f, domain=cube(2))(none).shape == (0, 2)
    assert conjugate(f, domain=cube(2))(none).shape == (0,)
    assert gradient_map(f)(none).shape == (0, 2)


def test_smooth_networks_of_many_variables_over_polytopes() -> None:
    """Too many for Hessians: evaluations by the dozen, and not by the hundred."""
    torch.manual_seed(0)
    n, rng = 1001, np.random.default_rng(0)
    f = FICNN(n, (20,), "softplus", initialisation="torch").double().requires_grad_(False)
    A = np.vstack([np.eye(n), -np.eye(n), rng.normal(size=(10, n)) / np.sqrt(n)])
    domain = jensen.Polytope(A, np.append(np.ones(2 * n), np.full(10, 0.1)))
    found = minimize_batch(f, domain, linear=0.3 * torch.randn(1, n, dtype=torch.double))
    assert found.converged.all()
    assert found.iterations.max() <= 60
    assert (found.point.numpy() @ domain.A.T - domain.b).max() <= 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_celu_where_it_is_flat(seed: int) -> None:
    """Newton's steps are 1e20 long where the curvature is 1e-22, and far too long for the box."""
    torch.manual_seed(seed)
    f, slopes = FICNN(6, (4,), "celu").double().requires_grad_(False), 0.3 * torch.randn(3, 6).double()
    found = ArgminLayer(f, jensen.Box(-60.0, 70.0), None).solve(linear=slopes)
    assert found.converged.all()
    for value, slope in zip(found.value, slopes, strict=True):
        assert float(value) <= descend(f, slope, 60.0) + 1e-9 * abs(float(value))


@pytest.mark.parametrize("seed", range(40))
def test_random_problems(seed: int) -> None:
    """Any scale, any polytope: multipliers of the rows, by least squares, bound what can be gained."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    n, scale, own = int(rng.integers(1, 9)), float(rng.choice([0.3, 5.0, 100.0, 1000.0])), 0.5
    activation = str(rng.choice(["softplus", "elu", "celu", "squared_relu"]))
    f = FICNN(n, (6, 4), activation, quadratic=own).double().requires_grad_(False)
    A, b = (
        np.vstack([np.eye(n), -np.eye(n), rng.normal(size=(n, n))]),
        np.append(np.ones(2 * n), rng.uniform(0.05, 1, n)),
    )
    if seed % 3 == 0:  # thin, or flat
        row, width = rng.normal(size=(1, n)), float(rng.choice([0.0, 1e-4]))
        A, b = np.vstack([A, row, -row]), np.append(b, [width, width])
    domain, p = jensen.Polytope(A, b), scale * torch.randn(3, n, dtype=torch.double)
    modulus, centre = 0.0, torch.zeros_like(p)
    if seed % 4 == 0:
        points, modulus, linear = ArgminLayer(f, domain, "quadratic", weight=0.1)(linear=p), 0.1, p
    elif seed % 4 == 1:
        points, modulus, centre, linear = prox(f, 10.0, domain=domain)(p), 0.1, p, torch.zeros_like(p)
    elif seed % 4 == 2:
        p.requires_grad_(True)
        (points,) = torch.autograd.grad(conjugate(f, domain=domain)(p).sum(), p)
        linear = -p.detach()
    else:
        points, linear = minimize_batch(f, domain, linear=p, tolerance=1e-9).point, p
    y = points.detach().requires_grad_(True)
    value = f(y) + (linear * y).sum(1) + modulus / 2 * (y - centre).square().sum(1)
    slopes = torch.autograd.grad(value.sum(), y)[0].numpy()
    for point, slope, least in zip(y.detach().numpy(), slopes, value.detach().numpy(), strict=True):
        room = b - A @ point
        assert room.min() >= -1e-10 * max(1.0, scale / 100)
        near = room <= 1e-5
        price, left = np.zeros(0), float(np.linalg.norm(slope))
        if near.any():
            price, left = scipy.optimize.nnls(A[near].T, -slope)
        gain = price @ room[near].clip(0) + left**2 / (2 * (own + modulus))
        assert gain <= 1e-8 * max(1.0, abs(least))
