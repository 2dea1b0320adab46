"""Every atom of the table against random evaluation, what it says of logarithms against derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_calculus_atoms import ARGUMENTS, CASES, declared

from jensen.calculus import ATOMS, Atom
from jensen.calculus._atom import Shape
from jensen.calculus._elementary import LOGARITHM, SIZE, exponential, huber, power, sloped
from jensen.calculus._losses import _SOFTPLUS
from jensen.calculus._patterns import _ENTROPY
from jensen.network.lowering._program import call

Floats = NDArray[np.float64]
Function = Callable[[torch.Tensor], torch.Tensor]
POWERS = (0, 1, 2, 3, 4, 5, 0.5, 1.5, 2.5, -0.5, -1, -2, -3.5)
BASES = (0.25, 0.5, 1.0, 2.0, 10.0)
SLOPES = (-2.0, -1.0, -0.25, 0.0, 0.3, 1.0, 4.0)
TRIALS = 20_000


def _of(packet: str, arguments: dict[str, Any]) -> Function:
    return lambda x: torch.as_tensor(call(f"{packet}.default", {"self": x, **arguments}))


ALL: list[tuple[str, Atom, Function]] = [
    *((f"{packet} {given}", declared(packet, given), _of(packet, given)) for packet, given in CASES),
    *((f"pow {p}", power(p), lambda x, p=p: x**p) for p in POWERS),
    *((f"{base}^x", exponential(base), lambda x, base=base: torch.pow(base, x)) for base in BASES),
    *((f"slope {s}", sloped(s), lambda x, s=s: torch.where(x > 0, x, s * x)) for s in SLOPES),
    ("huber", huber(), lambda x: torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none")),
    ("l1", huber(), torch.abs),
    ("abs", SIZE, torch.abs),
    ("log", LOGARITHM, torch.log),
    ("x log(x)", _ENTROPY, lambda x: x * x.log()),
    ("logistic loss", _SOFTPLUS, lambda x: torch.nn.functional.softplus(x, threshold=1e9)),
]  # fmt: skip
NAMES = [name for name, *_ in ALL]


def test_every_atom_is_among_them() -> None:
    assert {packet for packet, _ in CASES} == {packet for packet in ATOMS if packet.startswith("aten.")}
    with_parameters = {packet for packet, atom in ATOMS.items() if not isinstance(atom, Atom)}
    assert with_parameters <= set(ARGUMENTS)


def points(rng: np.random.Generator, sign: int) -> Floats:
    """Draw numbers of all sizes between 1e-4 and 10, of one sign or of both."""
    x = 10 ** rng.uniform(-4, 1, (2, TRIALS))
    return x * (sign or rng.choice([-1.0, 1.0], x.shape))


def assert_random(shape: Shape, function: Callable[[Floats], Floats], ends: Floats, rng: Any) -> None:
    """Compare a shape with values at random pairs, and at points between them."""
    t = rng.uniform(0, 1, TRIALS)
    a, b = ends
    fa, fb, fm = function(a), function(b), function(t * a + (1 - t) * b)
    ok = np.isfinite(fa) & np.isfinite(fb) & np.isfinite(fm)
    assert ok.mean() > 0.9
    slack = 1e-11 * (1 + np.abs(fa) + np.abs(fb) + np.abs(fm))
    gap, step = fm - (t * fa + (1 - t) * fb), (fb - fa) * np.sign(b - a)
    checks = {
        "increasing": (step, -slack), "decreasing": (-step, -slack), "convex": (-gap, -slack),
        "concave": (gap, -slack), "constant": (-np.abs(fb - fa), -slack),
    }  # fmt: skip
    words = {shape.slope, shape.bend} | ({"convex", "concave"} if shape.bend == "affine" else set())
    for word in words & set(checks):
        value, least = checks[word]
        assert (value[ok] >= least[ok]).all(), word


@pytest.mark.parametrize(("name", "atom", "function"), ALL, ids=NAMES)
def test_random_evaluation(name: str, atom: Atom, function: Function) -> None:
    rng = np.random.default_rng(3)

    def value(x: Floats) -> Floats:
        return np.asarray(function(torch.from_numpy(x)).numpy(), dtype=np.float64)

    for sign, bits in ((1, 4), (-1, 1), (0, 5)):
        if atom.domain != "real" and sign != 1:
            continue
        ends = points(rng, sign)
        assert_random(atom.shape_on(bits), value, ends, rng)
        found = np.sign(value(ends))
        allowed = atom.sign_on(bits)
        assert allowed & 1 or (found >= 0).all()
        assert allowed & 4 or (found <= 0).all()
        # What is positive may round to zero.
        assert allowed & 2 or (found != 0).mean() > 0.9
    if atom.domain != "positive":
        at_zero = int(np.sign(value(np.zeros(1)))[0]) if name != "x log(x)" else 0
        assert atom.sign_on(2) & {-1: 1, 0: 2, 1: 4}[at_zero]
    if atom.of_exp is not None:
        assert_random(atom.of_exp, lambda h: value(np.exp(h)), logarithms(rng), rng)
    for claimed, outer in ((atom.of_square, lambda v: v), (atom.root_of_square, np.sqrt)):
        if claimed:
            rises = Shape("convex", "increasing")
            assert_random(rises, lambda s, outer=outer: outer(value(s * s)), points(rng, 1), rng)  # type: ignore[misc]
    for sign, bits in ((1, 4), (-1, 1), (0, 5)) if atom.root is not None else ():
        if atom.root is not None and (sign == 1 or atom.root.domain == "real"):
            assert_random(atom.root.shape_on(bits), lambda x: np.sqrt(value(x)), points(rng, sign), rng)
    for shape, inner in ((atom.log, lambda x: x), (atom.log_of_exp, np.exp)):
        if shape is None:
            continue
        ends = points(rng, 1 if atom.domain != "real" else 0) if shape is atom.log else logarithms(rng)
        assert (value(inner(ends)) >= 0).all()
        assert_logarithm(shape, lambda h, inner=inner: value(inner(h)), ends, rng)  # type: ignore[misc]


def assert_logarithm(shape: Shape, value: Callable[[Floats], Floats], ends: Floats, rng: Any) -> None:
    safe = keep_positive(ends, value)
    with np.errstate(divide="ignore"):
        assert_random(shape, lambda h: np.log(value(h)), safe, rng)


def logarithms(rng: np.random.Generator) -> Floats:
    return rng.uniform(-6, 2.5, (2, TRIALS))


def keep_positive(ends: Floats, value: Callable[[Floats], Floats]) -> Floats:
    """Move points at which the value is zero, or rounds to it, to ones where it is not."""
    good = value(ends) > 1e-300
    spare = ends[good]
    assert spare.size > 100
    return np.where(good, ends, np.resize(spare, ends.shape))


def _second(function: Function, at: torch.Tensor) -> torch.Tensor | None:
    x = at.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    if not first.requires_grad:
        return None
    (second,) = torch.autograd.grad(first.sum(), x, materialize_grads=True)
    return second


@pytest.mark.parametrize(("name", "atom", "function"), ALL, ids=NAMES)
def test_second_derivatives(name: str, atom: Atom, function: Function) -> None:
    if "hardsigmoid" in name:
        pytest.skip("torch has no second derivative of it; it is piecewise linear")
    generator = torch.Generator().manual_seed(0)
    x = 10 * torch.rand(4000, generator=generator, dtype=torch.float64) - 5
    h = 6 * torch.rand(4000, generator=generator, dtype=torch.float64) - 4
    inside = x[x > 0] if atom.domain != "real" else x
    claims: list[tuple[Shape | None, Function, torch.Tensor]] = [
        (atom.everywhere, function, inside),
        (atom.shape_on(4), function, inside[inside > 0]),
        (atom.shape_on(1) if atom.domain == "real" else None, function, x[x < 0]),
        (atom.log, lambda v: function(v).log(), inside[function(inside) > 1e-300]),
        (atom.of_exp, lambda v: function(v.exp()), h),
        (atom.log_of_exp, lambda v: function(v.exp()).log(), h),
    ]
    for shape, of, at in claims:
        if shape is None or shape.bend == "unknown":
            continue
        second = _second(of, at)
        if second is None:
            continue  # piecewise linear
        if shape.bend != "concave":
            assert float(second.min()) >= -1e-9
        if shape.bend != "convex":
            assert float(second.max()) <= 1e-9
