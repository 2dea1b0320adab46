"""A penalty on counterexamples that were found: neurons and patterns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jensen.training._cases import Cases, jumps_of
from jensen.training._options import as_amount, as_count
from jensen.training._tape import tape


class CounterexamplePenalty:
    """Charges max(0, margin - jump) for every neuron and pattern that was added.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and `ReLU`.
    margin : float
    most : int
        How many are kept: the latest.
    """

    def __init__(self, module: nn.Module, margin: float, most: int = 512) -> None:
        self.module = module
        self.margin, self.most = as_amount(margin, "margin"), as_count(most, "most")
        self._cases = Cases.none(tape(module).widths)

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, cases: Cases) -> None:
        """Take in new cases; the oldest are dropped."""
        self._cases = (cases[slice(self.most)] + self._cases)[slice(self.most)].distinct()

    def __call__(self) -> Tensor:
        """Mean charge per case, a scalar; zero where there is none."""
        weights = tape(self.module)
        if not len(self):
            return torch.zeros_like(weights.output.bias).sum()
        return torch.relu(self.margin - jumps_of(weights, self._cases)).mean()
