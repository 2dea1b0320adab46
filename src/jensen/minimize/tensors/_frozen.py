"""A partially convex network at a batch of fixed x: what depends on x alone is computed once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jensen.minimize.tensors._convex import Function
from jensen.nn import PICNN, Architecture


class FrozenPICNN:
    """The function (context, y) -> f(x, y), where the context holds all that x contributes.

    A solver evaluates a network at many y and one x; the path of x and its gates are most of the work.
    The context is differentiable in x and the weights, where gradients are switched on.

    Parameters
    ----------
    net : PICNN
        It is not changed; its weights are read when the function is called.
    quadratic : bool, default True
        Whether its quadratic term counts.
    """

    def __init__(self, net: PICNN, quadratic: bool = True) -> None:
        self.net = net
        self.quadratic = net.quadratic if quadratic else None
        gates, scales = [0, *net.widths], [net.y_features] * (len(net.widths) + 1)
        self._sizes = [size for three in zip(gates, scales, [*net.widths, 1], strict=True) for size in three]

    def context(self, x: Tensor) -> Tensor:
        """Pack gates, scales and contexts of all layers into one (batch, total) tensor."""
        net, u, packed = self.net, x, []
        for i in range(len(net.widths) + 1):
            if i > 0:
                packed.append(torch.relu(net.gates[i - 1](u)))
            packed += [net.scales[i](u), net.contexts[i](u)]
            if i < len(net.x_path):
                u = net.x_activation(net.x_path[i](u))
        return torch.cat(packed, dim=1)

    def __call__(self, context: Tensor, y: Tensor) -> Tensor:
        """Values (batch,) at y (batch, y_features)."""
        net, parts = self.net, torch.split(context, self._sizes, dim=1)
        z = net.skips[0](y * parts[1]) + parts[2]
        for i, hidden in enumerate(net.hidden):
            gate, scale, shift = parts[3 * i + 3 : 3 * i + 6]
            z = hidden(net.activation(z) * gate) + net.skips[i + 1](y * scale) + shift
        value: Tensor = z.squeeze(1)
        return value if self.quadratic is None else value + self.quadratic(y)


class PiecewisePart(nn.Module):
    """A network less its own quadratic term: piecewise affine in y where its activation is.

    Parameters
    ----------
    whole : Architecture
        With a quadratic term.
    """

    def __init__(self, whole: Architecture) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, *inputs: Tensor) -> Tensor:
        """Values (batch,)."""
        value: Tensor = self.whole(*inputs)
        return value if self.whole.quadratic is None else value - self.whole.quadratic(inputs[-1])


def freeze(f: Function, x: Tensor | None) -> tuple[Function, Tensor | None]:
    """Give a function and what to pass for x, cheaper to call again and again.

    Only a `PICNN` itself is taken apart; a class derived from it may compute something else.
    """
    net = f.whole if isinstance(f, PiecewisePart) else f
    if type(net) is not PICNN or x is None:
        return f, x
    f_x = FrozenPICNN(net, quadratic=net is f)
    return f_x, f_x.context(x)
