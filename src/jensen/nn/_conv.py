"""Convolutional input convex networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal, cast

import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.nn._activation import as_activation
from jensen.nn._architecture import Architecture, as_quadratic, as_size, as_sizes, check_input
from jensen.nn._initialisation import (
    SKIPPED,
    Initialisation,
    Layer,
    as_initialisation,
    first_,
    nonnegative_,
    normal_,
    samples,
    torch_,
    unit_,
)
from jensen.nn._layers import NonnegativeConv2d, NonnegativeLinear
from jensen.nn._nonnegative import NonnegativeMap


class ConvICNN(Architecture):
    """Convolutional network that is a convex function of an image, whatever its parameters are.

    z_1 = g(V_0 * x + b_0), z_{i+1} = g(W_i * z_i + V_i * x + b_i), f(x) = w.z_k + v.x + b + (mu/2) |x|^2 with
    convolutions, all W_i and w nonnegative, and g convex and non-decreasing (Amos, Xu and Kolter, "Input
    Convex Neural Networks", ICML 2017, section 3.1 on convolutions and proposition 1).

    Parameters
    ----------
    input_shape : (int, int, int)
        Channels, height and width of an image.
    channels : sequence of int
        Channels of each hidden layer; at least one layer.
    activation : str or torch.nn.Module, default "relu"
        As for `FICNN`.
    kernel_size : int or sequence of int, default 3
        Odd, of all layers or of each; the padding is (kernel_size - 1) / 2.
    stride : int or sequence of int, default 1
        Of all layers or of each.
    constraint : str or type of NonnegativeMap, default "abs"
        The map that keeps the W_i and w nonnegative, as for `FICNN`.
    quadratic : float, default 0.0
        mu, with which the network is strongly convex.
    skips : bool, default True
        Whether the image passes through to every layer (the V_i with i > 0, and v). Where the layers have
        strides, V_i has their product, and a kernel large enough to see every pixel.
    head : {"flatten", "mean"}
        Whether w has an entry for every unit of the last layer, or one for each channel, of which the mean
        over the image is taken.
    initialisation : {"principled", "torch"}
        As for `FICNN`.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or the activation is not convex and non-decreasing.

    Examples
    --------
    >>> import jensen, torch
    >>> net = jensen.nn.ConvICNN((1, 8, 8), (4, 4), stride=2)
    >>> net(torch.zeros(4, 1, 8, 8)).shape
    torch.Size([4])
    >>> jensen.check(net, input_shape=net.input_shape).kind
    'convex'
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        channels: Sequence[int],
        activation: str | nn.Module = "relu",
        *,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        constraint: str | type[NonnegativeMap] = "abs",
        quadratic: float = 0.0,
        skips: bool = True,
        head: Literal["flatten", "mean"] = "flatten",
        initialisation: Initialisation = "principled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_shape = as_sizes(input_shape, "input_shape")
        self.channels = as_sizes(channels, "channels")
        if len(self.input_shape) != 3 or not self.channels:
            raise ArgumentError(
                "input_shape must be (channels, height, width) and channels name at least one layer, got "
                f"{self.input_shape} and {self.channels}"
            )
        if head not in ("flatten", "mean"):
            raise ArgumentError(f"head must be 'flatten' or 'mean', got {head!r}")
        self.head = head
        self.initialisation = as_initialisation(initialisation)
        self.activation = as_activation(activation)
        kernels = _of_each(kernel_size, len(self.channels), "kernel_size")
        strides = _of_each(stride, len(self.channels), "stride")
        if any(k % 2 == 0 for k in kernels):
            raise ArgumentError(f"kernel_size must be odd, got {kernel_size}")
        planes, total = self.input_shape[0], strides[0]

        def look(n: int, kernel: int, step: int, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(planes, n, kernel, step, kernel // 2, bias=bias, device=device, dtype=dtype)

        self.first = look(self.channels[0], kernels[0], total, bias=True)
        self.hidden, self.skips = nn.ModuleList(), nn.ModuleList()
        for i, (a, b) in enumerate(pairwise(self.channels), start=1):
            k, s = kernels[i], strides[i]
            self.hidden.append(
                NonnegativeConv2d(
                    a, b, k, s, k // 2, constraint=constraint, device=device, dtype=dtype, initialise=False
                )
            )
            total *= s
            if skips:
                self.skips.append(look(b, max(k, total | 1), total, bias=False))
        positions = 1 if head == "mean" else prod(-(-n // total) for n in self.input_shape[1:])
        pixels = 1 if head == "mean" else prod(self.input_shape[1:])
        self.last = NonnegativeLinear(
            self.channels[-1] * positions,
            1,
            constraint=constraint,
            device=device,
            dtype=dtype,
            initialise=False,
        )
        self.last_skip = nn.Linear(planes * pixels, 1, False, device, dtype) if skips else None
        self.quadratic = as_quadratic(quadratic)
        self.reset_parameters()

    @property
    def convex_arguments(self) -> tuple[int, ...]:
        """(0,): the network is convex in its input, as long as the constraints are in place."""
        return (0,) if self._is_constrained() else ()

    def reset_parameters(self) -> None:
        """Initialise all weights anew."""
        if self.initialisation == "torch":
            last = (self.last,) if self.last_skip is None else (self.last, self.last_skip)
            for layer in (self.first, *self.hidden, *self.skips, *last):
                torch_(cast(Layer, layer))
            return
        with torch.no_grad():
            self._initialise()

    def _initialise(self) -> None:
        passed = 0.0 if self.last_skip is None else SKIPPED
        x = samples(self.first, self.input_shape)
        z = first_(self.first, x)
        for i, layer in enumerate(self.hidden):
            hidden = cast(nn.Conv2d, layer)
            z = nonnegative_(hidden, self.activation(z), 1 - passed)
            if len(self.skips) > 0:
                skip = cast(nn.Conv2d, self.skips[i])
                z = unit_((hidden, skip), z + normal_(skip, x, passed))
        out = nonnegative_(self.last, self._flat(self.activation(z)), 1 - passed)
        if self.last_skip is not None:
            unit_((self.last, self.last_skip), out + normal_(self.last_skip, self._flat(x), passed))

    def _flat(self, z: Tensor) -> Tensor:
        return z.mean((2, 3)) if self.head == "mean" else z.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x : (batch, channels, height, width) tensor

        Returns
        -------
        (batch,) tensor

        Raises
        ------
        NetworkError
            If the input has another shape.
        """
        check_input(x, self.input_shape, "x")
        z = self.first(x)
        for i, layer in enumerate(self.hidden):
            z = layer(self.activation(z))
            if len(self.skips) > 0:
                z = z + self.skips[i](x)
        out = self.last(self._flat(self.activation(z)))
        if self.last_skip is not None:
            out = out + self.last_skip(self._flat(x))
        value: Tensor = out.squeeze(1)
        return value if self.quadratic is None else value + self.quadratic(x)


def _of_each(value: int | Sequence[int], count: int, what: str) -> tuple[int, ...]:
    values = as_sizes(value, what) if isinstance(value, Sequence) else (as_size(value, what),) * count
    if len(values) != count:
        raise ArgumentError(f"{what} must be one number or {count} of them, got {len(values)}")
    return values
