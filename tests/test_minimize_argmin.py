"""argmin, conjugates and proximal maps against linear programmes that scipy solves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog

import jensen
from benchmarks.minimise_epigraph import epigraph
from jensen.errors import ArgumentError, DomainError, NotConvexError
from jensen.minimize.exact._argmin import argmin
from jensen.minimize.exact._cuts import Cuts
from jensen.minimize.exact._lp import EpigraphLP
from jensen.minimize.exact._maps import exact_conjugate, exact_prox
from jensen.minimize.posed import _problem
from jensen.minimize.posed._oracle import NetworkOracle
from jensen.minimize.posed._polyhedron import Polyhedron, polyhedron
from jensen.minimize.posed._result import Minimum
from jensen.minimize.walk._walker import Walker
from jensen.network import FloatArray, Layer
from jensen.nn._relay import RelayICNN

Floats = NDArray[np.float64]


def icnn(
    rng: np.random.Generator, n: int, widths: tuple[int, ...], leaky: bool = False
) -> jensen.ReLUNetwork:
    """A random input convex network with skips; sometimes sparse, with twins or without biases."""
    layers = []
    kind = rng.integers(4)
    for position, size in enumerate(widths, 1):
        weights: dict[int, Floats] = {0: rng.normal(size=(size, n))}
        for k in range(max(1, position - 1), position):
            weights[k] = np.abs(rng.normal(size=(size, widths[k - 1]))) * (
                rng.random((size, widths[k - 1])) < 0.7
            )
        if position > 2 and rng.random() < 0.5:
            weights[1] = np.abs(rng.normal(size=(size, widths[0])))
        bias = rng.normal(size=size) * (kind != 0)
        if kind == 1 and size > 1:  # twins
            bias[-1] = bias[0]
            for w in weights.values():
                w[-1] = w[0]
        slope = rng.choice([0.0, 0.1, 1.0], size=size) if leaky else np.zeros(size)
        if leaky and position == 1:
            slope[0] = -1.0
        layers.append(Layer(weights, bias, slope))
    out: dict[int, Any] = {k: np.abs(rng.normal(size=size)) for k, size in enumerate(widths, 1)}
    out[0] = rng.normal(size=n)
    return jensen.ReLUNetwork(n, layers, out, float(rng.normal()))


def referee(net: jensen.ReLUNetwork, slope: Floats, domain: jensen.Domain) -> tuple[str, float]:
    """Minimise net(y) + slope . y by an epigraph that shares nothing with the library, solved by scipy."""
    return epigraph(net, domain, slope)


def draw_domain(rng: np.random.Generator, n: int) -> jensen.Domain:
    kind = rng.integers(4)
    if kind == 0:
        return jensen.WholeSpace()
    if kind == 1:
        lo = rng.normal(size=n)
        return jensen.Box(lo, lo + rng.exponential(size=n) * rng.integers(0, 2, size=n))
    if kind == 2:
        lo = np.where(rng.random(n) < 0.5, -np.inf, rng.normal(size=n))
        return jensen.Box(lo, np.inf)
    m = int(rng.integers(1, 2 * n + 3))
    return jensen.Polytope(rng.normal(size=(m, n)), rng.normal(size=m) + 0.3)


def breach(inside: Polyhedron, y: FloatArray) -> float:
    """Largest violation of a bound or row at a point; at most 0 inside."""
    sides = (inside.lo - y, y - inside.hi, inside.rows @ y - inside.right)
    return max(float(side.max(initial=-np.inf)) for side in sides)


def agrees(found: Minimum, status: str, value: float) -> None:
    assert found.status == status
    if status == "optimal":
        scale = max(1.0, abs(value))
        assert abs(found.value - value) <= 1e-6 * scale
        assert found.lower_bound <= value + 1e-9 * scale
        assert found.lower_bound <= found.value
        assert found.gap <= 2e-6 * scale


@pytest.mark.parametrize("seed", range(250))
def test_walk_and_lp_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    widths = tuple(int(k) for k in rng.integers(1, 9, size=rng.integers(1, 4)))
    net, domain = icnn(rng, n, widths, leaky=bool(rng.integers(2))), draw_domain(rng, n)
    inside = polyhedron(domain, n)
    walker, programme = Walker(net, inside), EpigraphLP(net, inside)
    for _ in range(3):  # a sequence, each from the last
        slope = rng.normal(size=n) * rng.choice([0.0, 0.3, 3.0])
        status, value = referee(net, slope, domain)
        for engine in (walker, programme):
            found = engine.solve(slope)
            agrees(found, status, value)
            if status == "optimal":
                assert breach(inside, found.point) <= 1e-7
            if status == "unbounded":
                check_ray(net, slope, domain, found)


def check_ray(net: jensen.ReLUNetwork, slope: Floats, domain: jensen.Domain, found: Minimum) -> None:
    assert found.ray is not None
    points = np.array([found.point + t * found.ray for t in (1e5, 2e5)])
    values = net(points) + points @ slope
    assert values[1] < values[0] - 1e-6
    A, b = domain.inequalities(net.input_size)
    assert (A @ points[0] <= b + 1e-3).all()


@pytest.mark.parametrize("seed", range(40))
def test_cuts_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    n = int(rng.integers(1, 5))
    net, domain = icnn(rng, n, (6, 4), leaky=bool(rng.integers(2))), draw_domain(rng, n)
    status, value = referee(net, np.zeros(n), domain)
    agrees(argmin(net, domain, method="cuts"), status, value)


@pytest.mark.parametrize("seed", range(12))
def test_certified_networks_with_negative_weights(seed: int) -> None:
    """The minimum over all affine pieces is the referee: a convex network is their maximum."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = RelayICNN(2, (6, 5))
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    net = jensen.as_network(module).network
    verdict = jensen.check(net)
    assert verdict.kind == "convex"
    domain: jensen.Domain = (
        jensen.Box(-1.0, 2.0)
        if seed % 2
        else jensen.Polytope(np.vstack([rng.normal(size=(3, 2)), np.eye(2), -np.eye(2)]), np.ones(7) * 2)
    )
    pieces = jensen.regions(net)
    lo, hi = domain.bounds(2)
    A, b = domain.inequalities(2)
    rows = np.vstack(
        [
            np.column_stack([pieces.gradients, -np.ones(pieces.n_regions)]),
            np.column_stack([A, np.zeros(len(A))]),
        ]
    )
    found = linprog(
        [0, 0, 1.0],
        rows,
        np.concatenate([-pieces.offsets, b]),
        bounds=[*zip(lo, hi, strict=True), (None, None)],
    )
    agrees(argmin(net, domain, verdict=verdict), "optimal", float(found.fun or 0.0))
    agrees(argmin(net, domain), "optimal", float(found.fun or 0.0))
    agrees(argmin(module, domain), "optimal", float(found.fun or 0.0))


@pytest.mark.parametrize("seed", range(6))
def test_picnn_at_a_point(seed: int) -> None:
    torch.manual_seed(seed)
    module, x = jensen.nn.PICNN(3, 4, (9, 7)), torch.randn(3)
    net = jensen.as_network(module.at(x)).network
    domain = jensen.Box(-1, 2)
    _, value = referee(net, np.zeros(4), domain)
    for method in ("walk", "lp", "cuts"):
        found = argmin(module, domain, x, method=method)
        agrees(found, "optimal", value)
    with torch.no_grad():
        direct = module(x[None], torch.tensor(found.point, dtype=torch.float32)[None])
    assert float(direct) == pytest.approx(found.value, abs=1e-4)


def test_strongly_convex_networks() -> None:
    torch.manual_seed(0)
    module = jensen.nn.FICNN(3, (8, 8), quadratic=0.7)
    found, cuts = argmin(module), argmin(module, method="cuts")
    assert found.status == cuts.status == "optimal"
    assert found.value == pytest.approx(cuts.value, rel=1e-6)
    rng = np.random.default_rng(0)
    near = torch.tensor(found.point + 0.1 * rng.normal(size=(200, 3)))
    assert float(module.double()(near).detach().min()) >= found.value


def test_smooth_networks_and_functions() -> None:
    torch.manual_seed(0)
    module = jensen.nn.FICNN(2, (8, 8), "softplus", quadratic=0.5)
    found = argmin(module, jensen.Box(-3, 3))
    assert (found.status, found.method) == ("optimal", "cuts")
    grid = torch.cartesian_prod(torch.linspace(-3, 3, 201), torch.linspace(-3, 3, 201)).double()
    assert found.lower_bound <= float(module.double()(grid).detach().min()) <= found.value + 1e-2
    square = argmin(lambda y: ((y - 1) ** 2).sum(1), jensen.Box([-5, -5], [5, 5]), assume_convex=True)
    np.testing.assert_allclose(square.point, 1.0, atol=2e-3)
    fixed = argmin(
        lambda x, y: ((y - x) ** 2).sum(1), jensen.Box([-5, -5], [5, 5]), [1.0, 2.0], assume_convex=True
    )
    np.testing.assert_allclose(fixed.point, [1, 2], atol=2e-3)


@pytest.mark.parametrize("method", ["walk", "lp", "cuts"])
def test_infeasible_and_unbounded(method: Any) -> None:
    net = jensen.from_arrays([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]]])
    empty = jensen.Polytope([[1.0, 1.0], [-1.0, -1.0]], [0.0, -1.0])
    found = argmin(net, empty, method=method)
    assert (found.status, found.value) == ("infeasible", np.inf)
    contrary = jensen.Polytope([[1.0, 0.0], [-1.0, 0.0]], [0.0, -1.0])
    assert argmin(net, contrary, method=method).status == "infeasible"
    down = jensen.ReLUNetwork(2, net.layers, {0: [1.0, 0.0], 1: [0.5, 1.0]})
    found = argmin(down, method=method)
    assert (found.status, found.value) == ("unbounded", -np.inf)
    check_ray(down, np.zeros(2), jensen.WholeSpace(), found)
    flat = argmin(net, method=method)  # attained on a whole quadrant
    assert (flat.status, flat.value) == ("optimal", 0.0)


def test_refusals() -> None:
    torch.manual_seed(0)
    module = jensen.nn.SkipMLP(2, (8, 8))
    with pytest.raises(NotConvexError, match="violate Jensen"):
        argmin(module)
    with pytest.raises(NotConvexError, match="not_convex"):
        argmin(module, verdict=jensen.check(module))
    with pytest.raises(NotConvexError, match="another network"):
        argmin(module, verdict=jensen.check(jensen.nn.FICNN(2, (3,))))
    relay = jensen.as_network(RelayICNN(2, (4, 4))).network
    inner = jensen.check(relay, jensen.Box(-1, 1))
    with pytest.raises(NotConvexError, match="another domain"):
        argmin(relay, jensen.Box(-2, 2), verdict=inner)
    assert argmin(relay, jensen.Box(-0.5, 1), verdict=inner).status == "optimal"
    with pytest.raises(NotConvexError, match="assume_convex"):
        argmin(lambda y: y.sum(1), jensen.Box([0.0], [1.0]))
    with pytest.raises(ArgumentError, match="negative weights"):
        argmin(relay, jensen.Box(-1, 1), method="lp")
    net = jensen.from_arrays([[[1.0]], [[1.0]]])
    for wrong in ({"method": "magic"}, {"gap": 0}, {"start": [1.0, 2.0]}, {"x": [1.0]}, {"progress": 3}):
        with pytest.raises(ArgumentError):
            argmin(net, **wrong)
    with pytest.raises(DomainError):
        argmin(net, jensen.Box([0, 0], [1, 1]))
    with pytest.raises(ArgumentError, match="x and y"):
        argmin(jensen.nn.PICNN(2, 2, (3,)))


def test_time_limit_and_progress() -> None:
    rng = np.random.default_rng(0)
    net = icnn(rng, 40, (120, 60))
    seen: list[Minimum] = []
    found = argmin(net, jensen.Box(-1, 1), method="cuts", time_limit=0.2, progress=seen.append)
    assert found.status == "time_limit"
    assert seen
    assert found.lower_bound <= argmin(net, jensen.Box(-1, 1)).value <= found.value + 1e-9


@pytest.mark.parametrize("method", ["walk", "cuts"])
def test_conjugates(method: Any) -> None:
    rng = np.random.default_rng(5)
    net = icnn(rng, 3, (8, 6))
    inner = net.gradient(rng.normal(size=(8, 3)))
    slopes = np.vstack([0.5 * (inner[:4] + inner[4:]), 100 * np.ones((1, 3))])
    found = exact_conjugate(net, method=method)(slopes)
    for i, slope in enumerate(slopes):
        status, value = referee(net, -slope, jensen.WholeSpace())
        assert found.status[i] == status
        assert found.value[i] == pytest.approx(-value, rel=1e-6, abs=1e-6) if status == "optimal" else True
    assert np.isposinf(found.value[-1])
    # Fenchel's inequality, with equality at the points found
    points = rng.normal(size=(50, 3))
    for slope, value, point in zip(slopes[:4], found.value, found.point, strict=False):
        assert (points @ slope - net(points) <= value + 1e-6).all()
        assert float(point @ slope) - float(net(point)[0]) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("domain", [jensen.WholeSpace(), jensen.Box(-0.5, 1.0)])
@pytest.mark.parametrize("method", ["walk", "cuts"])
def test_proximal_maps(method: Any, domain: jensen.Domain) -> None:
    rng = np.random.default_rng(7)
    net = icnn(rng, 3, (8, 6))
    points = rng.normal(size=(6, 3))
    step = 0.3
    found = exact_prox(net, step, domain, method=method, gap=1e-9)(points)
    assert set(found.status) == {"optimal"}
    for p, y, value in zip(points, found.point, found.value, strict=True):
        assert float(net(y)[0]) + float((y - p) @ (y - p)) / (2 * step) == pytest.approx(value, abs=1e-9)
        others = np.clip(y + rng.normal(size=(300, 3)) * rng.choice([1e-3, 0.1, 1.0], size=(300, 1)), -5, 5)
        lo, hi = domain.bounds(3)
        others = np.clip(others, lo, hi)
        envelope = net(others) + ((others - p) ** 2).sum(axis=1) / (2 * step)
        assert (envelope >= value - 1e-8).all()


def test_proximal_map_of_a_certified_network() -> None:
    torch.manual_seed(3)
    net = jensen.as_network(RelayICNN(3, (6, 5))).network
    points = np.random.default_rng(0).normal(size=(4, 3))
    found = exact_prox(net, 0.5, verdict=jensen.check(net), gap=1e-9)(points)
    assert set(found.status) == {"optimal"}
    # p - prox(p) is step times a subgradient at prox(p): Moreau's identity by way of monotonicity
    slopes = (points - found.point) / 0.5
    others = np.random.default_rng(1).normal(size=(200, 3))
    for y, s in zip(found.point, slopes, strict=True):
        assert (net(others) >= float(net(y)[0]) + (others - y) @ s - 1e-4).all()


def test_larger_problem() -> None:
    rng = np.random.default_rng(1)
    net, domain = icnn(rng, 40, (120, 40)), jensen.Box(-1, 1)
    status, value = referee(net, np.zeros(40), domain)
    agrees(argmin(net, domain), status, value)


def test_the_time_limit_holds_for_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    real = jensen.check

    def check(*arguments: Any, **options: Any) -> jensen.Verdict:
        given.append(options["time_limit"])
        return replace(real(*arguments, **options), kind="unknown", reason="time limit")

    monkeypatch.setattr(_problem, "check", check)
    torch.manual_seed(0)
    net = jensen.as_network(RelayICNN(2, (6, 6))).network
    with pytest.raises(NotConvexError, match=r"within 0\.\d* s"):
        argmin(net, jensen.Box(-1, 1), time_limit=0.5)
    assert 0 < given[0] <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_a_thousand_problems(block: int) -> None:
    """All methods on larger networks, some of them with all kinks in one point."""
    for seed in range(50 * block, 50 * block + 50):
        rng = np.random.default_rng(5000 + seed)
        n = int(rng.integers(1, 16))
        widths = tuple(int(k) for k in rng.integers(1, 25, size=rng.integers(1, 5)))
        net, domain = icnn(rng, n, widths, leaky=bool(rng.integers(2))), draw_domain(rng, n)
        slope, inside = rng.normal(size=n) * rng.choice([0.0, 0.3, 3.0]), polyhedron(domain, n)
        status, value = referee(net, slope, domain)
        agrees(Walker(net, inside).solve(slope), status, value)
        agrees(EpigraphLP(net, inside).solve(slope), status, value)
        if n <= 6:
            agrees(Cuts(NetworkOracle(net), inside).solve(slope), status, value)
