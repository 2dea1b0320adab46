"""Enclosures of single operators against torch in float64."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from jensen.errors import CertificateError
from jensen.program import trace
from jensen.verifier import enclosure

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
