"""`refute`: witnesses keep to variables and domains, and are proofs."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import jensen
from jensen.calculus import refute
from jensen.errors import ArgumentError, CertificateError, DomainError

X = torch.ones(2)


def test_a_narrow_dent_is_found_along_the_direction_of_negative_curvature() -> None:
    """Only one direction of six bends down, and that by little."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    scales = torch.tensor([9.0, 9.0, 9.0, 9.0, 9.0, -0.01], dtype=torch.float64)
    found = jensen.curvature(lambda x: ((turn @ x).square() * scales).sum(), torch.ones(6))
    witness = refute(found)
    assert witness is not None
    assert witness.violation > 0


def test_what_is_convex_is_not_refuted() -> None:
    for function in (
        lambda x: x.square().sum() - 0.5 * x.square().sum(),
        lambda x: x.relu().sum() - 0.5 * x.sum(),
    ):
        assert refute(jensen.curvature(function, X), seconds=0.3) is None


def test_domains_are_kept_to() -> None:
    def cubes(x: Tensor, y: Tensor) -> Tensor:
        return (x.pow(3) + y.pow(3)).sum()

    found = jensen.curvature(cubes, (X, X), nonnegative=[0, 1])
    assert refute(found, seconds=0.3) is None
    found = jensen.curvature(cubes, (X, X), wrt=["x"], domain={"x": (-2.0, 1.0), "y": (3.0, 4.0)})
    witness = refute(found)
    assert witness is not None
    assert (witness.y["y"] == witness.x["y"]).all()
    for ends in (witness.x, witness.y):
        assert ((ends["x"] >= -2) & (ends["x"] <= 1)).all()
        assert ((ends["y"] >= 3) & (ends["y"] <= 4)).all()
    assert "y = " in str(witness)


def test_parameters_and_one_of_several_outputs() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Softplus(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model.get_parameter("2.weight").copy_(torch.tensor([[1.0, 2.0], [1.0, -2.0]]))
    found = jensen.curvature(model, torch.ones(1, 2).double(), wrt=["0.weight"])
    assert [list(names.ravel()) for names in found.outputs] == [["convex", "unknown"]]
    assert refute(found, output=0, seconds=0.3) is None
    witness = refute(found, output=1)
    assert witness is not None
    assert "0.weight" in witness.x
    with pytest.raises(ArgumentError, match="no output 2"):
        refute(found, output=2)


class Dented(nn.Module):
    """A softplus network of nonnegative weights, but for those of one unit."""

    def __init__(self, negative: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(10, 32), nn.Linear(32, 32), nn.Linear(32, 1)
        with torch.no_grad():
            for layer in (self.second, self.last):
                layer.weight.abs_()
            self.second.weight[:, 0] = -negative

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(self.first(x).exp().log1p()).exp().log1p()
        value: Tensor = self.last(inner)
        return value


def test_one_slightly_negative_unit_is_found_far_out() -> None:
    model = Dented(0.05)
    witness = refute(jensen.curvature(model, torch.ones(1, 10)), seconds=20.0)
    assert witness is not None
    assert witness.violation > 0


def test_one_direction_of_many_is_found_by_lanczos() -> None:
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(400, 400, dtype=torch.float64)).Q
    scales = torch.linspace(0.05, 9.0, 400, dtype=torch.float64)
    scales[0] = -0.05
    found = jensen.curvature(lambda x: ((turn @ x).square() * scales).sum(), torch.ones(400))
    witness = refute(found, seconds=20.0)
    assert witness is not None
    assert witness.violation > 0


def test_a_narrow_bump_is_climbed_to() -> None:
    def bumped(x: Tensor) -> Tensor:
        return x.square().sum() + 0.36 * (-(x - 0.4).square().sum() / 0.18).exp()

    found = jensen.curvature(bumped, torch.ones(10), domain={"x": (-1.0, 1.0)})
    witness = refute(found, seconds=20.0)
    assert witness is not None
    assert witness.violation > 0


def test_a_polytope_of_an_input_is_kept_to() -> None:
    slab = jensen.Polytope([[1.0, 1.0], [-1.0, -1.0]], [1.0, 0.5])
    found = jensen.curvature(lambda x: x.prod() + x.sum(), torch.ones(2), domain={"x": slab})
    witness = refute(found, seconds=20.0)
    assert witness is not None
    for ends in (witness.x, witness.y):
        assert slab.contains([Fraction(v) for v in ends["x"].tolist()])
    empty = jensen.Polytope([[1.0, 1.0], [-1.0, -1.0]], [1.0, -2.0])
    with pytest.raises(DomainError, match="no common solution"):
        refute(jensen.curvature(lambda x: x.prod(), torch.ones(2), domain={"x": empty}))


def test_what_cannot_be_enclosed_is_an_error() -> None:
    """Nor does torch differentiate this one, so that only values are compared."""
    found = jensen.curvature(lambda x: torch.special.bessel_j1(x).sum(), X)
    with pytest.raises(CertificateError, match="bessel"):
        refute(found, seconds=20.0)
