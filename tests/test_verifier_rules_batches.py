"""Certificates of programs that mix the samples of a batch, or name no inputs of theirs, are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from jensen.errors import CertificateError
from jensen.network import WholeSpace
from jensen.program import read_program
from jensen.verifier import Certificate, Enclosed, Violation, replay_rules, verify


class _Flipped(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x.flip(0).square()


class _Mixed(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square() - 2 * x.flip(0).square()


@pytest.mark.parametrize("model", [_Flipped(), _Mixed()])
def test_samples_are_kept_apart(model: torch.nn.Module) -> None:
    program = read_program(model, (1,))
    with pytest.raises(CertificateError, match="mixes the samples"):
        replay_rules(program, WholeSpace(), (0,), None, 0)


def test_other_samples_stand_still() -> None:
    """The witness moves one sample: its square is convex, whatever is taken away for another."""
    program = read_program(_Mixed(), (1,))
    points = Violation((Fraction(-1),), (Fraction(1),), Fraction(1, 2))
    forged = Certificate(program.digest, WholeSpace(), None, "not_convex", Enclosed((0,), 0, points))
    with pytest.raises(CertificateError, match="does not violate"):
        verify(forged, program)


@pytest.mark.parametrize("arguments", [(-1,), (), (0, 0), (1,)])
def test_inputs_that_there_are_not(arguments: tuple[int, ...]) -> None:
    program = read_program(_Mixed(), (1,))
    points = Violation((Fraction(-1),), (Fraction(1),), Fraction(1, 2))
    forged = Certificate(program.digest, WholeSpace(), None, "not_convex", Enclosed(arguments, 0, points))
    with pytest.raises(CertificateError):
        verify(forged, program)
