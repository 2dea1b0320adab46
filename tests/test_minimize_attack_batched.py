"""Attacks on batches, layers and maps: kinks in bad places, senseless arguments, empty batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import jensen
from jensen import Box, Polytope, WholeSpace
from jensen.errors import ArgumentError, DomainError, JensenError
from jensen.minimize import (
    ArgminLayer,
    MaxMarginLoss,
    argmin,
    conjugate,
    exact_conjugate,
    exact_prox,
    is_tight,
    minimize_batch,
    minimize_entropy,
    prox,
)
from jensen.minimize.polytopes._equations import tight_rows, unfold
from jensen.nn import FICNN, PICNN


def odd(y: torch.Tensor) -> torch.Tensor:
    """y, whose gradient at 0 torch takes for 0."""
    return (torch.relu(y) - torch.relu(-y)).sum(1)


def hinges() -> jensen.ReLUNetwork:
    """relu(y0 + 2 y1 - 1) + 2 relu(1 - y0 + y1), with a dead neuron; 0 at its least."""
    return jensen.from_arrays(
        [np.array([[1.0, 2.0], [-1.0, 1.0], [0.0, 0.0]]), [[1.0, 2.0, 3.0]]], [[-1.0, 1.0, 0.0], [0.0]]
    )


@pytest.mark.parametrize("method", ["bundle", "newton"])
def test_gradients_at_kinks_need_not_be_subgradients(method: Any) -> None:
    found = minimize_batch(odd, Box([-1.0], [1.0]), method=method, assume_convex=True)
    assert float(found.value) == pytest.approx(-1.0, abs=1e-6)
    assert float(found.lower_bound) <= -1.0


def test_gradients_at_kinks_of_polytopes_and_entropies() -> None:
    square = Polytope(np.vstack([np.eye(2), -np.eye(2), [[1.0, 1.0]]]), [1.0, 1.0, 1.0, 1.0, 2.0])
    found = minimize_batch(odd, square, assume_convex=True)
    assert float(found.value) == pytest.approx(-2.0, abs=1e-5)
    assert float(found.lower_bound) <= -2.0
    entropic = minimize_entropy(odd, domain=Box([-8.0], [8.0]), assume_convex=True)
    plain = minimize_entropy(lambda y: y.sum(1), domain=Box([-8.0], [8.0]), assume_convex=True)
    assert float(entropic.value) == pytest.approx(float(plain.value), abs=1e-8)
    assert float(entropic.lower_bound) <= float(plain.value)


@pytest.mark.parametrize("seed", range(10))
def test_single_precision_bounds(seed: int) -> None:
    """Bounds in float32 are valid for the network with exactly these weights, up to its own rounding."""
    torch.manual_seed(seed)
    net = FICNN(6, (12, 12), initialisation="torch")
    exact = argmin(net, Box(-1, 1)).value
    found = minimize_batch(net, Box(-1, 1))
    assert float(found.lower_bound) <= exact + 1e-6 * max(1.0, abs(exact))
    assert float(found.value) == pytest.approx(exact, abs=2e-4)


def test_a_start_outside_is_moved_into_the_box() -> None:
    net = FICNN(3, (4, 4)).double()
    found = minimize_entropy(net, start=torch.full((2, 3), 70.0, dtype=torch.float64))
    assert bool(((found.point >= 0) & (found.point <= 1)).all())


def test_strides_do_not_matter() -> None:
    net, x = PICNN(2, 3, (4, 4)).double(), torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(
        minimize_batch(net, Box(0, 1), x.T).value, minimize_batch(net, Box(0, 1), x.T.contiguous()).value
    )


def test_constant_functions() -> None:
    def seven(y: torch.Tensor) -> torch.Tensor:
        return torch.full((len(y),), 7.0, dtype=y.dtype)

    for method in ("bundle", "newton"):
        found = minimize_batch(seven, Box([0.0], [1.0]), method=method, assume_convex=True)
        assert float(found.value) == 7.0
    assert argmin(seven, Box([0.0], [1.0]), assume_convex=True).value == 7.0


NAN = float("nan")
PLAIN, PARTIAL = FICNN(3, (4, 4)), PICNN(2, 3, (4, 4))
UNIT = Box(0, 1)
CUBE = Polytope(np.vstack([np.eye(3), -np.eye(3)]), np.ones(6))


def spoilt(activation: str) -> PICNN:
    """A network whose output is not finite, as after a training step that was too long."""
    net = PICNN(2, 3, (4, 4), activation=activation)
    with torch.no_grad():
        net.skips[0].weight.fill_(NAN)  # type: ignore[operator]
    return net


BAD: dict[str, Callable[[], object]] = {
    "x NaN": lambda: minimize_batch(PARTIAL, UNIT, torch.full((1, 2), NAN)),
    "x NaN, entropy": lambda: minimize_entropy(PARTIAL, torch.full((1, 2), NAN)),
    "x NaN, argmin": lambda: argmin(PARTIAL, UNIT, torch.full((2,), NAN)),
    "x text": lambda: argmin(PARTIAL, UNIT, "abc"),
    "x too long": lambda: argmin(PARTIAL, UNIT, torch.zeros(3)),
    "x of another shape": lambda: minimize_batch(PARTIAL, UNIT, torch.zeros(4, 3)),
    "x without batch": lambda: minimize_batch(PARTIAL, UNIT, torch.zeros(2)),
    "x a list": lambda: minimize_batch(PARTIAL, UNIT, [[0.0, 1.0]]),  # type: ignore[arg-type]
    "x of another dtype": lambda: minimize_batch(PARTIAL, UNIT, torch.zeros(2, 2).double()),
    "x of integers": lambda: minimize_entropy(PARTIAL, torch.zeros(2, 2, dtype=torch.int64)),
    "x missing": lambda: minimize_batch(PARTIAL, UNIT),
    "x for a network without": lambda: minimize_batch(PLAIN, UNIT, torch.zeros(1, 3)),
    "linear NaN": lambda: minimize_batch(PLAIN, UNIT, linear=torch.full((2, 3), NAN)),
    "linear without batch": lambda: minimize_batch(PLAIN, UNIT, linear=torch.zeros(3)),
    "linear too long": lambda: minimize_batch(PLAIN, UNIT, linear=torch.zeros(2, 4)),
    "start NaN": lambda: minimize_batch(PLAIN, UNIT, start=torch.full((2, 3), NAN)),
    "start NaN, entropy": lambda: minimize_entropy(PLAIN, start=torch.full((2, 3), NAN)),
    "box of 2": lambda: minimize_batch(PLAIN, Box([0, 0], [1, 1])),
    "polytope of 2": lambda: minimize_batch(PLAIN, Polytope(np.vstack([np.eye(2), -np.eye(2)]), np.ones(4))),
    "no domain": lambda: minimize_batch(PLAIN, None),  # type: ignore[arg-type]
    "bounds NaN": lambda: minimize_batch(PLAIN, (0.0, NAN)),
    "bounds empty": lambda: minimize_batch(PLAIN, (1.0, 0.0)),
    "bounds text": lambda: minimize_batch(PLAIN, ("a", "b")),  # type: ignore[arg-type]
    "bounds infinite": lambda: minimize_batch(PLAIN, WholeSpace()),
    "entropy infinite": lambda: minimize_entropy(PLAIN, domain=WholeSpace()),
    "polytope empty": lambda: minimize_batch(PLAIN, Polytope([[1.0, 0, 0], [-1.0, 0, 0]], [0.0, -1.0])),
    "polytope unbounded": lambda: minimize_batch(PLAIN, Polytope(np.zeros((0, 3)), [])),
    "batch negative": lambda: minimize_batch(PLAIN, UNIT, batch=-1),
    "batch no integer": lambda: minimize_batch(PLAIN, UNIT, batch=2.5),  # type: ignore[arg-type]
    "batch contradicts x": lambda: minimize_batch(PARTIAL, UNIT, torch.zeros(2, 2), batch=3),
    "tolerance NaN": lambda: minimize_batch(PLAIN, UNIT, tolerance=NAN),
    "tolerance text": lambda: minimize_batch(PLAIN, UNIT, tolerance="a"),  # type: ignore[arg-type]
    "iterations no integer": lambda: minimize_batch(PLAIN, UNIT, max_iterations=2.5),  # type: ignore[arg-type]
    "weight infinite": lambda: minimize_entropy(PLAIN, weight=float("inf")),
    "weight text": lambda: minimize_entropy(PLAIN, weight="1"),  # type: ignore[arg-type]
    "f a number": lambda: minimize_batch(3, UNIT),  # type: ignore[arg-type]
    "f gives NaN": lambda: minimize_batch(lambda y: y.sum(1) * NAN, Box([0.0], [1.0]), assume_convex=True),
    "f gives columns": lambda: minimize_batch(lambda y: y, Box([0.0], [1.0]), assume_convex=True),
    "f gives a float": lambda: minimize_batch(lambda y: 3.0, Box([0.0], [1.0]), assume_convex=True),  # type: ignore[arg-type, return-value]
    "f gives a float, argmin": lambda: argmin(lambda y: 3.0, Box([0.0], [1.0]), assume_convex=True),
    "f unknown": lambda: argmin(lambda y: y.sum(1), Box([0.0], [1.0])),
    "start ragged": lambda: argmin(hinges(), start=[[1, 2], [3]]),
    "start with gradient": lambda: argmin(hinges(), start=torch.zeros(2, requires_grad=True)),
    "start too short": lambda: argmin(hinges(), start=[1.0]),
    "gap infinite": lambda: argmin(hinges(), gap=float("inf")),
    "gap negative, conjugate": lambda: exact_conjugate(PLAIN, gap=-1.0),
    "domain text, conjugate": lambda: exact_conjugate(PLAIN, "box"),  # type: ignore[arg-type]
    "slopes transposed": lambda: exact_conjugate(PLAIN, UNIT)(np.zeros((3, 2))),
    "slopes of three axes": lambda: exact_conjugate(PLAIN, UNIT)(np.zeros((2, 3, 3))),
    "slopes text": lambda: exact_conjugate(PLAIN, UNIT)("ab"),
    "slopes NaN": lambda: exact_conjugate(PLAIN, UNIT)([NAN, 0.0, 0.0]),
    "step text": lambda: prox(PLAIN, "a"),  # type: ignore[arg-type]
    "step 0": lambda: exact_prox(PLAIN, 0),
    "points NaN": lambda: prox(PLAIN, 0.1)(torch.full((1, 3), NAN)),
    "slope NaN": lambda: conjugate(FICNN(2, (3,), quadratic=1.0))(torch.full((1, 2), NAN)),
    "layer weight": lambda: ArgminLayer(PARTIAL, weight=NAN),
    "layer unrolled": lambda: ArgminLayer(PARTIAL, unrolled=1.5),  # type: ignore[arg-type]
    "layer with NaN": lambda: ArgminLayer(spoilt("relu"))(torch.zeros(1, 2)),
    "smooth layer with NaN": lambda: ArgminLayer(spoilt("softplus"))(torch.zeros(1, 2)),
    "quadratic layer with NaN": lambda: ArgminLayer(spoilt("relu"), UNIT, "quadratic")(torch.zeros(1, 2)),
    "unrolled layer with NaN": lambda: ArgminLayer(spoilt("relu"), unrolled=3)(torch.zeros(1, 2)),
    "layer on a polytope with NaN": lambda: ArgminLayer(spoilt("relu"), CUBE, "quadratic")(torch.zeros(1, 2)),
    "smooth one on a polytope with NaN": lambda: ArgminLayer(spoilt("softplus"), CUBE, None)(
        torch.zeros(1, 2)
    ),
    "entropy on a polytope": lambda: ArgminLayer(PARTIAL, CUBE),
    "unrolled on a polytope": lambda: ArgminLayer(PARTIAL, CUBE, "quadratic", unrolled=3),
    "empty polytope": lambda: ArgminLayer(PARTIAL, Polytope([[0.0, 0, 0]], [-1.0]), "quadratic"),
    "polytope of 2 for a layer": lambda: ArgminLayer(PARTIAL, Polytope(np.eye(2), [1.0, 1]), None)(batch=1),
    "programme without costs": lambda: ArgminLayer(None, None, "quadratic")(batch=1),
    "costs NaN": lambda: ArgminLayer(None, CUBE, "quadratic")(linear=torch.full((1, 3), NAN)),
    "tight at NaN": lambda: is_tight(PLAIN, [NAN, 0, 0], 0.0),
    "tight text": lambda: is_tight(PLAIN, [0.0, 0, 0], "a"),  # type: ignore[arg-type]
    "tight too short": lambda: is_tight(PLAIN, [0.0], 0.0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name: str) -> None:
    with pytest.raises(JensenError):
        BAD[name]()


def test_nan_weights() -> None:
    net = FICNN(3, (4, 4))
    with torch.no_grad():
        net.first.weight[0, 0] = NAN
    with pytest.raises(JensenError):
        argmin(net, UNIT)
    with pytest.raises(JensenError):
        minimize_batch(net, UNIT)
    with pytest.raises(JensenError):
        minimize_entropy(net)


def test_empty_batches() -> None:
    smooth, x = PICNN(2, 3, (4,), activation="softplus"), torch.zeros(0, 2)
    cube = Polytope(np.vstack([np.eye(3), -np.eye(3)]), np.ones(6))
    for found in (
        minimize_batch(PARTIAL, UNIT, x),
        minimize_batch(smooth, UNIT, x),
        minimize_batch(PARTIAL, cube, x),
        minimize_entropy(PARTIAL, x),
    ):
        assert found.point.shape == (0, 3)
        assert found.value.shape == (0,)
    assert exact_conjugate(PLAIN, UNIT)(np.zeros((0, 3))).value.shape == (0,)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_empty_batches_have_gradients(activation: str) -> None:
    """Whoever trains on batches of which one is empty gets gradients of 0 from it."""
    f, g = FICNN(3, (4,), activation), PICNN(2, 3, (4,), activation=activation)
    cube = Polytope(np.vstack([np.eye(3), -np.eye(3)]), np.ones(6))
    flat = Polytope([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]], [1.0, -1.0])
    x, y = torch.zeros(0, 2, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    entropic, target = ArgminLayer(g), torch.zeros(0, 3)
    for empty in (
        entropic(x),
        *(ArgminLayer(g, domain, "quadratic")(x) for domain in (UNIT, cube, flat)),
        ArgminLayer(g, unrolled=3)(x),
        *(prox(f, 0.1, domain=domain)(y) for domain in (UNIT, cube, flat)),
        *(conjugate(f, domain=domain)(y) for domain in (UNIT, cube, flat)),
        MaxMarginLoss(g, reduction="none")(x, target),
    ):
        assert len(empty) == 0
        empty.sum().backward()
    for loss in (MaxMarginLoss(g), MaxMarginLoss(g, reduction="sum")):
        loss(x, target).backward()
    assert all(not bool(weight.grad.any()) for weight in g.parameters() if weight.grad is not None)
    for method in ("newton", "lbfgs", "bundle") if activation == "softplus" else ("lbfgs", "bundle"):
        for domain in (UNIT, cube, flat):
            found = minimize_batch(g, domain, x, method=method)
            assert found.point.shape == (0, 3)
            assert found.lower_bound.shape == found.converged.shape == (0,)
        assert minimize_batch(f, cube, method=method, right=torch.zeros(0, 6)).point.shape == (0, 3)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_polytopes_of_one_point(activation: str) -> None:
    f = FICNN(3, (5,), activation).double()
    corner, right = np.array([1.0, 2.0, 3.0]), torch.tensor([[1.0, 2, 3, -1, -2, -3], [0.0] * 6]).double()
    A = np.vstack([np.eye(3), -np.eye(3)])
    skew = np.vstack([np.tri(3), -np.tri(3)])
    for method in ("auto", "newton", "lbfgs", "bundle") if activation == "softplus" else ("lbfgs", "bundle"):
        found = minimize_batch(f, Polytope(A, right[0].numpy()), method=method, batch=2)
        torch.testing.assert_close(found.point, torch.from_numpy(corner).expand(2, 3))
        torch.testing.assert_close(found.value, f(found.point))
        assert (found.gap <= 1e-12).all()
        two = minimize_batch(f, Polytope(A, right[0].numpy()), right=right, method=method)
        torch.testing.assert_close(two.point, right[:, :3])
        there = minimize_batch(f, Polytope(skew, np.append(np.tri(3) @ corner, -np.tri(3) @ corner)))
        torch.testing.assert_close(there.point, torch.from_numpy(corner)[None])


class Bowl(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return (inputs[-1] - 2).square().flatten(1).sum(1)


def test_bounds_tell_the_shape_of_y() -> None:
    lo, hi, x = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), torch.zeros(5, 2)
    best = torch.tensor([1.0, 2.0, 2.0])
    layer = ArgminLayer(Bowl(), (lo, hi), None, smooth=True, assume_convex=True)
    assert torch.allclose(layer(x), best.expand(5, 3))
    assert torch.allclose(layer(), best.expand(1, 3))
    each = (lo.expand(4, 3), 3.0)
    found = minimize_batch(Bowl(), each, method="newton", assume_convex=True)
    assert torch.allclose(found.point, torch.full((4, 3), 2.0))
    image = (0.0, torch.ones(1, 2, 2))
    assert minimize_entropy(Bowl(), x, domain=image, assume_convex=True).point.shape == (5, 2, 2)
    assert minimize_batch(PARTIAL.at(torch.zeros(2)), each).point.shape == (4, 3)
    with pytest.raises(ArgumentError, match="bounds, linear slopes or a starting point of that"):
        minimize_entropy(Bowl(), x, assume_convex=True)
    with pytest.raises(DomainError, match="do not fit one another"):
        minimize_entropy(Bowl(), x, domain=(lo, torch.ones(2)), assume_convex=True)
    with pytest.raises(DomainError, match="does not broadcast"):
        minimize_entropy(Bowl(), x, domain=(torch.zeros(4, 3), 1.0), assume_convex=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("thin", [1.0, 1e-5])
def test_planted_equations(seed: int, thin: float) -> None:
    """Rows through an inner point with slack 0 on both sides are equations, and no others, however thin."""
    rng = np.random.default_rng(seed)
    n, several, m = 5, int(rng.integers(0, 4)), 9
    A = rng.normal(size=(several + m, n))
    A /= np.linalg.norm(A, axis=1)[:, None]
    inner, slack = rng.normal(size=n), thin * rng.uniform(0.1, 1.0, m)
    if several > 1:
        A[1] = (A[0] + 1e-3 * A[1]) / np.linalg.norm(A[0] + 1e-3 * A[1])
    G = np.vstack([A, -A[:several]])
    h = np.concatenate([A @ inner + np.append(np.zeros(several), slack), -A[:several] @ inner])
    point, tight = tight_rows(G, h)
    assert tight.tolist() == [True] * several + [False] * m + [True] * several
    assert (h - G @ point)[~tight].min() > 0
    flat = unfold(G, np.stack([h, h]), tight)
    assert flat.basis.shape == (n, n - several)
    z = (inner - flat.origin) @ flat.basis
    np.testing.assert_allclose(flat.origin + z @ flat.basis.T, np.stack([inner, inner]), atol=1e-9)
    assert (flat.right - z @ flat.rows.T).min() > 0


@pytest.mark.parametrize("width", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("seed", range(3))
def test_thin_polytopes(seed: int, width: float) -> None:
    """A slab so thin that steps towards its middle would end all progress."""
    torch.manual_seed(seed)
    f, rng = FICNN(3, (8, 6)).double(), np.random.default_rng(seed)
    a, C = rng.normal(size=3), rng.normal(size=(2, 3))
    slab = Polytope(np.vstack([a, -a, C, np.eye(3), -np.eye(3)]), [width, 0.0, *[0.5] * 2, *[1.0] * 6])
    found, truth = minimize_batch(f, slab, method="bundle", max_iterations=100), argmin(f, slab).value
    assert bool(found.converged.all())
    assert float(found.lower_bound) - 1e-9 <= truth <= float(found.value) + 1e-9
    assert (slab.A @ found.point[0].numpy() - slab.b).max() <= 1e-12
