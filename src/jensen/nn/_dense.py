"""The skeleton of fully connected networks whose input skips to every layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from jensen.nn._activation import as_activation
from jensen.nn._architecture import Architecture, as_quadratic, as_size, as_sizes, check_input
from jensen.nn._initialisation import (
    SKIPPED,
    Initialisation,
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


class Dense(Architecture):
    """z_1 = g(V_0 x + b_0), z_{i+1} = g(W_i z_i + V_i x + b_i), f = W_k z_k + V_k x + b_k + (mu/2) |x|^2.

    The W_i are nonnegative where a constraint is given.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        activation: str | nn.Module,
        constraint: str | type[NonnegativeMap] | None,
        quadratic: float,
        skips: bool,
        initialisation: Initialisation,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.in_features = as_size(in_features, "in_features")
        self.widths = as_sizes(widths, "widths")
        self.initialisation = as_initialisation(initialisation)
        self.activation = as_activation(activation)
        sizes = [*self.widths, 1]
        self.first = nn.Linear(self.in_features, sizes[0], device=device, dtype=dtype)
        self.hidden = nn.ModuleList(
            nn.Linear(a, b, device=device, dtype=dtype)
            if constraint is None
            else NonnegativeLinear(a, b, constraint=constraint, device=device, dtype=dtype, initialise=False)
            for a, b in pairwise(sizes)
        )
        later = sizes[1:] if skips else []
        self.skips = nn.ModuleList(
            nn.Linear(self.in_features, n, bias=False, device=device, dtype=dtype) for n in later
        )
        self.quadratic = as_quadratic(quadratic)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise all weights anew."""
        with torch.no_grad():
            self._initialise()

    def _initialise(self) -> None:
        if self.initialisation == "torch":
            for layer in (self.first, *self.hidden, *self.skips):
                torch_(cast(nn.Linear, layer))
            return
        x = samples(self.first, (self.in_features,))
        z = first_(self.first, x)
        for i, layer in enumerate(self.hidden):
            passed = SKIPPED if len(self.skips) > 0 else 0.0
            fill = nonnegative_ if isinstance(layer, NonnegativeLinear) else free_
            z = fill(cast(nn.Linear, layer), self.activation(z), 1 - passed)
            if len(self.skips) > 0:
                skip = cast(nn.Linear, self.skips[i])
                z = unit_((cast(nn.Linear, layer), skip), z + normal_(skip, x, passed))

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
        z = self.first(x)
        for i, layer in enumerate(self.hidden):
            z = layer(self.activation(z))
            if len(self.skips) > 0:
                z = z + self.skips[i](x)
        value: Tensor = z.squeeze(1)
        return value if self.quadratic is None else value + self.quadratic(x)
