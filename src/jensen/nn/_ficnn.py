"""Fully input convex networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from jensen.nn._dense import Dense
from jensen.nn._initialisation import Initialisation
from jensen.nn._nonnegative import NonnegativeMap


class FICNN(Dense):
    """Fully input convex network: a convex function of all its inputs, whatever its parameters are.

    z_1 = g(V_0 x + b_0), z_{i+1} = g(W_i z_i + V_i x + b_i), f(x) = W_k z_k + V_k x + b_k + (mu/2) |x|^2 with
    all W_i >= 0 and g convex and non-decreasing (Amos, Xu and Kolter, "Input Convex Neural Networks", ICML
    2017, equation 2 and proposition 1; the last activation is the identity).

    Parameters
    ----------
    in_features : int
        Number of inputs d.
    widths : sequence of int
        Number of neurons of each hidden layer; without any the network is affine.
    activation : str or torch.nn.Module, default "relu"
        Convex and non-decreasing: "relu", "leaky_relu", "softplus", "elu", "celu", "squared_relu", a module
        of torch of one of these kinds, or a `ConvexActivation` of your own.
    constraint : str or type of NonnegativeMap, default "abs"
        The map that keeps the W_i nonnegative: "clamp", "abs", "square", "exp", "softplus",
        "pseudo_huber", or a class of your own.
    quadratic : float, default 0.0
        mu, with which the network is strongly convex. It is not piecewise linear then.
    skips : bool, default True
        Whether the input passes through to every layer (the V_i with i > 0).
    initialisation : {"principled", "torch"}
        "principled" keeps mean and variance of the pre-activations through the depth, for inputs with mean 0
        and variance 1; "torch" draws the free parameters as torch does.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or the activation is not convex and non-decreasing.

    Examples
    --------
    >>> import jensen, torch
    >>> net = jensen.nn.FICNN(2, (16, 16))
    >>> net(torch.zeros(4, 2)).shape
    torch.Size([4])
    >>> jensen.check(net).kind
    'convex'
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        activation: str | nn.Module = "relu",
        *,
        constraint: str | type[NonnegativeMap] = "abs",
        quadratic: float = 0.0,
        skips: bool = True,
        initialisation: Initialisation = "principled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features, widths, activation, constraint, quadratic, skips, initialisation, device, dtype
        )

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """(0,): the network is convex in its input, as long as the constraints are in place."""
        return (0,) if self._is_constrained() else ()
