"""Enclosures hold what torch computes in float64, and are as narrow as their precision promises."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from jensen.errors import CertificateError
from jensen.nn import ACTIVATIONS, FICNN, PICNN, ConvICNN
from jensen.program import Program, read_program
from jensen.verifier import enclosure


def compare(program: Program, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for scale in (0.1, 1.0, 30.0):
        points = [rng.standard_normal(leaf.sample_shape) * scale for leaf in program.leaves]
        (expected,) = program.evaluate(*[np.stack([p, p]) for p in points])
        exact = [Fraction(v) for p in points for v in p.ravel().tolist()]
        low, high = enclosure(program, exact, 0)
        assert 0 <= high - low <= Fraction(1, 1 << 100) * (1 + abs(high))
        assert float(low) == pytest.approx(float(np.ravel(expected[0])[0]), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_architectures(activation: str) -> None:
    torch.manual_seed(0)
    compare(read_program(FICNN(3, (5, 4), activation, quadratic=0.5)))
    compare(read_program(PICNN(3, 2, (4, 4), activation=activation, x_activation=nn.Tanh())))
    compare(read_program(ConvICNN((2, 6, 6), (3, 2), activation, stride=2, kernel_size=(3, 5))))
    compare(read_program(ConvICNN((1, 5, 5), (2,), activation, head="mean")))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ELU(1.5),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.LeakyReLU(-0.5),
        nn.CELU(2.0),
        nn.Softplus(3.0, 40.0),
    ],
    ids=str,
)
def test_activations(activation: nn.Module) -> None:
    torch.manual_seed(0)
    compare(read_program(nn.Sequential(nn.Linear(2, 3), activation, nn.Linear(3, 1))))


@pytest.mark.parametrize("activation", [nn.Softplus(1.0, 5.0), nn.Softplus(-1.0)], ids=str)
def test_what_cannot_be_enclosed_is_refused(activation: nn.Module) -> None:
    program = read_program(nn.Sequential(nn.Linear(2, 1), activation))
    with pytest.raises(CertificateError):
        enclosure(program, [Fraction(1), Fraction(2)], 0)


def test_points_that_do_not_fit() -> None:
    program = read_program(nn.Sequential(nn.Linear(2, 1), nn.Softplus()))
    for point, output in (([Fraction(1)], 0), ([Fraction(1)] * 3, 0), ([Fraction(1)] * 2, 1)):
        with pytest.raises(CertificateError):
            enclosure(program, point, output)
