"""A convex loss as a function of a network's outputs: its values, derivatives, or its hinges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from jensen.blocks._lowering import BlockNetwork, lower_block
from jensen.blocks._objective import Objective
from jensen.blocks._outputs import OUTPUTS, Split
from jensen.errors import NetworkError, UnsupportedOperatorError
from jensen.network import FloatArray, ReLUNetwork
from jensen.program._evaluate import compute

MOST_COUPLED = 2000
"""Outputs of a loss that does not judge rows apart, beyond which second derivatives are not made."""


@dataclass(frozen=True, eq=False)
class Hinges:
    """A convex piecewise-linear function: slope . z + constant + weights . relu(matrix z + shift).

    Attributes
    ----------
    slope : (m,) array
    constant : float
    matrix : (k, m) sparse array
    shift, weights : (k,) arrays
        Weights are nonnegative.
    """

    slope: FloatArray
    constant: float
    matrix: sparse.csr_array
    shift: FloatArray
    weights: FloatArray


def _lowered(cut: Split) -> BlockNetwork | None:
    """Lower the loss to a network of ReLUs in the outputs; None where it is not piecewise linear."""
    values = {OUTPUTS: np.zeros(cut.shape)}
    try:
        return lower_block(Objective(cut.tail, values), (OUTPUTS,), measuring=False)
    except (UnsupportedOperatorError, NetworkError):
        return None


class Tail:
    """The loss behind a network's outputs.

    Attributes
    ----------
    network : ReLUNetwork or None
        The loss divided by `scale`, where it is piecewise linear.
    hinges : Hinges or None
        The loss itself, where one layer of ReLUs is all there is to it.
    """

    def __init__(self, cut: Split) -> None:
        self.cut, self.program = cut, cut.tail
        self.constants = {name: torch.as_tensor(np.array(v)) for name, v in self.program.constants.items()}
        lowered = _lowered(cut)
        self.network = None if lowered is None else lowered.network
        self.scale = 1.0 if lowered is None else float(lowered.scale)
        self.hinges = None if self.network is None else as_hinges(self.network, self.scale)
        self.rows = cut.shape[0] if cut.shape else 1
        self.separable = self._judges_rows_apart()

    @property
    def has_second_derivatives(self) -> bool:
        """Whether they are few enough to be made."""
        return self.separable or self.cut.size <= MOST_COUPLED

    def __call__(self, outputs: torch.Tensor) -> torch.Tensor:
        """Evaluate at flat outputs."""
        env = dict(self.constants)
        env[self.program.leaves[0].name] = outputs.reshape(self.cut.shape)
        compute(self.program.nodes, env)
        return env[self.program.outputs[0]].reshape(())

    def value(self, outputs: torch.Tensor) -> float:
        """Evaluate without derivatives."""
        with torch.no_grad():
            return float(self(outputs))

    def gradient(self, outputs: torch.Tensor) -> torch.Tensor:
        """Differentiate at flat outputs."""
        moving = outputs.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self(moving), moving)
        return gradient

    def bends(self, outputs: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Evaluate with first and second derivatives.

        Returns
        -------
        value : float
        gradient : (m,) tensor
        second : (groups, k, k) tensor
            Blocks on the diagonal of the matrix of second derivatives; one for each row, or one for all.
        """
        moving = outputs.detach().clone().requires_grad_(True)
        value = self(moving)
        (gradient,) = torch.autograd.grad(value, moving, create_graph=True)
        groups = self.rows if self.separable else 1
        size = self.cut.size // groups
        second = torch.zeros(groups, size, size, dtype=outputs.dtype)
        if gradient.requires_grad:
            table = gradient.reshape(groups, size)
            for k in range(size):
                (column,) = torch.autograd.grad(table[:, k].sum(), moving, retain_graph=True)
                second[:, k] = column.reshape(groups, size)
        return value.item(), gradient.detach(), second

    def _judges_rows_apart(self) -> bool:
        """Whether a row's derivatives stay what they are when other rows change."""
        rng = np.random.default_rng(0)
        if self.rows < 2:
            return False
        for _ in range(3):
            before, after = rng.standard_normal((2, self.rows, self.cut.size // self.rows))
            fixed = np.arange(self.rows) % 2 == int(rng.integers(2))
            after[fixed] = before[fixed]
            a, b = (self.gradient(torch.from_numpy(v).reshape(-1)).numpy() for v in (before, after))
            shape = before.shape
            if not np.allclose(a.reshape(shape)[fixed], b.reshape(shape)[fixed], rtol=1e-9, atol=1e-14):
                return False
        return True


def as_hinges(network: ReLUNetwork, scale: float) -> Hinges | None:
    """Read a network of one hidden layer whose neurons all bend upwards; None if it is another."""
    if network.depth > 1:
        return None
    size = network.input_size
    slope = _dense(network.output_weights.get(0), (1, size))[0]
    if not network.depth:
        empty = sparse.csr_array((0, size))
        return Hinges(scale * slope, scale * network.output_bias, empty, np.zeros(0), np.zeros(0))
    layer = network.layers[0]
    matrix = sparse.csr_array(layer.weights.get(0, np.zeros((layer.size, size))))
    out = _dense(network.output_weights.get(1), (1, layer.size))[0]
    # A leaky neuron is slope * z + (1 - slope) * relu(z).
    weights, straight = out * (1 - layer.negative_slope), out * layer.negative_slope
    if (weights < 0).any():
        return None
    slope = slope + straight @ matrix
    constant = network.output_bias + float(straight @ layer.bias)
    return Hinges(scale * slope, scale * constant, matrix, layer.bias, scale * weights)


def _dense(matrix: object, shape: tuple[int, int]) -> FloatArray:
    if matrix is None:
        return np.zeros(shape)
    return np.asarray(matrix.toarray() if isinstance(matrix, sparse.csr_array) else matrix, dtype=np.float64)
