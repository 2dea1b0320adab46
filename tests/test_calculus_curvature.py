"""`jensen.curvature` on expressions whose curvature is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import jensen
from jensen.calculus import ATOMS, Atom
from jensen.calculus._atom import Shape
from jensen.errors import ArgumentError, DomainError

X = torch.ones(3)
ROWS = torch.ones(4, 3)
INTEGERS = torch.tensor([-1, -2, -1])
CLASSES = torch.tensor([0, 2, 1, 1])

KINDS: list[tuple[str, Callable[..., Tensor], Any, str]] = [
    ("constant", lambda x: torch.ones_like(x) * 2, X, "constant"),
    ("zero times", lambda x: (0.0 * x.exp()).sum(), X, "constant"),
    ("affine", lambda x: (2 * x - 1).cumsum(0).flip(0).sum(), X, "affine"),
    ("einsum", lambda x: torch.einsum("ij,j->i", ROWS, x), X, "affine"),
    ("norm", lambda x: torch.linalg.vector_norm(x - 1), X, "convex"),
    ("log sum exp", lambda x: torch.logsumexp(2 * x, 0), X, "convex"),
    ("max", lambda x: x.square().max(), X, "convex"),
    ("max over an axis", lambda x: x.max(1).values.sum(), ROWS, "convex"),
    ("min", lambda x: x.amin(0), X, "concave"),
    ("square", lambda x: (x * x).sum(), X, "convex"),
    ("dot with itself", lambda x: x @ x, X, "convex"),
    ("variance", lambda x: x.var(), X, "convex"),
    ("hinge", lambda x: (1 - x).clamp_min(0).mean(), X, "convex"),
    ("clamp", lambda x: x.clamp(0, 1).sum(), X, "unknown"),
    ("sigmoid", lambda x: x.sigmoid().sum(), X, "unknown"),
    ("soft arg max", lambda x: x.softmax(0)[0], X, "unknown"),
    ("cross entropy", lambda x: functional.cross_entropy(x, CLASSES), ROWS, "convex"),
    ("cross entropy of relu", lambda x: functional.cross_entropy(x.relu(), CLASSES), ROWS, "unknown"),
    ("logistic", lambda x: functional.binary_cross_entropy_with_logits(x, X), X, "convex"),
    ("squared error", lambda x: functional.mse_loss(x, 2 * X), X, "convex"),
    ("huber", lambda x: functional.huber_loss(x, 2 * X), X, "convex"),
    ("smooth l1", lambda x: functional.smooth_l1_loss(x, 2 * X), X, "convex"),
    ("absolute error", lambda x: functional.l1_loss(x, 2 * X), X, "convex"),
    ("negative log likelihood", lambda x: -x.log_softmax(0)[1], X, "convex"),
    ("exp of convex", lambda x: x.square().sum().exp(), X, "convex"),
    ("exp of concave", lambda x: (-x.square().sum()).exp(), X, "unknown"),
    ("square of convex of any sign", lambda x: (x.square() - 1).square().sum(), X, "unknown"),
    ("square of nonnegative convex", lambda x: (x.abs() + 1).square().sum(), X, "convex"),
    ("one over one plus", lambda x: (1 / (1 + x.square())).sum(), X, "unknown"),
    ("one over concave", lambda x: (1 / (1 + x.sigmoid())).sum(), X, "unknown"),
    ("a step", lambda x: (x > 0).float().sum(), X, "unknown"),
    ("an integer", lambda x: x.to(torch.int64).float().sum(), X, "unknown"),
    ("pad", lambda x: functional.pad(x, (1, 1), value=-1.0).relu().sum(), X, "convex"),
    ("chosen", lambda x: x[torch.tensor([2, 0])].square().sum(), X, "convex"),
    ("where", lambda x: torch.where(torch.tensor([True, False, True]), x.exp(), -x).sum(), X, "convex"),
    ("pool", lambda x: functional.avg_pool1d(x.square()[None], 2).max(), X, "convex"),
    ("max pool", lambda x: functional.max_pool1d(x.square()[None], 2, padding=1).sum(), X, "convex"),
    ("joined with integers", lambda x: (torch.cat([x, INTEGERS]) * torch.cat([x.exp(), x.exp()])).sum(), X,
     "unknown"),
    ("integers as factors", lambda x: (torch.cat([INTEGERS, INTEGERS])[:3] * x.exp()).sum(), X, "concave"),
    ("joined", lambda x: torch.stack([x.exp() * torch.cat([x * 0, INTEGERS])[3:]]).sum(), X, "concave"),
    ("an index that varies", lambda x: x.index_select(0, x.argmax().view(1)), X, "unknown"),
    ("groups", lambda x: functional.conv1d(x.view(1, 3, 1), torch.ones(3, 1, 1), groups=3).exp().sum(), X,
     "convex"),
    ("transposed", lambda x: functional.conv_transpose1d(x.view(1, 1, 3).exp(), torch.ones(1, 1, 2)).sum(), X,
     "convex"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "example", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds(name: str, function: Callable[..., Tensor], example: Any, kind: str) -> None:
    found = jensen.curvature(function, example)
    assert found.kind == kind, (name, str(found))
    assert (found.broken is not None) == (kind == "unknown")
    assert not found.conditions


def test_signs_that_are_declared() -> None:
    assert jensen.curvature(lambda x: x.pow(3).sum(), X).kind == "unknown"
    assert jensen.curvature(lambda x: x.pow(3).sum(), X, nonnegative=0).kind == "convex"
    assert jensen.curvature(lambda x: x.sigmoid().sum(), X, nonnegative="x").kind == "concave"
    assert jensen.curvature(lambda x: x.sigmoid().sum(), X, domain={0: (-2.0, 0.0)}).kind == "convex"
    box = jensen.Box([0, 0, -1], [1, 1, 0])
    assert list(jensen.curvature(lambda x: x.pow(3), X, domain={"x": box}).outputs[0]) == [
        "convex",
        "convex",
        "concave",
    ]


def test_what_is_taken_for_granted_is_told() -> None:
    found = jensen.curvature(lambda x: -x.log().sum(), X)
    assert found.kind == "convex"
    assert "positive" in str(found.conditions[0])
    assert "provided that" in str(found)
    assert not jensen.curvature(lambda x: -x.log().sum(), X, domain={0: (1, 2)}).conditions
    assert not jensen.curvature(lambda x: -(x.exp() + 1).reciprocal().sum(), X).conditions


def test_products_are_affine_in_each_factor() -> None:
    def function(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum()

    for wrt in (0, 1, "a", "b"):
        assert jensen.curvature(function, (X, X), wrt=wrt).kind == "affine"
    found = jensen.curvature(function, (X, X))
    assert found.kind == "unknown"
    assert found.broken is not None
    assert found.broken.operator == "aten.mul.Tensor"
    assert "both" in found.broken.reason


def test_products_with_a_factor_of_known_sign() -> None:
    def function(a: Tensor, b: Tensor) -> Tensor:
        return (a * b.exp()).sum()

    assert jensen.curvature(function, (X, X), wrt="b").kind == "unknown"
    assert jensen.curvature(function, (X, X), wrt="b", nonnegative="a").kind == "convex"
    assert jensen.curvature(function, (X, X), wrt="b", domain={"a": (-1, 0)}).kind == "concave"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.last(self.first(x).relu())
        return value

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(self(x)[:, 0], y)


def test_convex_in_a_layer_but_not_in_all() -> None:
    torch.manual_seed(0)
    net, data = Net(), (ROWS, torch.ones(4))
    assert jensen.curvature(net.loss, data, wrt=["last.weight", "last.bias"]).kind == "convex"
    assert jensen.curvature(net.loss, data, wrt=["first.weight"]).kind == "unknown"
    with torch.no_grad():
        net.last.weight.abs_()
    assert jensen.curvature(net, ROWS, wrt=["first.weight", "first.bias"]).kind == "convex"
    everything = [name for name, _ in net.named_parameters()]
    assert jensen.curvature(net, ROWS, wrt=everything).kind == "unknown"
    assert jensen.curvature(net, ROWS, wrt="first.weight", nonnegative="last.weight").kind == "convex"


def test_the_report_names_the_node_and_the_module() -> None:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.last.weight[0, 0] = -1.0
        net.last.weight[0, 1] = 1.0
    text = str(jensen.curvature(net, ROWS))
    assert text.startswith("UNKNOWN in x")
    assert "<- breaks here" in text
    assert "(last)" in text
    assert "negative" in text


def test_outputs_are_judged_entry_by_entry() -> None:
    found = jensen.curvature(lambda x: (torch.stack([x[0].exp(), -x[1].exp(), x[2]]), x.sum()), X)
    assert [list(o.ravel()) for o in found.outputs] == [["convex", "concave", "affine"], ["affine"]]
    assert found.kind == "unknown"


def test_bad_questions() -> None:
    with pytest.raises(ArgumentError, match="no variable 5"):
        jensen.curvature(torch.exp, X, wrt=5)
    with pytest.raises(ArgumentError, match="no parameter"):
        jensen.curvature(Net(), ROWS, wrt="nothing")
    with pytest.raises(ArgumentError, match="no variable"):
        jensen.curvature(lambda i: i + 1, torch.tensor([1]))
    with pytest.raises(DomainError):
        jensen.curvature(torch.exp, X, domain={0: (2, 1)})
    with pytest.raises(DomainError, match="pair"):
        jensen.curvature(torch.exp, X, domain={0: 3})  # type: ignore[dict-item]


class Tied(nn.Module):
    """One weight under three names, of which torch's graph reads the last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.c = self.a

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.b(functional.relu(self.a(x))).sum() + self.c(x).sum()
        return value


@pytest.mark.parametrize("wrt", ["a.weight", "b.weight", "c.weight", ["c.weight", "a.weight"]])
def test_tied_weights_are_one_variable(wrt: Any) -> None:
    found = jensen.curvature(Tied(), torch.ones(3, 2), wrt=wrt, nonnegative=["b.weight"])
    assert found.kind == "unknown"
    assert found.wrt == (wrt if isinstance(wrt, str) else wrt[0],)
    assert jensen.refute(found) is not None


def test_parameters_that_overlap_are_refused() -> None:
    net = Tied()
    net.c = nn.Linear(2, 1, bias=False)
    net.c.weight = nn.Parameter(net.a.weight.data[:1])
    with pytest.raises(ArgumentError, match="share a part of their memory"):
        jensen.curvature(net, torch.ones(3, 2), wrt="a.weight")


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.max(0).indices.sum() * 1.0,
        lambda x: torch.topk(x, 2, dim=0).indices.float().sum(),
        lambda x: x.sort(0).indices.float().sum(),
        lambda x: x.gather(0, x.max(0, keepdim=True).indices).sum(),
    ],
)
def test_nothing_is_known_of_indices(f: Callable[..., Tensor]) -> None:
    assert jensen.curvature(f, ROWS).kind == "unknown"


def test_atoms_can_be_registered() -> None:
    def function(x: Tensor) -> Tensor:
        value: Tensor = torch.special.i0e(x).sum()
        return value

    found = jensen.curvature(function, X)
    assert found.broken is not None
    assert not found.broken.known
    jensen.register_atom(
        "aten.special_i0e", Atom("i0e", Shape("unknown", "neither"), Shape("convex", "decreasing"))
    )
    try:
        found = jensen.curvature(function, X, nonnegative=0)
        assert (found.kind, found.registered) == ("convex", ("aten.special_i0e",))

        class Model(nn.Module):
            in_features = 3

            def forward(self, x: Tensor) -> Tensor:
                value: Tensor = torch.special.i0e(x).sum(1)
                return value

        verdict = jensen.check(Model(), jensen.Box(0, 1))
        assert (verdict.kind, verdict.certificate) == ("convex_rules", None)
        assert "registered" in verdict.reason
    finally:
        del ATOMS["aten.special_i0e"]


def test_what_cannot_be_registered() -> None:
    with pytest.raises(ArgumentError, match="rules already"):
        jensen.register_atom("aten.exp", Atom("exp", Shape("affine")))
    with pytest.raises(ArgumentError, match="without overload"):
        jensen.register_atom("exp", Atom("exp", Shape("affine")))
    with pytest.raises(ArgumentError, match="atom"):
        jensen.register_atom("my.exp", 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        Shape("bent")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        Atom("f", Shape("convex"), sign={"positive": "huge"})
    with pytest.raises(ArgumentError):
        Atom("f", Shape("convex"), domain="complex")  # type: ignore[arg-type]


def test_tiny_coefficients_are_not_zero() -> None:
    """Signs are read off the numbers: nothing is too small to count, and nothing rounds."""
    weight = torch.tensor([1.0, -5e-324, 1.0], dtype=torch.float64)
    x = torch.ones(3, dtype=torch.float64)
    assert jensen.curvature(lambda x: (x.exp() * weight).sum(), x).kind == "unknown"
    assert jensen.curvature(lambda x: x.exp() @ weight, x).kind == "unknown"
    assert jensen.curvature(lambda x: x.exp() @ weight.abs(), x).kind == "convex"


def test_large_sums_of_signs() -> None:
    n = 1 << 14
    weight = torch.ones(n, dtype=torch.float64)
    weight[n // 2] = -1.0
    x = torch.ones(n, dtype=torch.float64)
    assert jensen.curvature(lambda x: x.exp() @ weight, x).kind == "unknown"
    assert np.prod(jensen.curvature(lambda x: x.exp() @ weight.abs(), x).outputs[0].shape) == 1
