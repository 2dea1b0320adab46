"""Enclosures of single operators against torch in float64."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from test_calculus_losses import LOSSES, MOVES
from test_calculus_roots import KINDS as ROOTS
from torch import Tensor
from torch.nn import functional

from jensen.errors import CertificateError
from jensen.program import trace
from jensen.verifier import enclosure

NOT_MOVED = ("written", "written twice", "written among integers", "between", "cubic")
"""Writes to places that may be named twice; interpolation."""
CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "reciprocal": torch.reciprocal,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "matmul": lambda x: x @ x.square(),
    "matrix and vector": lambda x: x @ x[0],
    "dot": lambda x: x[0] @ x[1],
    "batches": lambda x: torch.bmm(x[None], x[None].exp()),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "logsumexp of all": lambda x: torch.logsumexp(x, (0, 1), keepdim=True),
    "transpose": lambda x: x.transpose(0, 1).reshape(9),
    "T": lambda x: x.T.reshape(9),
    "permute": lambda x: x[None].permute(2, 0, 1).reshape(9),
    "select": lambda x: x.select(1, -1),
    "gather": lambda x: x.gather(-1, torch.tensor([[2, 0], [1, 1]])),
    "cat": lambda x: torch.cat([x, x.exp()], -1),
    "stack": lambda x: torch.stack([x, x.exp()], 1),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    program = trace(CASES[name], torch.ones(3, 3))
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((3, 3))) + 0.1
    (expected,) = program.evaluate(x)
    point = [Fraction(v) for v in x.ravel().tolist()]
    for output, value in enumerate(expected.ravel().tolist()):
        low, high = enclosure(program, point, output)
        assert 0 <= high - low <= Fraction(1, 1 << 100) * (1 + abs(high))
        assert float(low) == pytest.approx(value, rel=1e-12)


def test_outside_of_a_domain_nothing_is_enclosed() -> None:
    for function in (torch.log, torch.sqrt, torch.log1p):
        with pytest.raises(CertificateError, match="not finite"):
            enclosure(trace(function, torch.ones(1)), [Fraction(-2)], 0)


GRID = torch.linspace(0.2, 1.7, 12, dtype=torch.float64).reshape(4, 3)
MASK = torch.tensor([[True, False, True]])
INDEX = torch.tensor([2, 0, 1, 0])
KERNEL = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 2, 2, 1)

MORE: dict[str, Callable[[Tensor], Tensor]] = {
    **{f"loss: {name}": loss for name, loss, _ in LOSSES},
    **{f"root: {name}": function for name, function, _ in ROOTS if name != "root less a number"},
    **{f"move: {name}": function for name, function, _ in MOVES if name not in NOT_MOVED},
    **{
        name: getattr(torch, name)
        for name in (
            "exp2",
            "log2",
            "log10",
            "rsqrt",
            "sin",
            "cos",
            "erf",
            "erfc",
            "lgamma",
            "i0",
            "asinh",
            "atan",
            "sign",
            "std",
            "prod",
            "trace",
            "neg",
            "tril",
            "fliplr",
            "diag_embed",
        )
    },
    **{
        name: getattr(functional, name)
        for name in (
            "silu",
            "mish",
            "gelu",
            "hardswish",
            "hardsigmoid",
            "hardtanh",
            "relu6",
            "selu",
            "elu",
            "logsigmoid",
            "celu",
            "leaky_relu",
            "softplus",
            "tanhshrink",
            "softsign",
        )
    },
    "layers": lambda x: functional.layer_norm(x, (3,), x.new_tensor([1.0, -2.0, 3.0]), GRID[0], 0.1),
    "groups of channels": lambda x: functional.group_norm(x.reshape(1, 4, 3), 2, GRID[:, 0], GRID[:, 1]),
    "instances": lambda x: functional.instance_norm(x.reshape(2, 2, 3), weight=GRID[0, :2]),
    "root mean squares": lambda x: functional.rms_norm(x, (3,), GRID[0], 1e-3),
    "determinant": lambda x: torch.linalg.det(x[:3]) + torch.linalg.slogdet(x[1:]).logabsdet,
    "rounded": lambda x: x.floor() + (x - 1).ceil() + (3 * x - 3).trunc() + (x - 1).frac(),
    "sorted": lambda x: x.sort(0)[0] * x.sort(1, descending=True)[0] + x.median() + x.kthvalue(2, 0)[0],
    "middle": lambda x: x.median(0)[0] + x.median(1, keepdim=True)[0],
    "jumps": lambda x: functional.threshold(x, 1.0, 5.0) + torch.copysign(x, x - 1) + (x == 1) + (x != 1),
    "angle": lambda x: torch.atan2(x - 1, x),
    "added quotients": lambda x: torch.addcdiv(x, x, x + 1, value=-2),
    "added sums": lambda x: torch.addbmm(x @ x.T, x[None], x.T[None], alpha=3),
    "error functions": lambda x: torch.special.erfcx(x) + torch.erfinv(x / 3),
    "norm of negative order": lambda x: torch.linalg.vector_norm(x, -1.5, 0),
    "like another": lambda x: x[0].expand_as(x) + x.T.reshape_as(x),
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "rsub": lambda x: torch.rsub(x, x.exp(), alpha=3),
    "sub": lambda x: torch.sub(x, x.exp(), alpha=3),
    "pow": lambda x: x.pow(-1.5) + x**3 + 2**x + x.pow(x),
    "xlogy": lambda x: torch.xlogy(torch.tensor([0.0, 1.0, 2.0]), x),
    "hypot": lambda x: torch.hypot(x, x.exp()),
    "prelu": lambda x: functional.prelu(x - 1, torch.tensor([0.1, 0.2, -3.0], dtype=x.dtype)),
    "threshold": lambda x: functional.threshold(x, 1.0, 1.0),
    "clamp": lambda x: x.clamp(0.5, 1.2) + x.clamp_min(1.0) - x.clamp(max=0.7),
    "extremes": lambda x: x.amax(0) - x.amin(0) + x.max(0)[0] * x.min(0)[0] + x.max() - x.min(),
    "two": lambda x: torch.maximum(x, 2 - x) - torch.minimum(x, 2 - x) + torch.max(x, x.exp() - 1),
    "running": lambda x: (
        (x - 1).square().cummax(0)[0] + (x - 1).square().cummin(1)[0] + x.cumprod(1) + x.cumsum(0)
    ),
    "largest": lambda x: (x - 1).square().topk(2, 0)[0] + (1 - x).topk(3, 0, largest=False)[0][:2],
    "soft max": lambda x: x.softmax(-1) + x.log_softmax(0) + x.logcumsumexp(1),
    "log of two": lambda x: torch.logaddexp(x, x.square()),
    "norms": lambda x: sum(
        torch.linalg.vector_norm(x - 1, p, 1) for p in (1, 1.5, 2, 3, float("inf"), -float("inf"))
    ),
    "variance": lambda x: x.var(0) + x.var(0, correction=0) + x.std(0),
    "where": lambda x: torch.where(MASK, x, x.exp()) + torch.where(x > 1, x, 2 * x) + (x <= 0.9) * x,
    "masked": lambda x: x.masked_fill(MASK, -2.0),
    "linear": lambda x: functional.linear(x, GRID, GRID[:, 0]) + x @ GRID.T,
    "stacked": lambda x: torch.stack([x, x.exp()]) @ torch.stack([x.T, GRID.T]),
    "added products": lambda x: (
        torch.addmm(x @ x.T, x, x.T, beta=2, alpha=-0.5) + torch.addcmul(x, x, x, value=3)[:, :1]
    ),
    "added vectors": lambda x: torch.addmv(x[:, 0], x, x[0], alpha=2),
    "added batches": lambda x: torch.baddbmm(x[None] @ x.T, x[None], x.T[None], beta=-1),
    "outer": lambda x: torch.outer(x[0], x[:, 1]),
    "convolution": lambda x: functional.conv2d(
        x.reshape(1, 2, 3, 2), KERNEL, GRID.ravel()[:4], padding=1, stride=(2, 1)
    ),
    "groups": lambda x: functional.conv1d(
        x.reshape(2, 2, 3), KERNEL.reshape(8, 2, 1)[:4, :1], groups=2, dilation=1
    ),
    "transposed": lambda x: functional.conv_transpose2d(
        x.reshape(1, 4, 3, 1),
        KERNEL,
        GRID.ravel()[:2],
        stride=2,
        padding=(1, 0),
        output_padding=1,
        dilation=(1, 2),
    ),
    "transposed groups": lambda x: functional.conv_transpose1d(
        x.reshape(1, 4, 3), KERNEL[:, :, :, 0], groups=2
    ),
    "normalised": lambda x: functional.batch_norm(x, GRID[0], GRID[1], GRID[2], GRID[3]),
    "mean pool": lambda x: functional.avg_pool1d(x[None], 2, 2, padding=1, ceil_mode=True),
    "mean pool without padding": lambda x: functional.avg_pool2d(
        x[None], 2, 1, padding=1, count_include_pad=False, ceil_mode=True
    ),
    "mean pool by three": lambda x: functional.avg_pool2d(x[None], 2, 1, divisor_override=3),
    "mean pool in three dimensions": lambda x: functional.avg_pool3d(x.reshape(1, 2, 2, 3), (1, 2, 2)),
    "adaptive mean": lambda x: functional.adaptive_avg_pool2d(x[None], (3, 2)),
    "maximum pool": lambda x: functional.max_pool2d(-x[None], 2, 1, padding=1, dilation=(2, 1)),
    "maximum pool, rounded up": lambda x: functional.max_pool1d(x[None] - 1, 2, 2, ceil_mode=True),
    "adaptive maximum": lambda x: functional.adaptive_max_pool1d(x, 2),
    "padded": lambda x: (
        functional.pad(x[None], (1, 2), value=-3.0) + functional.pad(x[None], (1, 2), mode="reflect")
    ),
    "moved about": lambda x: x.roll(1).flip(0).repeat(2, 1).unfold(0, 2, 2).narrow(1, 0, 2).diagonal(),
    "filled": lambda x: torch.ones_like(x) + torch.full_like(x, 0.5) * x,
    "shuffled": lambda x: functional.pixel_shuffle(x.reshape(1, 4, 3, 1), 2),
    "patches": lambda x: functional.unfold(x[None, None], 2, padding=1),
    "huber": lambda x: (
        functional.huber_loss(x, GRID - 1, delta=0.7) + functional.smooth_l1_loss(x, GRID.flip(0), beta=0.3)
    ),
    "smoothed, left out": lambda x: functional.cross_entropy(
        x, INDEX, GRID[0], ignore_index=0, label_smoothing=0.2
    ),
    "classes of pictures": lambda x: functional.cross_entropy(
        x.reshape(1, 4, 3), INDEX[None, :3], reduction="none"
    ),
    "likelihood of pictures": lambda x: functional.nll_loss(
        x.reshape(1, 3, 4, 1), INDEX[None, :, None], GRID[0]
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MORE)
def test_more_operators(name: str) -> None:
    program = trace(MORE[name], torch.ones(4, 3, dtype=torch.float64))
    x = np.random.default_rng(0).uniform(0.1, 2.0, (4, 3))
    (expected,) = program.evaluate(x)
    point = [Fraction(v) for v in x.ravel().tolist()]
    for output, value in enumerate(expected.ravel().tolist()):
        low, high = enclosure(program, point, output)
        assert 0 <= high - low <= Fraction(1, 1 << 100) * (1 + abs(high))
        assert float(low) == pytest.approx(value, rel=1e-11, abs=1e-13)


def test_numbers_that_cannot_be_told_apart() -> None:
    program = trace(lambda x: torch.where(x.exp().log() > 1, x, -x), torch.ones(1))
    with pytest.raises(CertificateError, match="too close"):
        enclosure(program, [Fraction(1)], 0)
    low, high = enclosure(program, [Fraction(2)], 0)
    assert low <= 2 <= high


KINDS_OF_NUMBERS: dict[str, Callable[[Tensor], Tensor]] = {
    "or": lambda x: ((x > 0) + (x > 1)) * x,
    "or, moved": lambda x: ((x > 0).reshape(3) + (x > 1).reshape(3)) * x,
    "or of a number": lambda x: torch.add(x > 0, True) * x,
    "wraps around": lambda x: (
        (
            torch.where(x > 0, torch.tensor(200, dtype=torch.uint8), torch.tensor(100, dtype=torch.uint8))
            + torch.tensor(100, dtype=torch.uint8)
        )
        * x
    ),
    "filled in": lambda x: torch.full_like(x > 0, 3) * x,
    "filled in anew": lambda x: (x > 0).new_full((3,), 5) * x,
    "written over": lambda x: (x > 0).masked_fill(x > 1, 3) * x,
    "copied": lambda x: torch.ops.aten.copy(x > 5, x) * x,
    "whole": lambda x: x.to(torch.int64) * 1.5,
}
"""Sums, products and copies that are not what they would be of real numbers."""


@pytest.mark.parametrize("name", KINDS_OF_NUMBERS)
def test_truth_values_are_no_numbers(name: str) -> None:
    program = trace(KINDS_OF_NUMBERS[name], torch.ones(3, dtype=torch.float64))
    with pytest.raises(CertificateError, match="integers or truth values"):
        enclosure(program, [Fraction(2), Fraction(1, 2), Fraction(-1)], 0)


TRUTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "and": lambda x: ((x > 0) * (x > 1)) * x,
    "count": lambda x: (x > 0).sum() * x,
    "number": lambda x: (x > 0).to(x.dtype) + (x > 1).to(x.dtype),
    "moved": lambda x: torch.where((x > 1).flip(0), x, -x),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_truth_values(name: str) -> None:
    program = trace(TRUTHS[name], torch.ones(3, dtype=torch.float64))
    (expected,) = program.evaluate([2.0, 0.5, -1.0])
    for output, value in enumerate(expected.tolist()):
        assert enclosure(program, [Fraction(2), Fraction(1, 2), Fraction(-1)], output) == (value, value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.cummax(0)[0],
        lambda x: x.topk(1)[0],
        lambda x: x.logcumsumexp(0),
        lambda x: x[None].expand(2)[:0].prod(),
        lambda x: x[None][:0].logsumexp(0),
        lambda x: x ** (1 << 40),
        lambda x: torch.pow(2 + x, 2.0**40 + 0.5),
        lambda x: (40 + x).exp().exp().exp(),
        lambda x: (-(40 + x).exp()).exp() - 1,
    ],
)
def test_nothing_but_refusals(function: Callable[[Tensor], Tensor]) -> None:
    """Numbers without axes, none at all, or far beyond what can be written out are enclosed, or refused."""
    program = trace(function, torch.tensor(1.0))
    try:
        low, high = enclosure(program, [Fraction(1, 2)], 0)
    except CertificateError:
        return
    assert low <= high
    assert float(low) == pytest.approx(float(program.evaluate(0.5)[0]))


def test_tiny_and_large_numbers() -> None:
    tiny = trace(functional.softplus, torch.ones(1))
    low, high = enclosure(tiny, [Fraction(-1e300)], 0)
    assert low <= 0 < high < Fraction(1, 10**300)
    low, high = enclosure(trace(lambda x: -x.exp(), torch.ones(1)), [Fraction(-1e300)], 0)
    assert -Fraction(1, 10**300) < low < 0 <= high
    with pytest.raises(CertificateError, match="too large"):
        enclosure(trace(torch.exp, torch.ones(1)), [Fraction(1e6)], 0)


def test_sums_of_nothing() -> None:
    program = trace(lambda x: x[:0].sum(0) + x.sum(0), torch.ones(2, 2))
    assert enclosure(program, [Fraction(1)] * 4, 0) == (Fraction(2), Fraction(2))


def test_axes_that_are_moved_by_number() -> None:
    program = trace(lambda x: x.movedim((0, 1), (2, 0)), torch.ones(2, 3, 4))
    point = [Fraction(i) for i in range(24)]
    (expected,) = program.evaluate(np.arange(24.0).reshape(2, 3, 4))
    assert [enclosure(program, point, i)[0] for i in range(24)] == expected.ravel().tolist()
