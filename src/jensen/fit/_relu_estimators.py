"""What the estimators with ReLU neurons share: how patterns are chosen, and the network as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._chosen_patterns import gates_for
from jensen.fit._estimator import TwoLayer
from jensen.fit._network import to_torch
from jensen.fit._problem import Problem
from jensen.fit._programmes import AllPatterns, GivenPatterns, Programme
from jensen.fit._scikit import check_is_fitted

if TYPE_CHECKING:
    from torch import nn


class ReLUNeurons(TwoLayer):
    """Networks sum_i relu(x . w_i + b_i) a_i."""

    patterns: Any
    certify: Any

    def _pose(self, problem: Problem, seed: int) -> Programme:
        if not (isinstance(self.certify, (bool, np.bool_)) or self.certify == "auto"):
            raise ArgumentError(f"certify must be True, False or 'auto', got {self.certify!r:.80}")
        if isinstance(self.patterns, str):
            if self.patterns != "all":
                raise ArgumentError(
                    "patterns must be 'all', a number, an array of directions or a function, "
                    f"got {self.patterns!r:.80}"
                )
            return AllPatterns(problem, self.certify, seed)
        return GivenPatterns(problem, gates_for(self.patterns, problem.x, bool(self.fit_intercept), seed))

    def to_torch(self) -> nn.Module:
        """Make the network a `torch.nn.Sequential` of Linear, ReLU, Linear in float64.

        Biases and offset are in it, so that its outputs are those of `predict` (of `decision_function` for
        classifiers), and the rest of jensen reads it: `jensen.check`, `jensen.minimize`, `torch.export`.

        Returns
        -------
        torch.nn.Module
            Maps (batch, d) to (batch, k).
        """
        check_is_fitted(self)
        weights, bias = self.hidden_weights_, bool(self.hidden_biases_.any())
        if bias:
            weights = np.column_stack([weights, self.hidden_biases_])
        return with_offset(to_torch(weights, self.output_weights_, bias=bias), self.offset_)


def with_offset(network: nn.Module, offset: Any) -> nn.Module:
    """Give the last layer of a sequence its bias."""
    import torch
    from torch import nn

    assert isinstance(network, nn.Sequential)
    if np.any(offset):
        network[-1].bias = nn.Parameter(torch.tensor(np.atleast_1d(offset)))
    return network
