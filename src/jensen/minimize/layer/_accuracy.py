"""How near to optimal minimisers are, and the warning about those that are not near enough."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jensen.errors import ConvergenceWarning
from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._record import NOISY, noise_of
from jensen.minimize.tensors._result import BatchedMinimum

_WORTH_WARNING = 1e-9
"""Gaps up to this, relative to max(1, |value|), are no cause for concern even where less was asked for."""


@dataclass(frozen=True)
class Accuracy:
    """When to stop: the gap relative to max(1, |value|), and the number of steps."""

    tolerance: float
    max_iterations: int


@dataclass(frozen=True)
class Judged:
    """What is known about minimisers that a method has found and Newton's method has refined.

    Attributes
    ----------
    minimum : BatchedMinimum
    missed : (batch,) boolean tensor
        Whose gap is larger than both the tolerance and rounding.
    gap : (batch,) tensor
        Value less lower bound; where there is none what Newton's method expects to gain.
    """

    minimum: BatchedMinimum
    missed: Tensor
    gap: Tensor

    def raised(self, constant: Tensor) -> Judged:
        """Add a constant (batch,) to the objective."""
        least = self.minimum
        more = replace(least, value=least.value + constant, lower_bound=least.lower_bound + constant)
        return replace(self, minimum=more)

    def warn(self) -> None:
        """Warn of what was missed, once."""
        warn_of(self.missed, self.gap)


def warn_of(missed: Tensor, gap: Tensor) -> None:
    """Warn, once, of the problems of a batch that were missed, and of the largest of their gaps."""
    count = int(missed.sum())
    if count:
        worst = float(gap[missed].nan_to_num(nan=torch.inf).max())
        warnings.warn(
            f"{count} of {len(missed)} problems missed the tolerance, and the largest gap is {worst:.2g}: "
            "raise max_iterations or tolerance; ArgminLayer.solve tells all gaps",
            ConvergenceWarning,
            stacklevel=3,
        )


def judge(
    problem: TorchProblem,
    y: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    lower: Tensor,
    expected: Tensor | None,
    accuracy: Accuracy,
    iterations: Tensor,
) -> Judged:
    """Compare values with lower bounds.

    Parameters
    ----------
    problem : TorchProblem
    y : (batch, n) tensor
    parts : three (batch,) tensors
        f at y, how much of it the linearisation does not owe to the slope, and the objective, which may
        contain more than f.
    lower : (batch,) tensor
    expected : (batch,) tensor, optional
        Stands in for the gap where lower is -inf.
    accuracy : Accuracy
    iterations : (batch,) integer tensor
    """
    value, offset, total = parts
    gap = total - lower
    if expected is not None:
        gap = torch.where(torch.isinf(lower), expected, gap)
    size = total.abs().clamp_min(1.0)
    noise = NOISY * noise_of(problem, y, value, offset, total)
    converged = gap <= torch.maximum(accuracy.tolerance * size, noise)
    missed = ~converged & ~(gap <= _WORTH_WARNING * size)
    return Judged(BatchedMinimum(y, total, lower, iterations, converged), missed, gap)
