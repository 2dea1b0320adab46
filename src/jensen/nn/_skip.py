"""Unconstrained networks whose input skips to every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from jensen.nn._dense import Dense
from jensen.nn._initialisation import Initialisation


class SkipMLP(Dense):
    """A `FICNN` whose weights are free: convex only if it happens to be, which `jensen.check` decides.

    z_1 = g(V_0 x + b_0), z_{i+1} = g(W_i z_i + V_i x + b_i), f(x) = W_k z_k + V_k x + b_k + (mu/2) |x|^2.

    Parameters
    ----------
    in_features : int
        Number of inputs d.
    widths : sequence of int
        Number of neurons of each hidden layer; without any the network is affine.
    activation : str or torch.nn.Module, default "relu"
        As for `FICNN`.
    quadratic : float, default 0.0
        mu. With another value than 0 the network is not piecewise linear.
    skips : bool, default True
        Whether the input passes through to every layer (the V_i with i > 0).
    initialisation : {"principled", "torch"}
        "principled" keeps the second moment of the pre-activations through the depth, for inputs with mean 0
        and variance 1 (He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015); "torch" is torch's own.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or the activation is not convex and non-decreasing.

    Notes
    -----
    It takes the weights of a `FICNN` of the same shape: ``mlp.load_state_dict(plain_state_dict(ficnn))``.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        activation: str | nn.Module = "relu",
        *,
        quadratic: float = 0.0,
        skips: bool = True,
        initialisation: Initialisation = "principled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features, widths, activation, None, quadratic, skips, initialisation, device, dtype
        )
