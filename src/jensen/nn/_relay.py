"""Convex networks beyond ICNNs: negative inner weights that one neuron of each layer pays for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jensen.errors import ArgumentError
from jensen.nn._activation import ReLU
from jensen.nn._architecture import check_input
from jensen.nn._dense import Dense
from jensen.nn._initialisation import Initialisation, samples
from jensen.nn._skip import SkipMLP


class RelayICNN(Dense):
    """Convex ReLU network whose inner weights may be negative, whatever its parameters are.

    It computes what a `SkipMLP` of the same widths does. In every hidden layer but the first the last neuron,
    the *relay*, sums the layer before with nonnegative weights, so that it is always active, and hands the
    sum on to the output. Negative weights of the other neurons are allowed, because the relay outweighs
    them: with z = W h + V x + b and two hidden layers,

        f(x) = sum_u w_u relu(z_u) + sum_v p_v h_v + affine,     p_v >= sum_u w_u max(0, -W_uv),  w_u >= 0,

    so df/dh_v >= 0 whichever neurons u are active. Each term w_u relu(z_u), with its share of the relay, is a
    maximum of two convex functions of the first layer, where an ICNN has one convex function cut off at
    zero. A `FICNN` with one neuron less in every layer but the first is the special case without negative
    weights.

    Parameters
    ----------
    in_features : int
        Number of inputs d.
    widths : sequence of int
        Number of neurons of each hidden layer, the relays included.
    skips : bool, default True
        Whether the input passes through to every layer.
    initialisation : {"principled", "torch"}
        As for `SkipMLP`; "principled" also scales the output to variance 1, for standard normal inputs.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.

    Notes
    -----
    Deeper, from the output down: let neuron u have 0 <= df/dh_u <= s_u. Then
    p_v = sum_u s_u max(0, -W_uv) + e_v keeps df/dh_v above e_v >= 0 and below p_v + sum_u s_u max(0, W_uv).
    Relays read the relay before with weight 1, and no other neuron reads it. The sums are rounded up,
    so that the weights in their own precision make the network convex exactly.

    Examples
    --------
    >>> import jensen
    >>> net = jensen.nn.RelayICNN(2, (8, 8))
    >>> jensen.check(net, input_shape=(2,)).kind
    'convex'
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        *,
        skips: bool = True,
        initialisation: Initialisation = "principled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, widths, "relu", None, 0.0, skips, initialisation, device, dtype)

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """(0,): the network is convex in its input."""
        return (0,)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x : (batch, in_features) tensor

        Returns
        -------
        (batch,) tensor

        Raises
        ------
        NetworkError
            If the input has another shape.
        """
        check_input(x, (self.in_features,), "x")
        last, layers = self._layers()
        h, relayed = torch.relu(self.first(x)), None
        for paid, weight, bias, skip in layers:
            part = h @ paid
            relayed = part if relayed is None else relayed + part
            z = functional.linear(h, weight, bias)
            h = torch.relu(z if skip is None else z + functional.linear(x, skip))
        value = h @ last + cast(nn.Linear, self.hidden[-1]).bias
        if len(self.skips) > 0:
            value = value + self.skips[-1](x).squeeze(1)
        return value if relayed is None else value + relayed

    @torch.no_grad()
    def skip_mlp(self) -> SkipMLP:
        """Build the `SkipMLP` of the same widths that computes the same function."""
        like = self.first.weight
        skips = len(self.skips) > 0
        net = SkipMLP(self.in_features, self.widths, skips=skips, device=like.device, dtype=like.dtype)
        net.load_state_dict(self.state_dict())
        last, layers = self._layers()
        for i, (paid, weight, _, skip) in enumerate(layers):
            layer = cast(nn.Linear, net.hidden[i])
            layer.weight.zero_()
            layer.weight[:-1, : weight.shape[1]] = weight
            layer.weight[-1, : len(paid)] = paid
            if i > 0:
                layer.weight[-1, -1] = 1.0
            # One more than nothing keeps relays active where all that they sum is zero.
            layer.bias[-1] = 1.0 if i == 0 else 0.0
            if skip is not None:
                cast(nn.Linear, net.skips[i]).weight[-1] = 0.0
        out = cast(nn.Linear, net.hidden[-1])
        out.weight.fill_(1.0)
        out.weight[0, : len(last)] = last
        if layers:
            out.bias.sub_(1.0)
        return net

    @classmethod
    @torch.no_grad()
    def from_skip_mlp(cls, net: SkipMLP) -> RelayICNN:
        """Take the weights of a network as free parameters, from which a convex one of its shape begins.

        Parameters
        ----------
        net : SkipMLP
            With ReLU and without quadratic term. It stays as it is; the new network computes another
            function, with outputs of the same variance for standard normal inputs.

        Raises
        ------
        ArgumentError
            If the network has another activation or a quadratic term.
        """
        if not isinstance(net.activation, ReLU) or net.quadratic is not None:
            raise ArgumentError("a RelayICNN has ReLUs and no quadratic term: the network differs")
        like = net.first.weight
        skips = len(net.skips) > 0
        relay = cls(net.in_features, net.widths, skips=skips, device=like.device, dtype=like.dtype)
        relay.load_state_dict(net.state_dict())
        relay._scale(float(net(samples(net.first, (net.in_features,)).to(like)).std()))
        return relay

    def _initialise(self) -> None:
        super()._initialise()
        if self.initialisation == "principled":
            self._scale(1.0)

    def _scale(self, deviation: float) -> None:
        """Damp all weights, which makes the first steps of training long, and give the output a deviation."""
        if not self.widths[1:]:
            return
        inner = [cast(nn.Linear, layer).weight for layer in list(self.hidden)[:-1]]
        outer = [cast(nn.Linear, layer).weight for layer in (self.hidden[-1], *list(self.skips)[-1:])]
        for parameter in (*self.first.parameters(), *self.skips.parameters()):
            parameter.mul_(DAMPING)
        for weight in inner:
            weight.mul_(INNER_DAMPING)
        like = self.first.weight
        values = self(samples(self.first, (self.in_features,)).to(like))
        # What is not affine in x is proportional to the output's weights and the relays' own.
        factor = deviation / values.std().clamp_min(torch.finfo(like.dtype).tiny)
        for part in (*outer, *(w[-1] for w in inner)):
            part.mul_(factor)

    def _layers(self) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor, Tensor | None]]]:
        """Output weights; and what relays add up, weights, biases and skips behind the first layer."""
        inner = [cast(nn.Linear, layer) for layer in list(self.hidden)[:-1]]
        last: Tensor = cast(nn.Linear, self.hidden[-1]).weight[0].abs()
        if inner:
            last = last[:-1]
        result: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        highest = last  # of df/dh_u
        for i in range(len(inner) - 1, -1, -1):
            # The relay before is passed on.
            whole: Tensor = inner[i].weight
            read = whole[:, :-1] if i > 0 else whole
            weight: Tensor = read[:-1]
            limits = torch.finfo(read.dtype)
            up, tiny = 1.0 + 4.0 * (len(highest) + 4) * limits.eps, len(highest) * limits.tiny
            paid = up * (highest @ torch.relu(-weight)) + (read[-1].abs() + tiny)
            skip = cast(nn.Linear, self.skips[i]).weight[:-1] if len(self.skips) > 0 else None
            result.append((paid, weight, inner[i].bias[:-1], skip))
            if i > 0:
                highest = up * (paid + highest @ torch.relu(weight)) + tiny
        return last, result[::-1]


DAMPING, INNER_DAMPING = 0.4, 0.3
"""Of initial weights on the input, and of those between neurons, which relays add up."""
