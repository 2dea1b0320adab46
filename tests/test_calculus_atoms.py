"""Every atom of the table: declared sign, curvature and monotonicity against values and derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jensen.calculus import ATOMS, Atom
from jensen.calculus._atom import Shape
from jensen.calculus._elementary import exponential, power, sloped
from jensen.network.lowering._program import call

ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "aten.leaky_relu": [{"negative_slope": s} for s in (0.0, 0.01, 0.5, 1.0, 1.5, -0.5)],
    "aten.elu": [
        *({"alpha": a} for a in (0.0, 0.5, 1.0, 2.0)),
        {"alpha": 1.0, "scale": 2.0, "input_scale": 0.5},
        {"alpha": 1.67, "scale": 1.05, "input_scale": 1.0},
        {"alpha": 1.0, "scale": 1.0, "input_scale": 3.0},
    ],
    "aten.celu": [{"alpha": a} for a in (0.5, 1.0, 3.0)],
    "aten.softplus": [{"beta": b, "threshold": 40.0} for b in (0.5, 1.0, 4.0)],
    "aten.hardtanh": [
        {"min_val": a, "max_val": b}
        for a, b in ((-1.0, 1.0), (-2.0, -1.0), (1.0, 2.0), (0.0, 6.0), (-1.0, 0.0))
    ],
    "aten.threshold": [{"threshold": 0.5, "value": 0.5}, {"threshold": 0.0, "value": 1.0}],
}
OVERLOADS = {"aten.gelu": "default"}
CASES = [
    (packet, arguments)
    for packet in sorted(ATOMS)
    if packet.startswith("aten.")
    for arguments in ARGUMENTS.get(packet, [{}])
]


def grid(low: float, high: float) -> NDArray[np.float64]:
    return np.linspace(low, high, 2001)


def declared(packet: str, arguments: dict[str, Any]) -> Atom:
    found = ATOMS[packet]
    return found if isinstance(found, Atom) else found(arguments)


def evaluate(packet: str, arguments: dict[str, Any], x: NDArray[np.float64]) -> NDArray[np.float64]:
    result = call(f"{packet}.default", {"self": torch.from_numpy(x), **arguments})
    return np.asarray(result.numpy())


def assert_shape(shape: Shape, values: NDArray[np.float64]) -> None:
    """Compare a declared shape with values on an even grid, by their first and second differences."""
    slack = 1e-12 * (1.0 + np.abs(values).max())
    first, second = np.diff(values), np.diff(values, 2)
    if shape.slope == "increasing":
        assert (first >= -slack).all()
    if shape.slope == "decreasing":
        assert (first <= slack).all()
    if shape.bend in ("convex", "affine", "constant"):
        assert (second >= -slack).all()
    if shape.bend in ("concave", "affine", "constant"):
        assert (second <= slack).all()
    if shape.bend == "constant":
        assert np.ptp(values) <= slack


def assert_atom(atom: Atom, function: Any) -> None:
    whole, positive, negative = grid(-6, 6), grid(0, 6), grid(-6, 0)
    inside = {"real": -np.inf, "nonnegative": 0.0, "positive": 1e-3}[atom.domain]
    # On an even grid whose points are exact, so that differences are those of the function.
    assert_shape(atom.everywhere, function(whole[whole >= inside]))
    assert_shape(atom.shape_on(6), function(positive[positive >= inside]))
    if atom.domain == "real":
        assert_shape(atom.shape_on(3), function(negative))
    for bits, points in ((1, negative[:-1]), (2, np.zeros(1)), (4, positive[1:])):
        if (atom.domain != "real" and bits == 1) or (atom.domain == "positive" and bits == 2):
            continue
        signs = np.sign(function(points))
        allowed = atom.sign_on(bits)
        assert allowed & 1 or (signs >= 0).all()
        assert allowed & 2 or (signs != 0).all()
        assert allowed & 4 or (signs <= 0).all()


@pytest.mark.parametrize(("packet", "arguments"), CASES, ids=str)
def test_an_atom_is_as_declared(packet: str, arguments: dict[str, Any]) -> None:
    assert_atom(declared(packet, arguments), lambda x: evaluate(packet, arguments, x))


@pytest.mark.parametrize("p", [0, 1, 2, 3, 4, 5, 0.5, 1.5, 2.5, -0.5, -1, -2, -3.5])
def test_powers(p: float) -> None:
    with np.errstate(all="ignore"):
        assert_atom(power(p), lambda x: np.power(x, p))


@pytest.mark.parametrize("base", [0.5, 1.0, 2.0, 10.0])
def test_exponentials(base: float) -> None:
    assert_atom(exponential(base), lambda x: np.power(base, x))


@pytest.mark.parametrize("slope", [-2.0, -1.0, 0.0, 0.3, 1.0, 4.0])
def test_slopes(slope: float) -> None:
    assert_atom(sloped(slope), lambda x: np.where(x > 0, x, slope * x))


def test_smooth_atoms_have_the_second_derivative_that_they_declare() -> None:
    """By automatic differentiation, where differences on a grid may miss a narrow bend."""
    checked = 0
    for packet, arguments in CASES:
        if packet == "aten.hardsigmoid":
            continue  # torch has no second derivative of it
        atom = declared(packet, arguments)
        points = torch.linspace(-5, 5, 401, dtype=torch.float64)
        points = points[points > (0 if atom.domain != "real" else -np.inf)].requires_grad_()
        value = call(f"{packet}.default", {"self": points, **arguments})
        (first,) = torch.autograd.grad(value.sum(), points, create_graph=True)
        if not first.requires_grad:
            continue  # piecewise linear
        (second,) = torch.autograd.grad(first.sum(), points, materialize_grads=True)
        for shape, here in (
            (atom.everywhere, torch.ones_like(points, dtype=torch.bool)),
            (atom.shape_on(6), points >= 0),
            (atom.shape_on(3), points <= 0),
        ):
            if shape.bend in ("convex", "affine") and bool(here.any()):
                assert bool((second[here] >= -1e-12).all()), (packet, arguments)
            if shape.bend in ("concave", "affine") and bool(here.any()):
                assert bool((second[here] <= 1e-12).all()), (packet, arguments)
        checked += 1
    assert checked > 15


def test_parameters_out_of_the_ordinary_say_nothing() -> None:
    for packet, arguments in (
        ("aten.elu", {"alpha": -1.0}),
        ("aten.celu", {"alpha": -1.0}),
        ("aten.softplus", {"beta": -1.0}),
        ("aten.softplus", {"beta": 1.0, "threshold": 2.0}),
        ("aten.hardtanh", {"min_val": 1.0, "max_val": -1.0}),
    ):
        assert declared(packet, arguments).everywhere == Shape("unknown")
