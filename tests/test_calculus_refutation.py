"""`refute`: witnesses keep to variables and domains, and are proofs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import jensen
from jensen.calculus import refute
from jensen.errors import ArgumentError

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
