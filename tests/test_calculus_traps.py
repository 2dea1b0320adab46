"""Programs that invite a wrong claim: conversions, empty domains, operators that swap their arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import jensen
from jensen.errors import CertificateError, DomainError, NetworkError, UnsupportedOperatorError

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
P = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
MASK = torch.tensor([True, False, True])


def _copied(x: Tensor) -> Tensor:
    whole = torch.zeros_like(x, dtype=torch.int64)
    whole.copy_(x)
    return whole * 1.0


def _row(x: Tensor) -> Tensor:
    whole = x.long()
    whole[0] = x[0]
    return whole * 1.0


def _rows(x: Tensor) -> Tensor:
    whole = x.new_zeros(4, 3, dtype=torch.int64)
    whole[1:3] = x[1:3]
    return (whole * 1.0)[1:3]


def _filled(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=torch.int64).fill_(x[0, 0]) * 1.0


UNKNOWN: list[tuple[str, Callable[[Tensor], Tensor], Tensor]] = [
    ("copied into whole numbers", _copied, X),
    ("a row written into whole numbers", _row, X),
    ("rows written into whole numbers", _rows, X),
    ("filled with whole numbers", _filled, X),
    ("even power of what is never positive", lambda x: (-x.exp() - 1).pow(-2), X),
    ("odd power of what is never positive", lambda x: (-x.exp() - 1).pow(-3), X),
    ("logarithm of what is never positive", lambda x: (-x.exp()).log(), X),
    ("sum of powers of what is never positive", lambda x: (-x.exp() - 1).pow(-1).sum().pow(-1), X),
    ("quotient by zero", lambda x: x / 0, X),
    ("a matrix that `linear` takes first", lambda x: (functional.linear(P, x) * x).sum(-1), X[:3]),
]


@pytest.mark.parametrize(("function", "example"), [row[1:] for row in UNKNOWN], ids=[r[0] for r in UNKNOWN])
def test_nothing_is_claimed(function: Callable[[Tensor], Tensor], example: Tensor) -> None:
    assert jensen.curvature(function, example).kind == "unknown"


def test_a_copy_into_whole_numbers_is_evaluated_as_one() -> None:
    (found,) = jensen.curvature(_copied, X).program.nodes[-1:]
    assert found.packet == "aten.mul"
    names = [node.packet for node in jensen.curvature(_copied, X).program.nodes]
    assert "aten._to_copy" in names


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float32])
def test_bits_are_not_read_as_other_numbers(dtype: torch.dtype) -> None:
    with pytest.raises(UnsupportedOperatorError, match="bits"):
        jensen.curvature(lambda x: x.view(dtype).float(), X)


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: torch.where(MASK, x, x.sum().exp()),
        lambda x: torch.where(MASK, torch.ones(4, 3), x.sum().exp()),
        lambda x: x.masked_fill(MASK, 1.0).exp().masked_fill(MASK, 2.0),
    ],
)
def test_choices_between_shapes_keep_claims_apart(choose: Callable[[Tensor], Tensor]) -> None:
    assert jensen.curvature(lambda x: choose(x).reshape(-1), X).kind == "convex"
    logarithm = jensen.curvature(lambda x: choose(x.abs()).reshape(-1).log(), X, nonnegative=0)
    assert logarithm.outputs[0][1] == "affine"


@pytest.mark.parametrize("exponent", [2**53 + 1, 2**62])
def test_exponents_that_floats_do_not_hold(exponent: int) -> None:
    assert jensen.curvature(lambda x: x**exponent, X).kind == "unknown"


def _conditional(x: Tensor) -> Tensor:
    result: Tensor = torch.cond(x.sum() > 0, lambda v: v.clone(), lambda v: -v, (x,))
    return result


@pytest.mark.parametrize(
    "function",
    [_conditional, torch.vmap(lambda row: -row.abs()), torch.func.grad(lambda x: x.exp().sum())],
)
def test_programs_within_programs_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises((NetworkError, UnsupportedOperatorError)):
        jensen.curvature(function, X)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.gather(0, (10 * x.abs()).long()),
        lambda x: x[(10 * x[:, 0]).long()],
        lambda x: torch.linalg.eigvalsh((100 * x[:3]).exp()),
        lambda x: x.long() // x.long(),
    ],
)
def test_points_at_which_torch_fails_are_passed_over(function: Callable[[Tensor], Tensor]) -> None:
    found = jensen.curvature(function, X)
    with contextlib.suppress(CertificateError):  # these operators cannot be enclosed
        assert jensen.refute(found, seconds=0.1) is None


@pytest.mark.parametrize("write", [lambda v: v.neg_(), lambda v: v[0].neg_(), lambda v: v.view(-1).neg_()])
def test_writes_behind_dropout_are_refused(write: Callable[[Tensor], Tensor]) -> None:
    def hidden(x: Tensor) -> Tensor:
        y = x.abs()
        write(functional.dropout(y, training=False))
        return y

    def harmless(x: Tensor) -> Tensor:
        y = functional.dropout(x.abs(), training=False)
        write(y)
        return y

    with pytest.raises(UnsupportedOperatorError, match="in place"):
        jensen.curvature(hidden, X)
    assert jensen.curvature(harmless, X).outputs[0][0, 0] == "concave"


def test_declarations_that_contradict_each_other() -> None:
    with pytest.raises(DomainError, match="nonnegative"):
        jensen.curvature(lambda x: x.pow(3).sum(), torch.ones(3), nonnegative=0, domain={0: (-2, -1)})
    found = jensen.curvature(lambda x: x.pow(3).sum(), torch.ones(3), nonnegative=0, domain={0: (-2, 0)})
    assert found.kind == "constant"


def test_where_a_tensor_lies_does_not_matter() -> None:
    for function in (lambda x: x.abs().to(X), lambda x: x.abs().to("cpu", torch.float64)):
        assert jensen.curvature(function, X).kind == "convex"
    assert jensen.curvature(lambda x: x.abs().to("cpu", torch.int64), X).kind == "unknown"
