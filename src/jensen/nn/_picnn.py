"""Partially input convex networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError, NetworkError
from jensen.nn._activation import as_activation
from jensen.nn._architecture import Architecture, as_quadratic, as_size, as_sizes, check_input
from jensen.nn._ficnn import FICNN
from jensen.nn._initialisation import (
    SKIPPED,
    Initialisation,
    Layer,
    as_initialisation,
    first_,
    free_,
    nonnegative_,
    normal_,
    samples,
    torch_,
    unit_,
)
from jensen.nn._layers import NonnegativeLinear
from jensen.nn._nonnegative import NonnegativeMap

_WOBBLE = 0.25
"""Standard deviation of the gates around 1 when training begins."""


class PICNN(Architecture):
    """Partially input convex network: f(x, y) is convex in y for every x, and arbitrary in x.

    With u_0 = x and for i = 0, ..., k

        u_{i+1} = h(A_i u_i + a_i)
        z_{i+1} = g(W_i (z_i * [G_i u_i + c_i]_+) + V_i (y * (S_i u_i + s_i)) + U_i u_i + b_i)
        f(x, y) = z_{k+1} + (mu/2) |y|^2

    where W_0 = 0, the other W_i >= 0, g is convex and non-decreasing, h is any activation, and the last g is
    the identity (Amos, Xu and Kolter, "Input Convex Neural Networks", ICML 2017, equation 3; by their
    proposition 2 it can represent every FICNN and every feed-forward network of its depth).

    Parameters
    ----------
    x_features, y_features : int
        Numbers of entries of x and y.
    widths : sequence of int
        Number of neurons of each hidden layer z_1, ..., z_k.
    x_widths : sequence of int, optional
        Number of neurons of u_1, ..., u_k; the same as `widths` by default.
    activation : str or torch.nn.Module, default "relu"
        g, as for `FICNN`.
    x_activation : torch.nn.Module, optional
        h, elementwise; ReLU by default.
    constraint : str or type of NonnegativeMap, default "abs"
        The map that keeps the W_i nonnegative, as for `FICNN`.
    quadratic : float, default 0.0
        mu, with which f is strongly convex in y.
    initialisation : {"principled", "torch"}
        As for `FICNN`; the gates G_i u_i + c_i and S_i u_i + s_i begin near 1.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or the activation is not convex and non-decreasing.

    Examples
    --------
    >>> import jensen, torch
    >>> net = jensen.nn.PICNN(3, 2, (16, 16))
    >>> net(torch.zeros(4, 3), torch.zeros(4, 2)).shape
    torch.Size([4])
    >>> jensen.check(net.at(torch.randn(3))).kind
    'convex'
    """

    def __init__(
        self,
        x_features: int,
        y_features: int,
        widths: Sequence[int],
        x_widths: Sequence[int] | None = None,
        activation: str | nn.Module = "relu",
        x_activation: nn.Module | None = None,
        *,
        constraint: str | type[NonnegativeMap] = "abs",
        quadratic: float = 0.0,
        initialisation: Initialisation = "principled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.x_features, self.y_features = (
            as_size(x_features, "x_features"),
            as_size(y_features, "y_features"),
        )
        self.widths = as_sizes(widths, "widths")
        self.x_widths = self.widths if x_widths is None else as_sizes(x_widths, "x_widths")
        if len(self.x_widths) != len(self.widths):
            raise ArgumentError(
                f"x_widths must have as many entries as widths, {len(self.widths)}, got {len(self.x_widths)}"
            )
        if x_activation is not None and not isinstance(x_activation, nn.Module):
            raise ArgumentError(f"x_activation must be a torch.nn.Module, got {x_activation!r:.80}")
        self.initialisation = as_initialisation(initialisation)
        self.activation = as_activation(activation)
        self.x_activation = nn.ReLU() if x_activation is None else x_activation
        u, z, p = [self.x_features, *self.x_widths], [*self.widths, 1], self.y_features

        def linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
            return nn.Linear(n_in, n_out, bias, device, dtype)

        self.x_path = nn.ModuleList(linear(a, b) for a, b in pairwise(u))
        self.hidden = nn.ModuleList(
            NonnegativeLinear(a, b, constraint=constraint, device=device, dtype=dtype, initialise=False)
            for a, b in pairwise(z)
        )
        self.gates = nn.ModuleList(linear(a, b) for a, b in zip(u[1:], z[:-1], strict=True))
        self.skips = nn.ModuleList(linear(p, n, bias=False) for n in z)
        self.scales = nn.ModuleList(linear(a, p) for a in u)
        # b_0 stands in the first of these, the other b_i in `hidden`
        self.contexts = nn.ModuleList(
            linear(a, b, bias=i == 0) for i, (a, b) in enumerate(zip(u, z, strict=True))
        )
        self.quadratic = as_quadratic(quadratic)
        self.reset_parameters()

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """(1,): the network is convex in y, as long as the constraints are in place."""
        return (1,) if self._is_constrained() else ()

    def reset_parameters(self) -> None:
        """Initialise all weights anew."""
        if self.initialisation == "torch":
            for layer in self._layers():
                torch_(layer)
            return
        with torch.no_grad():
            self._initialise()

    def _initialise(self) -> None:
        context, skip = self._at(0)[1:]
        u, y = samples(context, (self.x_features,)), samples(context, (self.y_features,))
        z = first_(context, u) + normal_(skip, y * self._near_one(self.scales[0], u), 1.0)
        z = unit_((context, skip), z)
        for i in range(1, len(self.widths) + 1):
            path = cast(nn.Linear, self.x_path[i - 1])
            u = self.x_activation(first_(path, u) if i == 1 else free_(path, u, 1.0))
            h = self.activation(z) * self._near_one(self.gates[i - 1], u).relu()
            y_scaled = y * self._near_one(self.scales[i], u)
            hidden, context, skip = self._at(i)
            z = nonnegative_(hidden, h, 1 - SKIPPED)
            z = z + free_(context, u, SKIPPED / 2) + normal_(skip, y_scaled, SKIPPED / 2)
            z = unit_((hidden, context, skip), z)

    def _at(self, i: int) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """Layers W_i (meaningless for i = 0), U_i and V_i."""
        hidden = self.hidden[i - 1] if i > 0 else self.contexts[i]
        return cast(tuple[nn.Linear, nn.Linear, nn.Linear], (hidden, self.contexts[i], self.skips[i]))

    def _layers(self) -> Iterator[Layer]:
        groups = (self.x_path, self.hidden, self.gates, self.skips, self.scales, self.contexts)
        return (cast(nn.Linear, layer) for group in groups for layer in group)

    @staticmethod
    def _near_one(gate: nn.Module, u: Tensor) -> Tensor:
        layer = cast(nn.Linear, gate)
        values = free_(layer, u, _WOBBLE**2)
        layer.bias.fill_(1.0)
        return values + 1.0

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x : (batch, x_features) tensor
        y : (batch, y_features) tensor
            Of the same batch; one x is never paired with several y.

        Returns
        -------
        (batch,) tensor

        Raises
        ------
        NetworkError
            If the inputs have other shapes.
        """
        check_input(x, (self.x_features,), "x")
        check_input(y, (self.y_features,), "y")
        if x.shape[0] != y.shape[0]:
            raise NetworkError(
                f"x and y must be of the same batch, got {x.shape[0]} and {y.shape[0]}; expand one of them"
            )
        u = x
        z = self.contexts[0](u) + self.skips[0](y * self.scales[0](u))
        for i, hidden in enumerate(self.hidden):
            u = self.x_activation(self.x_path[i](u))
            z = hidden(self.activation(z) * torch.relu(self.gates[i](u)))
            z = z + self.skips[i + 1](y * self.scales[i + 1](u)) + self.contexts[i + 1](u)
        value: Tensor = z.squeeze(1)
        return value if self.quadratic is None else value + self.quadratic(y)

    @torch.no_grad()
    def at(self, x: Tensor) -> FICNN:
        """Fix x: the convex function y -> f(x, y) as a network of its own.

        Parameters
        ----------
        x : (x_features,) tensor

        Returns
        -------
        FICNN
            In y, with weights of its own: it shares nothing with this network, and later training of the one
            does not change the other. Its weights are products of this network's weights and gates, rounded
            to its dtype.

        Raises
        ------
        NetworkError
            If x has another shape, or a weight becomes infinite.
        """
        if isinstance(x, Tensor) and x.ndim != 1:
            raise NetworkError(
                f"x must be a single point of shape ({self.x_features},), got {tuple(x.shape)}"
            )
        u = x.unsqueeze(0) if isinstance(x, Tensor) else x
        check_input(u, (self.x_features,), "x")
        state: dict[str, Tensor] = {}
        for i in range(len(self.widths) + 1):
            hidden, context, skip = self._at(i)
            here = skip.weight * self.scales[i](u)
            if i == 0:
                state["first.weight"], state["first.bias"] = here, context(u)[0]
            else:
                gate = torch.relu(self.gates[i - 1](u))
                state[f"skips.{i - 1}.weight"] = here
                state[f"hidden.{i - 1}.weight"] = hidden.weight * gate
                state[f"hidden.{i - 1}.bias"] = hidden.bias + context(u)[0]
            if i < len(self.x_path):
                u = self.x_activation(self.x_path[i](u))
        # Made without numbers, so that no random ones are drawn for weights that are overwritten.
        result = FICNN(
            self.y_features,
            self.widths,
            copy.deepcopy(self.activation),
            constraint="clamp",
            quadratic=self.strong_convexity,
            device="meta",
            dtype=here.dtype,
        )
        result.load_state_dict(state, assign=True)
        return result.train(self.training)
