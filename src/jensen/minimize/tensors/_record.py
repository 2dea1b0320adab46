"""The books of a batched method: best points, lower bounds, and when rounding allows no more."""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize.tensors._problem import TorchProblem
from jensen.minimize.tensors._result import BatchedMinimum

NOISY = 20.0
"""f's rounding may be so many times what its value lets expect, where large terms cancel inside f."""
_PATIENCE = 10
"""Steps without progress, at gaps of such a size, after which a sample has met rounding."""


class Record:
    """Best points and lower bounds of a batch, while a method runs."""

    def __init__(self, start: Tensor) -> None:
        batch = len(start)
        self.point = start.clone()
        self.value = start.new_full((batch,), torch.inf)
        self.lower = start.new_full((batch,), -torch.inf)
        self.iterations = torch.zeros(batch, dtype=torch.int64, device=start.device)
        self.converged = torch.zeros(batch, dtype=torch.bool, device=start.device)

    def meet(self, index: Tensor, point: Tensor, value: Tensor, step: int) -> None:
        """Take note of points of some samples, and keep them where they are the best."""
        better = value < self.value[index]
        which = index[better]
        self.point[which], self.value[which] = point[better], value[better]
        self.iterations[index[~self.converged[index]]] = step

    def rise(self, index: Tensor, lower: Tensor) -> None:
        """Take note of lower bounds."""
        self.lower[index] = torch.fmax(self.lower[index], lower)

    def close(self, index: Tensor) -> None:
        """Mark samples as finished."""
        self.converged[index] = True

    def result(self, shape: tuple[int, ...]) -> BatchedMinimum:
        """Hand out what was found."""
        point = self.point.reshape(len(self.point), *shape)
        return BatchedMinimum(point, self.value, self.lower, self.iterations, self.converged)


class Stall:
    """Tells when gaps near rounding fall no more."""

    def __init__(self, like: Tensor) -> None:
        self._least = torch.full_like(like[:, 0], torch.inf) if like.shape[1] else like.sum(1) + torch.inf
        self._idle = torch.zeros_like(self._least)

    def ends(self, index: Tensor, missing: Tensor, noise: Tensor) -> Tensor:
        """Take note of the gaps of some samples, and tell which have met rounding."""
        falls = missing < 0.9 * self._least[index]
        self._idle[index] = torch.where(falls, 0.0, self._idle[index] + 1)
        self._least[index] = torch.where(falls, missing, self._least[index])
        return (self._idle[index] >= _PATIENCE) & (missing <= NOISY * noise)


def noise_of(problem: TorchProblem, y: Tensor, value: Tensor, offset: Tensor, total: Tensor) -> Tensor:
    """How small a gap can be told from 0: f's values have their rounding, and the methods' sums theirs."""
    noise = rounding(offset, value - offset, total) * 4
    return noise if problem.dtype is None else torch.maximum(noise, coarseness(problem, y, value, offset))


def coarseness(problem: TorchProblem, y: Tensor, value: Tensor, offset: Tensor) -> Tensor:
    """Bound the rounding of f's values in a dtype that is not the vectors'; 0 where it is."""
    if problem.dtype is None:
        return torch.zeros_like(value)
    own = value if problem.linear is None else value - (problem.linear * y).sum(1)
    return (1 + own.abs() + offset.abs()) * (2 * problem.eps)


def rounding(*terms: Tensor) -> Tensor:
    """By how much a sum of terms, each itself a sum, may be off: some units in the last place of each."""
    total = terms[0].abs()
    for term in terms[1:]:
        total = total + term.abs()
    return (total + 1) * (16 * torch.finfo(total.dtype).eps)
