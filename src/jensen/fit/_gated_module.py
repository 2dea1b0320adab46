"""A gated network as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jensen.fit._losses import Floats


class GatedNetwork(nn.Module):
    """sum_i 1[x . g_i + c_i > 0] (x . w_i + b_i) a_i + offset, in float64.

    The gates (g, c) are buffers: they are not trained. Jumps where a neuron is switched make the network
    discontinuous.

    Parameters
    ----------
    gates, weights : (m, d) arrays
    gate_biases, biases : (m,) arrays
    outputs : (m, k) array
    offset : (k,) array
    """

    gate_weight: Tensor
    gate_bias: Tensor

    def __init__(
        self,
        gates: Floats,
        gate_biases: Floats,
        weights: Floats,
        biases: Floats,
        outputs: Floats,
        offset: Floats,
    ) -> None:
        super().__init__()
        self.register_buffer("gate_weight", torch.tensor(gates))
        self.register_buffer("gate_bias", torch.tensor(gate_biases))
        self.hidden = _linear(weights, biases)
        self.output = _linear(outputs.T.copy(), offset)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, d) to (batch, k)."""
        gates = nn.functional.linear(x, self.gate_weight, self.gate_bias) > 0
        after: Tensor = self.output(torch.where(gates, self.hidden(x), 0.0))
        return after


def _linear(weight: Floats, bias: Floats) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer
