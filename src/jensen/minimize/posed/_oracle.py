"""Values and subgradients in float64, of ReLU networks and of torch functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.certify._bounds import magnitudes
from jensen.errors import ArgumentError
from jensen.minimize.posed._affine import Affine
from jensen.minimize.posed._icnn import rounding_factor
from jensen.network import FloatArray, ReLUNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

_NEAR = 1e-11
"""Pre-activations below this, relative to the terms they are sums of, may have either sign."""
_NUDGE = 1e-9


class Oracle(ABC):
    """A convex function that is known by its values and subgradients.

    Attributes
    ----------
    size : int
        Number of variables.
    asymptote : ReLUNetwork or None
        A network that grows like the function along every ray; None where no such is known.
    """

    size: int
    asymptote: ReLUNetwork | None

    @abstractmethod
    def support(self, y: FloatArray, anchor: FloatArray | None = None) -> tuple[float, Affine, FloatArray]:
        """Compute the value at y, and an affine function below the convex one that touches it at or near y.

        Parameters
        ----------
        y : (n,) array
            In the domain.
        anchor : (n,) array, optional
            A point of the domain in general position. Where y may be on several kinks, the gradient is taken
            a little towards it: inside the domain, for beyond it the function need not be convex. Without it
            the affine function means nothing at kinks.

        Returns
        -------
        value : float
        affine : Affine
            Known by its value and slope at the point that comes next.
        point : (n,) array
            y, or a point so close that it makes no difference, at which the function has a gradient.
        """


class NetworkOracle(Oracle):
    """A ReLU network that is known to be convex, whatever the signs of its weights.

    At a point on several kinks the pattern that a forward pass reads off need not be that of any region, and
    its gradient no subgradient: such points are moved by 1e-9 first.
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.network, self.size, self.asymptote = network, network.input_size, network
        self._factor = rounding_factor(network)
        self._sizes = [
            ({k: magnitudes(w) for k, w in layer.weights.items()}, np.abs(layer.bias))
            for layer in network.layers
        ]
        self._out = {k: magnitudes(w) for k, w in network.output_weights.items()}
        steep = [np.maximum(1.0, np.abs(layer.negative_slope)) for layer in network.layers]
        mass = [np.zeros(k) for k in (self.size, *network.widths)]
        for k, w in self._out.items():
            mass[k] += np.asarray(w.T @ np.ones(1))
        for position in range(network.depth, 0, -1):
            onward = steep[position - 1] * mass[position]
            for k, w in self._sizes[position - 1][0].items():
                mass[k] += np.asarray(w.T @ onward)
        self._mass = mass[0]

    def support(self, y: FloatArray, anchor: FloatArray | None = None) -> tuple[float, Affine, FloatArray]:
        point = y
        pre, out = self.network.forward(point[None])
        value = float(out[0])
        reaches, size = self._reaches(point, pre)
        near = any((np.abs(z[0]) <= _NEAR * reach).any() for z, reach in zip(pre, reaches, strict=True))
        if near and anchor is not None:
            point = nudged(y, anchor)
            pre, out = self.network.forward(point[None])
            size = self._reaches(point, pre)[1]
        slope = self.network.backward(self.network.slopes(pre))[0][0]
        return value, Affine(float(out[0]), slope, self._factor * size, self._factor * self._mass), point

    def _reaches(self, y: FloatArray, pre: list[FloatArray]) -> tuple[list[FloatArray], float]:
        """Sum up absolute terms behind every pre-activation and behind the output, less what is off."""
        sizes, reaches, clear = [np.abs(y) + _NUDGE], [], max(_NEAR, self._factor)
        for (weights, bias), z, layer in zip(self._sizes, pre, self.network.layers, strict=True):
            total = bias.copy()
            for k, w in weights.items():
                total += w @ sizes[k]
            reaches.append(total)
            slope = np.abs(layer.negative_slope)
            sizes.append(np.where(z[0] < -clear * total, slope, np.maximum(1.0, slope)) * total)
        whole = abs(self.network.output_bias)
        return reaches, whole + sum(float((w @ sizes[k])[0]) for k, w in self._out.items())


class TorchOracle(Oracle):
    """A function of torch, run in float64: a module, or any callable that maps a batch of y to values.

    Parameters
    ----------
    f : callable
        Maps (1, *shape) float64 tensors to one value.
    shape : tuple of int
    exact : bool, default False
        Whether torch's gradient is a subgradient everywhere. It is in architectures that are convex by
        construction; at a kink of others it need not be (relu(y) - relu(-y) has the gradient 0 at 0), and
        gradients are taken a little beside all points.
    asymptote : ReLUNetwork, optional
        Values, however far out, tell nothing: beyond them the function may turn.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        shape: tuple[int, ...],
        exact: bool = False,
        asymptote: ReLUNetwork | None = None,
    ) -> None:
        self.f, self.shape, self.exact, self.asymptote = f, shape, exact, asymptote
        self.size = int(np.prod(shape))

    def support(self, y: FloatArray, anchor: FloatArray | None = None) -> tuple[float, Affine, FloatArray]:
        if self.exact or anchor is None or np.array_equal(y, anchor):
            value, affine = self._touch(y)
            return value, affine, y
        point = nudged(y, anchor)
        return self._touch(y)[0], self._touch(point)[1], point

    def _touch(self, y: FloatArray) -> tuple[float, Affine]:
        import torch

        point = torch.from_numpy(y.copy()).reshape(1, *self.shape).requires_grad_(True)
        with torch.enable_grad():
            value = self.f(point)
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
                raise ArgumentError(f"f must map a tensor of points to one value for each, got {got}")
            slope = None
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.reshape(()), point, allow_unused=True)
        gradient = np.zeros(self.size) if slope is None else slope.reshape(-1).numpy().astype(np.float64)
        number = float(value.detach())
        if not (np.isfinite(number) and np.isfinite(gradient).all()):
            raise ArgumentError(f"f or its gradient is not finite at {np.array2string(y, threshold=6)}")
        eps = 8.0 * float(np.finfo(np.float64).eps)
        return number, Affine(number, gradient, eps * abs(number), eps * np.abs(gradient))


def nudged(y: FloatArray, anchor: FloatArray) -> FloatArray:
    """Move a point by 1e-9, relative to max(1, |y|), towards another."""
    step = anchor - y
    longest = float(np.abs(step).max(initial=0.0))
    if longest == 0.0:
        return y
    span = _NUDGE * max(1.0, float(np.abs(y).max()))
    return y + min(span / longest, 0.5) * step
