"""Argmin layers, proximal maps and conjugates over polytopes; regularised linear programmes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor

from jensen import Polytope
from jensen.minimize import ArgminLayer, conjugate, prox
from jensen.nn import FICNN, PICNN

SIMPLEX = Polytope(np.vstack([-np.eye(5), np.ones((1, 5)), -np.ones((1, 5))]), [0.0] * 5 + [1.0, -1.0])
"""Flat: weights that add up to 1."""


def polytope(seed: int, n: int) -> Polytope:
    """A bounded one around 0; some with an equation."""
    rng = np.random.default_rng(seed)
    A = np.vstack([rng.normal(size=(2 * n, n)), np.eye(n), -np.eye(n)])
    b = np.concatenate([rng.uniform(0.1, 1.0, 2 * n), np.ones(2 * n)])
    if seed % 3 == 1:
        row = rng.normal(size=(1, n))
        return Polytope(np.vstack([A, row, -row]), np.concatenate([b, [0.05, -0.05]]))
    return Polytope(A, b)


def differences_agree(call: Callable[[], Tensor], inputs: Sequence[Tensor], scale: float = 1.0) -> None:
    """Compare gradients with central differences along directions in which half of the inputs move."""
    v = torch.randn_like(call())
    found = torch.autograd.grad((call() * v).sum(), inputs, allow_unused=True)
    for k in range(2 if len(inputs) > 1 else 1):
        some = [(t, g, torch.randn_like(t)) for t, g in zip(inputs[k::2], found[k::2], strict=True)]
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                for tensor, _, d in some:
                    tensor.add_(d, alpha=sign * 1e-6)
                ends.append(float((call() * v).sum()))
                for tensor, _, d in some:
                    tensor.sub_(d, alpha=sign * 1e-6)
        slope = sum(0.0 if g is None else float((g * d).sum()) for _, g, d in some)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, abs=1e-4 * scale, rel=1e-4)


def held(y: Tensor, domain: Polytope) -> Any:
    room = domain.b - y.detach().numpy() @ domain.A.T
    assert room.min() >= -1e-10
    return (room < 1e-8).sum(axis=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("own", [0.0, 0.4])
def test_gradients_of_layers(seed: int, activation: str, own: float) -> None:
    torch.manual_seed(seed)
    domain = polytope(seed, 4)
    net = PICNN(3, 4, (8, 6), None, activation, torch.nn.Tanh(), quadratic=own).double()
    weight = float(10.0 ** torch.empty(1).uniform_(-1.5, 0.5))
    layer = ArgminLayer(net, domain, None if own and seed % 2 else "quadratic", weight=weight)
    x = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    slope = (2 * torch.randn(2, 4, dtype=torch.double)).requires_grad_(True)
    assert held(layer(x, linear=slope), domain).max() >= 1
    differences_agree(lambda: layer(x, linear=slope), [x, slope, *net.parameters()])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weight", [1e-3, 0.3])
def test_regularised_linear_programmes(seed: int, weight: float) -> None:
    """A projection of -cost / weight; with a small weight the vertex that linear programming finds."""
    torch.manual_seed(seed)
    domain = polytope(seed, 5)
    layer = ArgminLayer(None, domain, "quadratic", weight=weight)
    cost = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    y = layer(linear=cost)
    held(y, domain)
    for point, c in zip(y.detach().numpy(), cost.detach().numpy(), strict=True):
        vertex: Any = linprog(c, domain.A, domain.b, bounds=(None, None))
        # What the quadratic term can cost at most.
        assert c @ point <= vertex.fun + weight / 2 * (vertex.x @ vertex.x - point @ point) + 1e-9
        # The conditions of optimality: multipliers of the rows that hold the point make up for the slope.
        rows = domain.A[domain.b - domain.A @ point < 1e-8]
        assert nnls(rows.T, -(c + weight * point))[1] < 1e-8
    differences_agree(lambda: layer(linear=cost), [cost], 1 / weight)


def test_an_affine_network_is_a_linear_programme() -> None:
    torch.manual_seed(0)
    domain, f = polytope(0, 3), FICNN(3, ()).double()
    cost = f.first.weight.detach()
    one = ArgminLayer(None, domain, "quadratic", weight=0.2)(linear=cost)
    layer = ArgminLayer(f, domain, "quadratic", weight=0.2)
    torch.testing.assert_close(layer(batch=1), one)
    differences_agree(lambda: layer(batch=1), [f.first.weight])


def test_projection_onto_the_simplex() -> None:
    """The layer of a linear programme over weights is sparsemax; here by sorting."""
    torch.manual_seed(0)
    cost = torch.randn(20, 5, dtype=torch.double)
    z = (-cost / 0.5).sort(1, descending=True).values
    count = torch.arange(1, 6).double()
    tops = (z.cumsum(1) - 1) / count
    size = ((z > tops) * count).amax(1).long() - 1
    expected = (-cost / 0.5 - tops.gather(1, size[:, None])).clamp_min(0)
    found = ArgminLayer(None, SIMPLEX, "quadratic", weight=0.5)(linear=cost)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    single = ArgminLayer(None, SIMPLEX, "quadratic", weight=0.5)(linear=cost.float())
    torch.testing.assert_close(single, expected.float(), atol=1e-6, rtol=0)


def test_degenerate_vertices() -> None:
    """More rows than variables, dependent ones among them, hold a minimiser that does not move."""
    A = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0], [1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]]
    layer = ArgminLayer(None, Polytope(A, [1.0, 1, 2, 4, 3, 1, 1]), "quadratic", weight=0.1)
    cost = torch.tensor([[-1.0, -1.5]], dtype=torch.double, requires_grad=True)
    y = layer(linear=cost)
    torch.testing.assert_close(y, torch.ones(1, 2, dtype=torch.double), atol=1e-9, rtol=0)
    (found,) = torch.autograd.grad(y.sum(), cost)
    assert float(found.abs().max()) < 1e-6


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("seed", range(2))
def test_maps(activation: str, seed: int) -> None:
    torch.manual_seed(seed)
    domain = polytope(seed, 4)
    f = FICNN(4, (6, 6), activation, quadratic=0.5).double()
    point = (2 * torch.randn(2, 4, dtype=torch.double)).requires_grad_(True)
    near = prox(f, 0.7, domain=domain)
    held(near(point), domain)
    differences_agree(lambda: near(point), [point, *f.parameters()])
    star = conjugate(f, domain=domain)
    differences_agree(lambda: star(point), [point, *f.parameters()])
    y = torch.autograd.grad(star(point).sum(), point)[0]
    held(y, domain)
    torch.testing.assert_close((y * point).sum(1) - f(y), star(point))


def test_a_single_point() -> None:
    corner = Polytope(np.vstack([np.eye(3), -np.eye(3)]), [1.0, 2, 3, -1, -2, -3])
    cost = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    for f in (None, FICNN(3, (4,), "softplus").double()):
        y = ArgminLayer(f, corner, "quadratic")(linear=cost)
        assert y.tolist() == [[1.0, 2.0, 3.0]] * 2
        assert not torch.autograd.grad(y.sum(), cost)[0].any()


def test_empty_batches_and_training() -> None:
    layer = ArgminLayer(PICNN(2, 5, (4,)), SIMPLEX, "quadratic")
    assert layer(torch.zeros(0, 2)).shape == (0, 5)
    assert layer.train()(torch.zeros(3, 2)).sum().item() == pytest.approx(3.0, abs=1e-5)
