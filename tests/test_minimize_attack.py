"""Attacks on jensen.minimize: kinks in bad places, degenerate networks, huge scales, senseless arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog

import jensen
from jensen import Box, Polytope, WholeSpace
from jensen.errors import ArgumentError, JensenError, NotConvexError
from jensen.minimize import (
    Minimum,
    argmin,
    exact_conjugate,
    exact_prox,
    minimize_batch,
    write_lp,
)
from jensen.network import Layer
from jensen.nn import FICNN

Floats = NDArray[np.float64]
METHODS = ("walk", "lp", "cuts", "auto")


def odd(y: torch.Tensor) -> torch.Tensor:
    """y, whose gradient at 0 torch takes for 0."""
    return (torch.relu(y) - torch.relu(-y)).sum(1)


def v_shape(slope: float, at: float) -> jensen.ReLUNetwork:
    """slope * |y - at|."""
    return jensen.from_arrays([[[slope], [-slope]], [[1.0, 1.0]]], [[-slope * at, slope * at], [0.0]])


def hinges() -> jensen.ReLUNetwork:
    """relu(y0 + 2 y1 - 1) + 2 relu(1 - y0 + y1), with a dead neuron; 0 at its least."""
    return jensen.from_arrays(
        [np.array([[1.0, 2.0], [-1.0, 1.0], [0.0, 0.0]]), [[1.0, 2.0, 3.0]]], [[-1.0, 1.0, 0.0], [0.0]]
    )


def test_gradients_at_kinks_of_functions() -> None:
    found = argmin(odd, Box([-1.0], [1.0]), assume_convex=True)
    assert found.status == "optimal"
    assert found.value == pytest.approx(-1.0)
    assert found.lower_bound <= -1.0


def test_cuts_are_taken_inside_the_domain() -> None:
    """Convex on the box alone, with a concave kink on its border, where the search begins."""
    net = jensen.from_arrays(
        [[[1.0], [1.0], [-1.0]], [[-5.0, 1.0, -1.0]]], [[-1.0, 0.0, 0.0], [0.0]]
    )  # y - 5 relu(y - 1)
    assert jensen.check(net, Box(-1, 1)).kind == "convex"
    wall = Polytope([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0]], [1.0, 1.0, 1.0, 1.0, 1.0])
    twice = jensen.from_arrays(  # y0 + y1 - 5 relu(y0 + y1 - 1)
        [[[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], [[-5.0, 1.0, -1.0]]], [[-1.0, 0.0, 0.0], [0.0]]
    )
    for found, least in (
        (argmin(net, Box(-1, 1), start=[1.0], method="cuts"), -1.0),
        (argmin(twice, wall, start=[0.5, 0.5], method="cuts"), -2.0),
        (argmin(twice, wall, start=[0.5, 0.5]), -2.0),
    ):
        assert found.status == "optimal"
        assert found.value == pytest.approx(least)
        assert found.lower_bound <= least


def test_cuts_on_flat_polytopes() -> None:
    """The middle of the segment y0 + y1 = 0 lies on a kink, whose gradient is taken for 0."""
    segment = Polytope(np.vstack([[[1.0, 1.0], [-1.0, -1.0]], np.eye(2), -np.eye(2)]), [0.0, 0, 1, 1, 1, 1])
    for start in (None, [0.0, 0.0]):
        found = argmin(
            lambda y: torch.relu(y[:, 0] - y[:, 1]) - torch.relu(y[:, 1] - y[:, 0]),
            segment,
            start=start,
            assume_convex=True,
        )
        assert found.status == "optimal"
        assert found.value == pytest.approx(-2.0, abs=1e-6)
        assert found.lower_bound <= -2.0 + 1e-9


def disguised(rng: np.random.Generator, n: int) -> tuple[jensen.ReLUNetwork, Floats, Floats]:
    """A maximum of affine functions, hidden among pairs that cancel, with all kinks at lattice points."""
    count = int(rng.integers(2, 6))
    slopes = rng.integers(-2, 3, size=(count, n)).astype(np.float64)
    offsets = rng.integers(-1, 2, size=count).astype(np.float64)
    layers = [Layer({0: slopes[:1] - slopes[1:2]}, [offsets[0] - offsets[1]])]
    for k in range(1, count - 1):
        row = {0: slopes[k : k + 1] - slopes[k + 1 : k + 2], k: np.ones((1, 1))}
        layers.append(Layer(row, [offsets[k] - offsets[k + 1]]))
    extra = rng.integers(-1, 2, size=(3, n)).astype(np.float64)
    shift, weight = rng.integers(-1, 2, size=3).astype(np.float64), rng.integers(1, 4, size=3)
    last = len(layers)
    layers.append(Layer({0: np.vstack([extra, -extra])}, np.concatenate([shift, -shift])))
    out: dict[int, Any] = {0: slopes[-1] - weight @ extra, last: np.ones(1)}
    out[last + 1] = np.concatenate([weight, -weight]).astype(np.float64)
    constant = offsets[-1] - float(weight @ shift)
    return jensen.ReLUNetwork(n, layers, out, constant), slopes, offsets


def torch_twin(net: jensen.ReLUNetwork) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same function in torch."""

    def f(y: torch.Tensor) -> torch.Tensor:
        values = [y]
        for layer in net.layers:
            z = sum(values[k] @ torch.tensor(np.asarray(w)).T for k, w in layer.weights.items())
            values.append(torch.relu(z + torch.tensor(layer.bias)))
        total = sum(values[k] @ torch.tensor(np.asarray(w))[0] for k, w in net.output_weights.items())
        assert isinstance(total, torch.Tensor)
        return total + net.output_bias

    return f


@pytest.mark.parametrize("seed", range(40))
def test_cancelling_kinks_at_lattice_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    net, slopes, offsets = disguised(rng, n)
    y = rng.normal(size=(50, n))
    np.testing.assert_allclose(net(y), (y @ slopes.T + offsets).max(axis=1), atol=1e-9)
    domain = Box(-1.0, 1.0) if seed % 2 else Box(np.zeros(n), np.full(n, 2.0))
    lo, hi = domain.bounds(n)
    rows = np.column_stack([slopes, -np.ones(len(slopes))])
    limits = [*zip(lo, hi, strict=True), (None, None)]
    exact = float(linprog(np.append(np.zeros(n), 1.0), rows, -offsets, bounds=limits).fun or 0.0)
    for start in (lo, hi, (lo + hi) / 2):
        for method in ("cuts", "auto"):
            found = argmin(net, domain, method=method, start=start, assume_convex=True)
            assert found.value == pytest.approx(exact, abs=1e-6)
            assert found.lower_bound <= exact + 1e-12
    twin = torch_twin(net)
    single = argmin(twin, Box(lo, hi), assume_convex=True)
    assert single.value == pytest.approx(exact, abs=1e-6)
    assert single.lower_bound <= exact + 1e-12
    batch = minimize_batch(twin, Box(lo, hi), assume_convex=True, start=torch.tensor(hi)[None])
    assert float(batch.value) == pytest.approx(exact, abs=1e-5)
    assert float(batch.lower_bound) <= exact + 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("width", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("place", ["box", "whole", "polytope"])
def test_scales(method: Any, scale: float, width: float, place: str) -> None:
    """Far minima are found; nothing is called optimal that is not, and no lower bound is above the least."""
    domains: dict[str, jensen.Domain] = {
        "box": Box(-width, width),
        "whole": WholeSpace(),
        "polytope": Polytope([[2.0], [-2.0]], [2 * width, 2 * width]),
    }
    found = argmin(v_shape(scale, 0.3 * width), domains[place], method=method)
    assert found.status in ("optimal", "inaccurate")
    assert found.lower_bound <= 0.0
    assert abs(found.value) <= 1e-6 * max(1.0, scale * width)


@pytest.mark.parametrize("method", METHODS)
def test_slopes_along_unbounded_variables(method: Any) -> None:
    """A slope of 1e-12 is no rounding error where the network has no larger weight."""
    found = argmin(jensen.from_arrays([np.array([[1e-12, 0.0]])], [[7.0]]), method=method)
    assert found.status != "optimal"
    assert found.lower_bound == -np.inf
    steep = argmin(jensen.from_arrays([np.array([[1.0, 0.0]])], [[7.0]]), method=method)
    assert steep.status == "unbounded"
    assert steep.ray is not None
    assert steep.ray[0] < 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_contradictory_rows_of_any_scale(method: Any, scale: float) -> None:
    rows = scale * np.array([[1.0, 1.0], [-1.0, -1.0]])
    assert argmin(hinges(), Polytope(rows, [-scale, -scale]), method=method).status == "infeasible"
    empty = argmin(hinges(), Polytope([[0.0, 0.0]], [-1e-30]), method=method)
    assert (empty.status, empty.value) == ("infeasible", np.inf)


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_problems(method: Any) -> None:
    net = hinges()
    flat = Polytope([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], [1.0, -1.0, 3.0])
    idle = Polytope(np.vstack([np.zeros((2, 2)), np.eye(2), np.eye(2)]), np.ones(6))
    for domain, least in (
        (flat, 0.0),
        (idle, 0.0),
        (Box(0.5, 0.5), 2.5),
        (Polytope(np.zeros((0, 2)), []), 0.0),
    ):
        found = argmin(net, domain, method=method)
        assert found.status == "optimal"
        assert found.value == pytest.approx(least, abs=1e-6)
        assert found.lower_bound <= least
    constant = jensen.from_arrays([np.zeros((2, 2)), np.zeros((1, 2))], [[-1.0, 1.0], [7.0]])
    for where in (WholeSpace(), Box(5.0, np.inf)):
        assert argmin(constant, where, method=method).value == pytest.approx(7.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "domain", [Box(-1, 1), WholeSpace(), Polytope([[1.0, 1.0], [-1.0, 2.0]], [-3.0, 1.0])]
)
def test_no_time_at_all(method: Any, domain: jensen.Domain) -> None:
    found = argmin(hinges(), domain, method=method, time_limit=0)
    assert found.status in ("optimal", "time_limit")
    assert found.lower_bound <= 0.0 <= found.value


def test_interrupts() -> None:
    torch.manual_seed(0)
    net = FICNN(6, (20, 20), "softplus")

    def press(_: Minimum) -> None:
        raise KeyboardInterrupt

    found = argmin(net, Box(-1, 1), progress=press)
    assert found.status == "interrupted"
    assert np.isfinite(found.value)
    assert found.lower_bound <= found.value


def test_an_interrupt_ends_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    star = exact_conjugate(FICNN(2, (4,)), Box(-1, 1))
    stopped = Minimum(np.zeros(2), 0.0, -1.0, 1, "walk", "interrupted", 0.0)
    monkeypatch.setattr(star.engine, "solve", lambda *_, **__: stopped)
    with pytest.raises(KeyboardInterrupt):
        star(np.zeros((3, 2)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = FICNN(2, (4, 4)).to(dtype)
    same = FICNN(2, (4, 4)).double()
    same.load_state_dict({k: v.double() for k, v in net.state_dict().items()})
    assert argmin(net, Box(-1, 1)).value == pytest.approx(argmin(same, Box(-1, 1)).value, abs=0.02)


class Softplus(torch.nn.Module):
    """A module from which the number of its inputs cannot be told."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.sign * torch.nn.functional.softplus(y).sum(1)


def test_verdicts_about_other_functions() -> None:
    box = Box([-1.0, -1.0], [1.0, 1.0])
    verdict = jensen.check(Softplus(1.0), box, input_shape=(2,))
    found = argmin(Softplus(1.0), box, verdict=verdict)
    assert found.value == pytest.approx(2 * np.log1p(np.exp(-1.0)))
    with pytest.raises(NotConvexError, match="another function"):
        argmin(Softplus(-1.0), box, verdict=verdict)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(JensenError, match="cannot write"):
        write_lp(FICNN(3, (4, 4)), None, tmp_path / "nowhere" / "net.lp")
    with pytest.raises(ArgumentError, match="must end in"):
        write_lp(FICNN(3, (4, 4)), None, tmp_path / "net.txt")


def test_numbers_of_numpy_are_numbers() -> None:
    assert argmin(hinges(), Box(-1, 1), gap=np.float32(1e-6)).status == "optimal"  # type: ignore[arg-type]
    assert exact_prox(FICNN(3, (4, 4)), np.float32(0.1))(np.zeros(3)).status == ("optimal",)  # type: ignore[arg-type]
