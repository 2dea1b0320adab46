"""Domains and scales at which solvers' absolute tolerances mean nothing; every method must say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog

import jensen
from jensen import Box, Polytope
from jensen.errors import ArgumentError
from jensen.minimize import Minimum, argmin, is_tight, to_cvxpy, write_lp
from jensen.minimize.posed._polyhedron import polyhedron
from jensen.network import Layer, ReLUNetwork

Floats = NDArray[np.float64]
METHODS: tuple[Any, ...] = ("walk", "lp", "cuts", "auto")
KINDS = ("plain", "thin", "flat", "point", "empty", "nearly", "cone")
TRIANGLE = Polytope([[-1, 0], [0, -1], [1, 1], [-1, -2]], [0, 0, 1, -0.7])


def hinges(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """Weights, biases and slope of sum relu(W y + c) + s . y."""
    count = int(rng.integers(1, 7))
    return rng.normal(size=(count, n)), rng.normal(size=count), rng.normal(size=n)


def network(hinge: tuple[Floats, Floats, Floats], far: tuple[Floats, Floats]) -> ReLUNetwork:
    """The hinges, and others that are off for all points that count."""
    weights, biases, slope = hinge
    layer = Layer({0: np.vstack([weights, far[0]])}, np.concatenate([biases, far[1]]))
    return ReLUNetwork(len(slope), [layer], {0: slope, 1: np.ones(layer.size)})


def referee(hinge: tuple[Floats, Floats, Floats], rows: Floats, right: Floats) -> tuple[int, float]:
    """scipy's answer about the hinges alone: its status and the least value."""
    weights, biases, slope = hinge
    count, n = weights.shape
    above = np.vstack(
        [np.hstack([weights, -np.eye(count)]), np.hstack([rows, np.zeros((len(right), count))])]
    )
    found = linprog(
        np.append(slope, np.ones(count)),
        above,
        np.concatenate([-biases, right]),
        bounds=[(None, None)] * n + [(0, None)] * count,
    )
    return int(found.status), float("nan") if found.fun is None else float(found.fun)


def rows_of(rng: np.random.Generator, kind: str, n: int) -> tuple[Floats, Floats]:
    """Rows that a domain of this kind has, of ordinary size."""
    normals = rng.normal(size=(int(rng.integers(1, 5)), n))
    if kind == "cone":
        return normals, np.zeros(len(normals))
    inner = rng.uniform(-1, 1, n)
    right = normals @ inner + rng.uniform(0.01, 1, len(normals))
    sides, ends = np.vstack([np.eye(n), -np.eye(n)]), np.full(2 * n, 2.0)
    if kind == "point":
        sides, ends = np.vstack([np.eye(n), -np.ones(n)]), np.append(inner, -np.sum(inner))
    across = rng.normal(size=n)
    level, width = float(across @ inner), {"thin": 10.0 ** rng.uniform(-8, -3), "flat": 0.0}.get(kind)
    if kind == "empty":
        width = -(10.0 ** rng.uniform(-7, -1))
    if kind == "nearly":
        width = -(10.0 ** rng.uniform(-16, -11))
    if width is not None:
        normals = np.vstack([normals, across, -across])
        right = np.concatenate([right, [level + width, -level]])
    return np.vstack([normals, sides]), np.concatenate([right, ends])


def problem(seed: int) -> tuple[str, ReLUNetwork, Polytope, tuple[int, float]]:
    """A problem, and what its answer is."""
    rng = np.random.default_rng(seed)
    kind, n = KINDS[seed % len(KINDS)], int(rng.integers(1, 6))
    hinge = hinges(rng, n)
    rows, right = rows_of(rng, kind, n)
    wanted = (2, np.inf) if kind == "empty" else referee(hinge, rows, right)
    count = 0 if kind == "cone" else int(rng.integers(0, 4))  # cones reach all kinks
    far = rng.normal(size=(count, n)), -(10.0 ** rng.uniform(6, 12, count))
    scales = 10.0 ** rng.integers(-8, 9, len(right)) if rng.random() < 0.6 else np.ones(len(right))
    if kind in ("flat", "nearly", "point"):
        scales = 2.0 ** np.round(np.log2(scales))  # which does not round
    if kind in ("flat", "nearly") and rng.random() < 0.5:
        rows, right = np.vstack([rows, rows[:1]]), np.append(right, right[0])
        scales = np.append(scales, 1.0)
    return kind, network(hinge, far), Polytope(rows * scales[:, None], right * scales), wanted


def faults(seed: int) -> list[str]:
    """What is wrong with the answers of all methods."""
    kind, net, domain, (status, least) = problem(seed)
    found: list[str] = []
    for method in METHODS:
        answer = argmin(net, domain, method=method, time_limit=20)
        found += [f"{seed} {kind} {method}: {fault}" for fault in faults_of(answer, domain, status, least)]
    return found


def faults_of(answer: Minimum, domain: Polytope, status: int, least: float) -> list[str]:
    """What is wrong with one answer."""
    if status == 2 or answer.status == "infeasible":
        return [] if status == 2 and answer.status == "infeasible" else [f"{answer.status}, scipy {status}"]
    if status == 3 or answer.status == "unbounded":
        falls = status == 3 and answer.status in ("unbounded", "inaccurate")
        return [] if falls else [f"{answer.status}, scipy {status}"]
    wrong = [] if answer.status == "optimal" else [f"{answer.status}, gap {answer.gap:g}"]
    scale = np.abs(domain.A).max(axis=1) * max(1.0, float(np.abs(answer.point).max()))
    if (breach := float(((domain.A @ answer.point - domain.b) / scale).max())) > 2e-9:
        wrong.append(f"outside by {breach:g}")
    if abs(answer.value - least) > 5e-6 * max(1.0, abs(least)):
        wrong.append(f"value {answer.value}, scipy {least}")
    if answer.lower_bound > least + 5e-6 * max(1.0, abs(least)):  # scipy's tolerances
        wrong.append(f"bound {answer.lower_bound} above {least}")
    return wrong


@pytest.mark.parametrize("part", range(10))
def test_methods_agree_with_scipy(part: int) -> None:
    assert not [fault for seed in range(14 * part, 14 * part + 14) for fault in faults(seed)]


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("method", METHODS)
def test_kinks_beyond_the_domain_give_no_units(method: Any, far: float) -> None:
    net = jensen.from_arrays([[[1.0, 0.0]], [[1.0]]], [[-far], [0.0]], skips=[None, [[1.0, 1.0]]])
    found = argmin(net, TRIANGLE, method=method)
    assert found.status == "optimal"
    assert found.value == pytest.approx(0.35)
    assert found.lower_bound <= 0.35
    assert (TRIANGLE.A @ found.point <= TRIANGLE.b + 1e-12).all()


@pytest.mark.parametrize("gap", [1e-8, 3e-8, 1.2e-7, 1.5e-7, 1.9e-7, 1e-3])
@pytest.mark.parametrize("method", METHODS)
def test_rows_that_contradict_each_other_by_little(method: Any, gap: float) -> None:
    net = jensen.from_arrays([[[1.0, 1.0]], [[1.0]]], [[1.0], [0.0]])
    rows = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    assert argmin(net, Polytope(rows, [0.0, -gap, 1.0, 1.0]), method=method).status == "infeasible"
    rounded = argmin(net, Polytope(rows, [0.0, -1e-6 * gap, 1.0, 1.0]), method=method)
    assert rounded.status == "optimal"
    assert rounded.value == pytest.approx(1.0)


def test_what_rounding_leaves_is_moved_apart() -> None:
    inside = polyhedron(Polytope([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], [0.3, -0.1 - 0.2, -5.0]), 2)
    assert not inside.is_empty
    assert inside.witness is not None
    assert (inside.rows @ inside.witness <= inside.right).all()
    assert (inside.right - [0.3, -0.1 - 0.2, -5.0]).max() < 1e-15
    bounds = polyhedron(Polytope([[1.0], [-1.0]], [0.3, -0.1 - 0.2]), 1)
    assert not bounds.is_empty
    assert bounds.hi[0] - bounds.lo[0] < 1e-15
    assert polyhedron(Polytope([[1.0], [-1.0]], [0.3, -0.3 - 1e-8]), 1).is_empty


def test_nothing_is_unbounded_without_proof() -> None:
    """Values far out do not tell how a function goes on; weights do."""
    turns = argmin(
        lambda y: 2 * torch.nn.functional.softplus(y - 1e12).sum(1) - y.sum(1),
        Box([-1.0], [np.inf]),
        assume_convex=True,
    )
    assert turns.status in ("optimal", "inaccurate")
    assert turns.value >= -1e12
    assert turns.lower_bound <= -1e12 + 2 * np.log(2) + 1e-3
    falls = argmin(lambda y: y.sum(1), Box([-np.inf], [0.0]), assume_convex=True)
    assert (falls.status, falls.lower_bound) == ("inaccurate", -np.inf)
    torch.manual_seed(0)
    smooth = jensen.nn.FICNN(2, (5, 4), "softplus").double()
    with torch.no_grad():
        for parameter in smooth.parameters():
            parameter.abs_()
    known = argmin(smooth)
    assert known.status == "unbounded"
    assert known.ray is not None
    far = torch.tensor(np.array([1.0, 1e3, 1e6])[:, None] * known.ray)
    assert (np.diff(smooth(far).detach().numpy()) < 0).all()


def test_arguments_that_make_no_sense() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    picnn = jensen.nn.PICNN(3, 2, (4,))
    for x in (torch.full((3,), float("nan")), torch.full((3,), float("inf")), "a", torch.zeros(3) + 1j):
        with pytest.raises(ArgumentError, match="x"):
            argmin(picnn, Box(0, 1), x)
        with pytest.raises(ArgumentError, match="x"):
            to_cvxpy(picnn, cvxpy.Variable(2), x)
        with pytest.raises(ArgumentError, match="x"):
            to_cvxpy(picnn, cvxpy.Variable(2), parametric=True).set_x(x)
        with pytest.raises(ArgumentError, match="x"):
            write_lp(picnn, Box(0, 1), "never.lp", x)
    for tolerance in ("a", -1.0, float("nan")):
        with pytest.raises(ArgumentError, match="tolerance"):
            is_tight(picnn, [0.0, 0.0], 0.0, [0.0, 0.0, 0.0], tolerance=tolerance)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="path"):
        write_lp(jensen.nn.FICNN(2, (3,)), Box(0, 1), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_rays_lie_in_the_domain(method: Any) -> None:
    """A row that leans by 1e-10 ends the fall of y0 - 1e-10 y1 where the solver's ray does not see it."""
    net = ReLUNetwork(2, [], {0: np.array([1.0, 0.0])})
    wedge = Polytope([[-1.0, -1e-10], [0.0, -1.0]], [0.0, 0.0])  # y0 >= -1e-10 y1
    falls = argmin(net, wedge, method=method)
    if falls.status == "unbounded":
        assert falls.ray is not None
        assert (wedge.A @ falls.ray <= 1e-16).all()
    assert falls.lower_bound == -np.inf
    steady = argmin(ReLUNetwork(2, [], {0: np.array([1.0, 2e-10])}), wedge, method=method)
    assert steady.status != "unbounded"
    assert steady.value == pytest.approx(0.0, abs=1e-6)


def test_numbers_beyond_those_of_the_solver() -> None:
    """HiGHS takes no cuts with entries beyond 1e15 and says so in a status only."""
    net = ReLUNetwork(1, [Layer({0: [[1e10], [-1.0]]}, [0.0, 1e-10])], {1: np.array([1e12, 1e-10])})
    found = argmin(net, Box(-1, 1), method="cuts")
    assert found.status in ("optimal", "inaccurate")
    assert found.lower_bound <= found.value
