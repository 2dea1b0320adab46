"""What the estimators with gated neurons share: how gates are chosen, and the network as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._chosen_patterns import directions_of
from jensen.fit._estimator import TwoLayer
from jensen.fit._network import to_torch, ungate
from jensen.fit._problem import Problem
from jensen.fit._programmes import GivenGates, Programme
from jensen.fit._relu_estimators import with_offset
from jensen.fit._scikit import check_is_fitted, validate_data

if TYPE_CHECKING:
    from torch import nn


class GatedNeurons(TwoLayer):
    """Networks sum_i 1[x . g_i + c_i > 0] (x . w_i + b_i) a_i with given gates (g_i, c_i)."""

    patterns: Any

    def _pose(self, problem: Problem, seed: int) -> Programme:
        if isinstance(self.patterns, str) or callable(self.patterns):
            raise ArgumentError(
                f"patterns must be a number or an array of directions, got {self.patterns!r:.80}: neurons "
                "need directions to be switched by"
            )
        d = problem.x.shape[1]
        return GivenGates(problem, directions_of(self.patterns, d, bool(self.fit_intercept), seed))

    def _columns(self) -> tuple[Any, Any]:
        """Output weights (m, k) and offsets (k,)."""
        outputs = self.output_weights_
        return outputs[:, None] if outputs.ndim == 1 else outputs, np.atleast_1d(self.offset_)

    def to_torch(self) -> nn.Module:
        """Make the network a torch module in float64; its outputs are those of `predict`.

        (Those of `decision_function` for classifiers.) `torch.export` takes it. It is not continuous, so
        that `jensen.check` cannot tell anything about it: see `to_relu`.

        Returns
        -------
        torch.nn.Module
            Maps (batch, d) to (batch, k).
        """
        from jensen.fit._gated_module import GatedNetwork

        check_is_fitted(self)
        return GatedNetwork(
            self.gate_weights_,
            self.gate_biases_,
            self.hidden_weights_,
            self.hidden_biases_,
            *self._columns(),
        )

    def to_relu(self, X: Any) -> nn.Module:
        """Make a ReLU network with the same outputs on given data, and in general others elsewhere.

        Every neuron becomes the difference of two that are active where its gate is open.

        Parameters
        ----------
        X : (n, d) array
            Usually the data that the estimator was fitted to.

        Returns
        -------
        torch.nn.Module
            A `torch.nn.Sequential` of Linear, ReLU, Linear in float64, from (batch, d) to (batch, k).
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        bias = bool(self.hidden_biases_.any() or self.gate_biases_.any())
        gates = x @ self.gate_weights_.T + self.gate_biases_ > 0
        weights = self.hidden_weights_
        if bias:
            x = np.column_stack([x, np.ones(len(x))])
            weights = np.column_stack([weights, self.hidden_biases_])
        outputs, offset = self._columns()
        parts, columns = [], []
        for k in range(outputs.shape[1]):
            used = outputs[:, k] != 0
            hidden, out = ungate(x, gates[:, used].T, weights[used] * outputs[used, k, None])
            parts.append(hidden)
            columns.append(out[:, None] * np.eye(outputs.shape[1])[k])
        return with_offset(to_torch(np.concatenate(parts), np.concatenate(columns), bias=bias), offset)
