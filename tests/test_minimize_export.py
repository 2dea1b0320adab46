"""Networks written for CVXPY and as LP and MPS files, solved by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pytest
import torch

import jensen
from jensen.errors import ArgumentError, NotConvexError
from jensen.minimize.exact._argmin import argmin
from jensen.minimize.export._cvxpy import to_cvxpy
from jensen.minimize.export._files import is_tight, write_lp
from jensen.nn._relay import RelayICNN


class Steep(jensen.nn.ConvexActivation):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


def trained_like(n: int = 4, **options: Any) -> jensen.nn.FICNN:
    torch.manual_seed(1)
    return jensen.nn.FICNN(n, (9, 7), **options)


@pytest.mark.parametrize("suffix", [".lp", ".mps"])
def test_files_hold_the_problem(tmp_path: Path, suffix: str) -> None:
    module, file = trained_like(), tmp_path / f"net{suffix}"
    rows = np.array([[1.0, 1.0, 0.5, -1.0], [0.3, -1.0, 0.0, 1.0]])
    domain = jensen.Polytope(np.vstack([rows, np.eye(4), -np.eye(4)]), np.ones(10))
    write_lp(module, domain, file)
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(file))
    highs.run()
    value = highs.getInfo().objective_function_value
    assert value == pytest.approx(argmin(module, domain).value, rel=1e-6)
    names = list(highs.getLp().col_names_)
    assert names[:4] == ["y0", "y1", "y2", "y3"]
    y = np.array(highs.getSolution().col_value[:4])
    assert is_tight(module, y, value)
    assert not is_tight(module, y, value + 0.1)


def test_files_are_refused(tmp_path: Path) -> None:
    net = jensen.as_network(RelayICNN(2, (4, 4))).network
    with pytest.raises(ArgumentError, match="negative weights on layer 1"):
        write_lp(net, None, tmp_path / "net.lp")
    with pytest.raises(ArgumentError, match="quadratic"):
        write_lp(trained_like(quadratic=1.0), None, tmp_path / "net.lp")
    with pytest.raises(ArgumentError, match="smooth"):
        write_lp(trained_like(activation="softplus"), None, tmp_path / "net.lp")
    with pytest.raises(ArgumentError, match="must end in"):
        write_lp(trained_like(), None, tmp_path / "net.txt")


@pytest.mark.parametrize(
    ("activation", "quadratic"),
    [("relu", 0.0), ("relu", 0.5), ("leaky_relu", 0.0), ("softplus", 0.3), ("elu", 0.1), ("celu", 0.1)],
)
def test_expressions(activation: str, quadratic: float) -> None:
    cvxpy = pytest.importorskip("cvxpy")
    module = trained_like(activation=activation, quadratic=quadratic)
    y = cvxpy.Variable(4)
    net = to_cvxpy(module, y)
    assert (net.constraints == []) == (activation not in ("elu", "celu"))
    problem = cvxpy.Problem(cvxpy.Minimize(net.expression), [*net.constraints, y >= -1, y <= 1.5])
    problem.solve(solver="CLARABEL")
    found = argmin(module, jensen.Box(-1, 1.5))
    assert problem.value == pytest.approx(found.value, rel=1e-5, abs=1e-5)
    assert net.is_tight()
    assert not cvxpy.Problem(cvxpy.Maximize(net.expression), [y >= -1, y <= 1]).is_dcp()


def test_expression_of_a_network_without_signs() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    torch.manual_seed(0)
    network = jensen.as_network(RelayICNN(2, (5, 4))).network
    y = cvxpy.Variable(2)
    net = to_cvxpy(network, y)
    problem = cvxpy.Problem(cvxpy.Minimize(net.expression), [cvxpy.norm(y, 1) <= 1])
    problem.solve(solver="CLARABEL")
    corners = np.vstack([np.eye(2), -np.eye(2)])
    ball = jensen.Polytope(np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]), np.ones(4))
    assert problem.value == pytest.approx(argmin(network, ball).value, rel=1e-5, abs=1e-6)
    assert problem.value <= network(corners).min() + 1e-6
    wide = jensen.as_network(RelayICNN(7, (5, 4))).network
    with pytest.raises(ArgumentError, match="no ICNN"):
        to_cvxpy(wide, cvxpy.Variable(7), assume_convex=True)
    with pytest.raises(NotConvexError):
        to_cvxpy(jensen.nn.SkipMLP(2, (6, 6)), y)


def test_parametric_expression() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    torch.manual_seed(0)
    module, xs = jensen.nn.PICNN(3, 2, (6, 5)), torch.randn(3, 3)
    y = cvxpy.Variable(2)
    net = to_cvxpy(module, y, xs[0], parametric=True)
    problem = cvxpy.Problem(cvxpy.Minimize(net.expression), [*net.constraints, y >= -1, y <= 1])
    assert problem.is_dpp()
    for x in xs:
        net.set_x(x)
        problem.solve(solver="CLARABEL")
        assert problem.value == pytest.approx(argmin(module, jensen.Box(-1, 1), x).value, rel=1e-5, abs=1e-5)
        assert net.is_tight()
        fixed = to_cvxpy(module, y, x)
        assert float(fixed.expression.value) == pytest.approx(problem.value, rel=1e-4, abs=1e-4)
    pushed = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(y)), [*net.constraints, net.expression >= 50])
    pushed.solve(solver="CLARABEL")
    assert not net.is_tight()
    with pytest.raises(ArgumentError, match="parametric=True is for"):
        to_cvxpy(trained_like(2), y, parametric=True)


def test_refusals_of_expressions() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    y = cvxpy.Variable(4)
    with pytest.raises(ArgumentError, match="affine"):
        to_cvxpy(trained_like(), cvxpy.square(y))
    with pytest.raises(ArgumentError, match="3 entries"):
        to_cvxpy(trained_like(), cvxpy.Variable(3))
    with pytest.raises(ArgumentError, match="no CVXPY atom is known for the activation Steep"):
        to_cvxpy(trained_like(activation=Steep()), y)
    with pytest.raises(ArgumentError, match="solve the problem"):
        to_cvxpy(trained_like(), y).is_tight()
