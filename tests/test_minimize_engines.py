"""What stands behind argmin: warm programmes, units, Ctrl-C, and what is done until the walk is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_minimize_argmin import agrees, breach, icnn, referee

import jensen
from benchmarks.minimise_epigraph import epigraph
from jensen.errors import JensenError
from jensen.minimize.exact import _engine
from jensen.minimize.exact._argmin import argmin
from jensen.minimize.exact._engine import Exact
from jensen.minimize.exact._lp import EpigraphLP
from jensen.minimize.exact._stop import Stop
from jensen.minimize.posed._polyhedron import polyhedron
from jensen.network import Layer


def test_warm_linear_programmes() -> None:
    torch.manual_seed(0)
    module = jensen.nn.PICNN(2, 5, (12, 10))
    nets = [jensen.as_network(module.at(x)).network for x in torch.randn(4, 2)]
    programme = EpigraphLP(nets[0], polyhedron(jensen.Box(-1, 1), 5))
    for net in nets:
        programme.set_network(net)
        for hi in (0.5, 1.0):
            domain = jensen.Box(-1, hi)
            programme.set_inside(polyhedron(domain, 5))
            agrees(programme.solve(), "optimal", referee(net, np.zeros(5), domain)[1])


def in_units(net: jensen.ReLUNetwork, point: int, middle: int, value: int) -> jensen.ReLUNetwork:
    """The same network with inputs, first activations and values in other units, powers of two."""
    layers = []
    for position, layer in enumerate(net.layers, 1):
        shift = middle if position == 1 else 0
        weights = {
            k: np.ldexp(np.asarray(w), shift - (point if k == 0 else middle if k == 1 else 0))
            for k, w in layer.weights.items()
        }
        layers.append(Layer(weights, np.ldexp(layer.bias, shift), layer.negative_slope))
    out = {
        k: np.ldexp(np.asarray(w), value - (point if k == 0 else middle if k == 1 else 0))
        for k, w in net.output_weights.items()
    }
    return jensen.ReLUNetwork(net.input_size, layers, out, float(np.ldexp(net.output_bias, value)))


@pytest.mark.parametrize("method", ["walk", "lp", "cuts", "auto"])
@pytest.mark.parametrize(
    "units", [(30, 0, 0), (400, 0, 0), (-400, 0, 0), (0, 60, 0), (0, -300, 0), (0, 0, 500), (300, -200, 400)]
)
def test_large_and_small_numbers(method: Any, units: tuple[int, int, int]) -> None:
    """Powers of two do not round, so the minimum is the same number in other units."""
    net = icnn(np.random.default_rng(3), 4, (8, 6))
    status, value = epigraph(net, jensen.Box(-1, 2))
    assert status == "optimal"
    box = jensen.Box(-(2.0 ** units[0]), 2 * 2.0 ** units[0])
    found = argmin(in_units(net, *units), box, method=method)
    scale = 2.0 ** units[2]
    assert found.status == "optimal"
    assert found.value / scale == pytest.approx(value, rel=1e-6)
    assert found.lower_bound / scale <= value + 1e-9
    assert (np.abs(found.point) <= 2 * 2.0 ** units[0]).all()


def test_large_numbers_of_functions() -> None:
    def steep(y: torch.Tensor) -> torch.Tensor:
        return 1e80 * ((y / 1e30 - 1) ** 2).sum(1)

    found = argmin(steep, jensen.Box([-5e30, -5e30], [5e30, 5e30]), assume_convex=True, gap=1e-3)
    np.testing.assert_allclose(found.point / 1e30, 1.0, atol=0.1)
    assert found.lower_bound <= 0.0 <= found.value


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("method", ["walk", "lp", "cuts"])
def test_numbers_beyond_all_numbers(method: Any) -> None:
    net = jensen.from_arrays([[[1e300]], [[1e300]]])
    with pytest.raises(JensenError, match="beyond floating-point numbers"):
        argmin(net, jensen.Box(1, 2), method=method)


def test_linear_programmes_until_the_walk_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "is_compiled", lambda: False)
    monkeypatch.setattr(Exact, "spent", 0.0)
    net = icnn(np.random.default_rng(0), 4, (8, 6))
    first = argmin(net, jensen.Box(-1, 1))
    assert (first.method, first.status) == ("lp", "optimal")
    assert Exact.spent > 0
    monkeypatch.setattr(Exact, "spent", 1e9)
    second = argmin(net, jensen.Box(-1, 1))
    assert (second.method, second.status) == ("walk", "optimal")
    assert second.value == pytest.approx(first.value, rel=1e-9)
    assert argmin(net, jensen.Box(-1, 1), time_limit=5).method == "lp"  # no time to compile


@pytest.mark.parametrize("rows", [0, 5])
def test_interrupted_linear_programme(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after some pivots gives the point where the simplex method stands, moved into the domain."""
    rng = np.random.default_rng(0)
    net = icnn(rng, 10, (60, 60))
    sides = np.vstack([rng.normal(size=(rows, 10)), np.eye(10), -np.eye(10)])
    inside = polyhedron(jensen.Polytope(sides, np.ones(len(sides))), 10)
    slope, looks, look = -net.gradient(rng.normal(size=(5, 10))).mean(axis=0), 0, Stop._look

    def pressed(stop: Stop, *arguments: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == 10:
            stop.asked = True
        look(stop, *arguments)

    monkeypatch.setattr(Stop, "_look", pressed)
    programme = EpigraphLP(net, inside)
    found = programme.solve(slope)
    assert found.status == "interrupted"
    assert breach(inside, found.point) <= 1e-9
    assert found.lower_bound <= programme.solve(slope).value <= found.value + 1e-9
