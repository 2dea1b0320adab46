"""Batched minimisation: agreement with independent solvers, valid bounds, refusals."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmarks.minimise_epigraph import epigraph
from jensen import Box, Polytope, WholeSpace, as_network
from jensen.errors import ArgumentError, DomainError
from jensen.minimize.batched._minimize_batch import minimize_batch
from jensen.minimize.batched._minimize_entropy import minimize_entropy
from jensen.nn import FICNN, PICNN, ConvICNN, SkipMLP

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def exactly(net: FICNN, slope: Array, low: float, high: float, A: Array, b: Array) -> float:
    """The minimum of a ReLU network plus a linear term, by a linear programme."""
    eye = np.eye(net.in_features)
    sides = np.full(net.in_features, high), np.full(net.in_features, -low)
    domain = Polytope(np.vstack([A, eye, -eye]), np.concatenate([b, *sides]))
    return epigraph(as_network(net).network, domain, slope)[1]


def along(f: Callable[[torch.Tensor], torch.Tensor], slope: Array) -> Callable[[Any], Any]:
    """Value and gradient for scipy."""

    def both(y: Array) -> tuple[float, Array]:
        point = torch.tensor(y)[None].requires_grad_(True)
        value = f(point)[0]
        (gradient,) = torch.autograd.grad(value, point)
        return value.item() + float(slope @ y), gradient[0].numpy() + slope

    return both


@pytest.mark.parametrize("method", ["bundle", "lbfgs"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("initialisation", ["principled", "torch"])
def test_boxes_agree_with_linear_programming(
    seed: int, initialisation: str, method: Literal["bundle", "lbfgs"]
) -> None:
    torch.manual_seed(seed)
    net = FICNN(5, (9, 9), initialisation=initialisation).double()  # type: ignore[arg-type]
    slope = torch.randn(4, 5, dtype=torch.double) * 0.5
    found = minimize_batch(net, Box(-1.0, 1.0), linear=slope, method=method, tolerance=1e-8)
    exact = [exactly(net, s, -1.0, 1.0, np.zeros((0, 5)), np.zeros(0)) for s in slope.numpy()]
    np.testing.assert_allclose(found.value, exact, atol=1e-7)
    assert (found.lower_bound.numpy() <= np.array(exact) + 1e-12).all()
    assert bool(found.converged.all())


def rows_of(seed: int, n: int) -> tuple[Array, Array]:
    A = np.vstack([np.random.default_rng(seed).normal(size=(n, n)), np.eye(n), -np.eye(n)])
    return A, np.ones(len(A))


@pytest.mark.parametrize("method", ["bundle", "lbfgs"])
@pytest.mark.parametrize("seed", range(4))
def test_polytopes_agree_with_linear_programming(seed: int, method: Literal["bundle", "lbfgs"]) -> None:
    torch.manual_seed(seed)
    net = FICNN(4, (8, 8), initialisation="torch").double()
    slope = torch.randn(3, 4, dtype=torch.double) * 0.5
    A, b = rows_of(seed, 4)
    right = torch.tensor(b) * (1 + 0.3 * torch.rand(3, len(b)))
    found = minimize_batch(net, Polytope(A, b), linear=slope, right=right, method=method, tolerance=1e-7)
    exact = [exactly(net, s, -2.0, 2.0, A, h) for s, h in zip(slope.numpy(), right.numpy(), strict=True)]
    np.testing.assert_allclose(found.value, exact, atol=1e-6)
    assert (found.lower_bound.numpy() <= np.array(exact) + 1e-12).all()
    assert (found.point @ torch.tensor(A).T <= right + 1e-12).all()
    assert bool(found.converged.all())


@pytest.mark.parametrize("method", ["bundle", "lbfgs"])
def test_flat_polytopes(method: Literal["bundle", "lbfgs"]) -> None:
    """Equations as pairs of rows, with a right-hand side for each sample."""
    torch.manual_seed(0)
    net = FICNN(4, (8, 8), initialisation="torch").double()
    A = np.vstack([[1.0, 1, 1, 1], [-1.0, -1, -1, -1], np.eye(4), -np.eye(4)])
    sums = torch.tensor([-0.5, 0.0, 1.5], dtype=torch.double)
    right = torch.cat([sums[:, None], -sums[:, None], torch.ones(3, 8, dtype=torch.double)], 1)
    found = minimize_batch(net, Polytope(A, np.ones(10)), right=right, method=method, tolerance=1e-7)
    exact = [exactly(net, np.zeros(4), -1.0, 1.0, A, h) for h in right.numpy()]
    np.testing.assert_allclose(found.value, exact, atol=1e-6)
    assert (found.lower_bound.numpy() <= np.array(exact) + 1e-10).all()
    torch.testing.assert_close(found.point.sum(1), sums)
    one = minimize_batch(net, Polytope(A, right[2] * 0 + torch.tensor([4.0, -4.0] + [1.0] * 8)))
    torch.testing.assert_close(one.point, torch.ones(1, 4, dtype=torch.double))
    with pytest.raises(DomainError, match="sample 1"):
        minimize_batch(net, Polytope(A, np.ones(10)), right=right - torch.tensor([0.0, 2, 0])[:, None])


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_unbounded_polytopes(activation: str) -> None:
    """A strongly convex network over a cone: its minimum over a large box is the same."""
    torch.manual_seed(0)
    net = FICNN(3, (8, 8), activation, quadratic=0.5).double()
    slope = torch.randn(4, 3, dtype=torch.double)
    A = np.random.default_rng(0).normal(size=(2, 3))
    cone = minimize_batch(net, Polytope(A, np.zeros(2)), linear=slope, tolerance=1e-7)
    cut = Polytope(np.vstack([A, np.eye(3), -np.eye(3)]), np.append(np.zeros(2), np.full(6, 20.0)))
    box = minimize_batch(net, cut, linear=slope, tolerance=1e-7)
    assert bool(cone.converged.all() & box.converged.all())
    torch.testing.assert_close(cone.value, box.value, atol=1e-6, rtol=0)
    assert (cone.lower_bound <= box.value).all()
    without = FICNN(3, (8, 8), activation).double()
    if activation == "relu":
        with pytest.raises(DomainError, match="bounded domain"):
            minimize_batch(without, Polytope(A, np.zeros(2)), linear=slope)


@pytest.mark.parametrize("method", ["newton", "lbfgs", "bundle"])
@pytest.mark.parametrize("seed", range(3))
def test_smooth_networks_on_polytopes_agree_with_slsqp(
    seed: int, method: Literal["newton", "lbfgs", "bundle"]
) -> None:
    torch.manual_seed(seed)
    net = FICNN(3, (6, 6), "softplus").double()
    slope = torch.randn(2, 3, dtype=torch.double)
    A, b = rows_of(seed, 3)
    tolerance = 1e-6 if method == "bundle" else 1e-9
    found = minimize_batch(net, Polytope(A, b), linear=slope, method=method, tolerance=tolerance)
    for value, low, s in zip(found.value, found.lower_bound, slope.numpy(), strict=True):
        rows: Any = {"type": "ineq", "fun": lambda y: b - A @ y, "jac": lambda y: -A}
        other = minimize(
            along(net, s), np.zeros(3), jac=True, method="SLSQP", constraints=rows, options={"ftol": 1e-14}
        )
        assert value.item() == pytest.approx(other.fun, abs=1e-5 if method == "bundle" else 1e-6)
        assert low.item() <= other.fun + 1e-9
    assert bool(found.converged.all())
    assert (found.point.numpy() @ A.T <= b + 1e-12).all()


def test_smooth_networks_in_many_rows() -> None:
    """An interior point method reaches 1e-9 in a few steps; multipliers agree."""
    torch.manual_seed(0)
    net = FICNN(20, (20, 10), "softplus").double()
    slope = torch.randn(3, 20, dtype=torch.double)
    A = np.vstack([np.random.default_rng(0).normal(size=(15, 20)), np.eye(20), -np.eye(20)])
    where = Polytope(A, np.ones(55))
    found = minimize_batch(net, where, linear=slope, tolerance=1e-9)
    assert (found.gap <= 1e-9 * found.value.abs().clamp_min(1)).all()
    assert int(found.iterations.max()) <= 30
    other = minimize_batch(net, where, linear=slope, method="lbfgs", tolerance=1e-4)
    assert (other.lower_bound <= found.value).all()
    assert (found.lower_bound <= other.value).all()


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
@pytest.mark.parametrize("activation", ["softplus", "elu", "squared_relu"])
@pytest.mark.parametrize("seed", range(4))
def test_smooth_networks_on_boxes_agree_with_lbfgsb(
    activation: str, seed: int, method: Literal["newton", "lbfgs"]
) -> None:
    torch.manual_seed(seed)
    net = FICNN(6, (10, 10), activation).double()
    slope = torch.randn(4, 6, dtype=torch.double)
    found = minimize_batch(net, Box(-1.0, 1.0), linear=slope, method=method, tolerance=1e-9)
    for i, s in enumerate(slope.numpy()):
        other = minimize(
            along(net, s), np.zeros(6), jac=True, bounds=[(-1, 1)] * 6, options={"ftol": 1e-15, "gtol": 1e-10}
        )
        assert found.value[i].item() == pytest.approx(other.fun, abs=1e-6)
        assert found.lower_bound[i].item() <= other.fun + 1e-12
    assert bool(found.converged.all())


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_many_variables(dtype: torch.dtype) -> None:
    """L-BFGS in hundreds of variables, samples of unlike difficulty, to the gap that the dtype allows."""
    torch.manual_seed(0)
    net = FICNN(300, (60, 40), "softplus").to(dtype)
    slope = torch.linspace(0, 0.2, 6)[:, None] * torch.randn(6, 300)
    found = minimize_batch(net, Box(-1.0, 1.0), linear=slope.to(dtype), tolerance=1e-9)
    assert bool(found.converged.all())
    allowed = 1e-9 if dtype == torch.double else 1e-3
    assert (found.gap <= allowed * found.value.abs().clamp_min(1)).all()
    assert (found.iterations < 200).all()
    away = (found.point + 0.01 * torch.randn(50, 6, 300).to(dtype)).clamp(-1, 1)
    with torch.no_grad():
        values = torch.stack([net(y) + (slope.to(dtype) * y).sum(1) for y in away])
    assert (values >= found.lower_bound).all()


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_whole_space_needs_strong_convexity_for_bounds(method: Literal["newton", "lbfgs"]) -> None:
    torch.manual_seed(0)
    net = FICNN(4, (8,), "softplus", quadratic=0.5).double()
    found = minimize_batch(net, WholeSpace(), batch=1, method=method, tolerance=1e-9)
    other = minimize(along(net, np.zeros(4)), np.zeros(4), jac=True, options={"gtol": 1e-10})
    assert found.value.item() == pytest.approx(other.fun, abs=1e-9)
    assert found.gap.item() <= 1e-9 * max(1.0, abs(found.value.item()))


def entropic(net: FICNN, slope: Array, weight: float) -> float:
    """min f - weight * H by L-BFGS in logits, of a smooth network."""
    both = along(net, slope)

    def objective(u: Array) -> tuple[float, Array]:
        t = 1 / (1 + np.exp(-u))
        value, gradient = both(t)
        negative = t * np.log(t) + (1 - t) * np.log1p(-t)
        return value + weight * negative.sum(), (gradient + weight * u) * t * (1 - t)

    return float(minimize(objective, np.zeros(len(slope)), jac=True, options={"gtol": 1e-10}).fun)


@pytest.mark.parametrize("weight", [0.3, 1.0, 3.0])
def test_bundle_entropy_agrees_with_lbfgs(weight: float) -> None:
    torch.manual_seed(1)
    net = FICNN(5, (8, 8), "softplus").double()
    slope = torch.randn(6, 5, dtype=torch.double)
    found = minimize_entropy(net, linear=slope, weight=weight, tolerance=1e-9)
    exact = np.array([entropic(net, s, weight) for s in slope.numpy()])
    np.testing.assert_allclose(found.value, exact, atol=1e-7)
    assert (found.lower_bound.numpy() <= exact + 1e-10).all()


@pytest.mark.parametrize("seed", range(10))
def test_bundle_entropy_gap_holds_for_relu(seed: int) -> None:
    torch.manual_seed(seed)
    net = PICNN(3, 6, (12, 12)).double()
    x = torch.randn(8, 3, dtype=torch.double)
    found = minimize_entropy(net, x)
    assert bool(found.converged.all())
    assert (found.gap <= 1e-9 * found.value.abs().clamp_min(1)).all()
    y = torch.rand(200, 8, 6, dtype=torch.double).clamp(1e-6, 1 - 1e-6)
    y = torch.cat([y, (found.point + 1e-3 * torch.randn(200, 8, 6).double()).clamp(1e-6, 1 - 1e-6)])
    negative = (y * y.log() + (1 - y) * (1 - y).log()).sum(-1)
    values = torch.stack([net(x, point) for point in y]) + negative
    assert (values >= found.lower_bound).all()


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_batches(batch: int) -> None:
    torch.manual_seed(0)
    net = PICNN(3, 4, (6,)).double()
    x = torch.randn(batch, 3, dtype=torch.double)
    for found in (minimize_entropy(net, x), minimize_batch(net, Box(0.0, 1.0), x)):
        assert found.point.shape == (batch, 4)
        assert found.value.shape == found.gap.shape == found.iterations.shape == (batch,)
    if batch:
        one = minimize_entropy(net, x[:1])
        torch.testing.assert_close(one.point, minimize_entropy(net, x).point[:1], atol=1e-5, rtol=0)


def test_single_precision_stops_at_rounding() -> None:
    torch.manual_seed(0)
    net = FICNN(20, (30, 20))
    found = minimize_entropy(net, batch=1)
    exact = minimize_entropy(net.double(), batch=1)
    assert bool(found.converged.all())
    assert found.iterations.item() < 50
    assert found.value.item() == pytest.approx(exact.value.item(), abs=1e-3)
    assert found.lower_bound.item() <= exact.value.item() + 1e-4


def test_fixed_coordinates_stay() -> None:
    torch.manual_seed(0)
    net = FICNN(4, (8,)).double()
    known = torch.rand(3, 4, dtype=torch.double)
    free = torch.tensor([True, False, True, False])
    lo, hi = torch.where(free, 0.0, known), torch.where(free, 1.0, known)
    flat = 0 * known
    for found in (
        minimize_entropy(net, domain=(lo, hi), linear=flat),
        minimize_batch(net, (lo, hi), linear=flat),
    ):
        assert torch.equal(found.point[:, ~free], known[:, ~free])
        assert bool(found.converged.all())


def test_convolutional_network_to_a_certified_gap() -> None:
    torch.manual_seed(0)
    net = ConvICNN((1, 16, 16), (4, 4), stride=2, initialisation="torch").double()
    slope = 0.02 * torch.randn(2, 1, 16, 16, dtype=torch.double)
    found = minimize_batch(net, Box(0.0, 1.0), linear=slope, tolerance=1e-3)
    assert found.point.shape == (2, 1, 16, 16)
    assert (found.gap <= 1e-3 * found.value.abs().clamp_min(1)).all()


def test_the_module_is_left_as_it_was() -> None:
    net = PICNN(2, 3, (4,)).double().train()
    minimize_entropy(net, torch.randn(2, 2, dtype=torch.double))
    assert all(module.training for module in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="not constrained"):
        minimize_entropy(SkipMLP(2, (3,)), batch=1)
    with pytest.raises(ArgumentError, match="argument 1"):
        minimize_batch(FICNN(2, (3,)), Box(0.0, 1.0), torch.zeros(1, 2))
    with pytest.raises(ArgumentError, match="assume_convex"):
        minimize_batch(torch.nn.Linear(2, 1), Box(0.0, 1.0))
    with pytest.raises(ArgumentError, match="method"):
        minimize_batch(FICNN(2, (3,)), Box(0.0, 1.0), method="simplex")  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="bounded"):
        minimize_entropy(FICNN(2, (3,)), domain=WholeSpace(), batch=1)
    with pytest.raises(DomainError, match="empty"):
        minimize_batch(FICNN(1, (3,)).double(), Polytope([[1.0], [-1.0]], [-1.0, -1.0]))
    with pytest.raises(DomainError, match="bounded domain"):
        minimize_batch(FICNN(1, (3,)).double(), Polytope([[1.0]], [1.0]))
    with pytest.raises(DomainError, match="2 variables"):
        minimize_batch(FICNN(1, (3,)).double(), Polytope([[1.0, 1.0]], [1.0]))
    for right in ([[1.0]], torch.ones(1, 2), torch.full((1, 1), torch.nan)):
        with pytest.raises(ArgumentError, match="right"):
            minimize_batch(FICNN(1, (3,)), Polytope([[1.0]], [1.0]), right=right)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="right"):
        minimize_batch(FICNN(1, (3,)), Box(0.0, 1.0), right=torch.ones(1, 1))
    with pytest.raises(DomainError, match="empty or has NaN"):
        minimize_batch(FICNN(2, (3,)), (1.0, 0.0))
    assert minimize_batch(SkipMLP(2, (3,)), Box(0.0, 1.0), assume_convex=True).value.shape == (1,)
