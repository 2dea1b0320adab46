"""The convex problem that is left of a loss where outputs are affine in the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from jensen.blocks._interior import HingeProblem, interior, simplex
from jensen.blocks._tail import Tail
from jensen.minimize import argmin
from jensen.network import Box, FloatArray, Layer, ReLUNetwork

_NEWTON_STEPS = 50
_HALVINGS = 30
_ARMIJO = 1e-4
_RIDGE = 1e-12


@dataclass(frozen=True, eq=False)
class Solution:
    """A point, and how much lower the function could be.

    Attributes
    ----------
    point : (n,) tensor
    gap : float
        Proved by multipliers, where the loss is piecewise linear; estimated by Newton's method (half its
        decrement); NaN of L-BFGS.
    """

    point: torch.Tensor
    gap: float


class Linearised:
    """Minimises h(outputs + jacobian d) + decay |x + d|^2 / 2 + d . (pull * d) / 2 over steps d.

    Where the outputs are affine in the parameters, that is the loss itself (and the pull).

    Parameters
    ----------
    tail : Tail
        The convex function h.
    outputs : (m,) tensor
    jacobian : (m, p) tensor
    start : (p,) tensor
        The parameters x at which outputs were computed.
    decay : float
    """

    def __init__(
        self, tail: Tail, outputs: torch.Tensor, jacobian: torch.Tensor, start: torch.Tensor, decay: float
    ) -> None:
        self.tail, self.outputs, self.jacobian = tail, outputs, jacobian
        self.start, self.decay = start, decay
        self._first: tuple[float, torch.Tensor, torch.Tensor] | None = None
        self._hinged: tuple[float, FloatArray, FloatArray, FloatArray] | None = None

    def value(self, d: torch.Tensor) -> float:
        """Evaluate, without the pull."""
        value = self.tail.value(self.outputs + self.jacobian @ d)
        return value + self.decay / 2 * float((self.start + d).square().sum())

    def curvature(self) -> torch.Tensor:
        """Second derivatives along the entries, at no step; of hinges, of squares of their size."""
        if self.tail.network is None:
            return self._at_start()[2].diagonal()
        return self.jacobian.square().mean(0)

    def minimum(self, pull: torch.Tensor | None, tolerance: float) -> Solution | None:
        """Find the step; None where there is no minimum, or the solver did not get there."""
        weights = torch.zeros_like(self.start) if pull is None else pull
        if self.tail.network is None:
            return self._newton(weights, tolerance)
        if self.tail.hinges is not None:
            return self._by_hinges(weights, tolerance)
        return None

    def _bends(self, d: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Value, gradient and second derivatives, without the pull."""
        value, gradient, second = self.tail.bends(self.outputs + self.jacobian @ d)
        there = self.start + d
        groups, size, _ = second.shape
        table = self.jacobian.reshape(groups, size, -1)
        product = second * table if size == 1 else second @ table
        hessian = self.jacobian.T @ product.reshape(self.jacobian.shape)
        value += self.decay / 2 * float(there.square().sum())
        return value, self.jacobian.T @ gradient + self.decay * there, hessian

    def _at_start(self) -> tuple[float, torch.Tensor, torch.Tensor]:
        if self._first is None:
            self._first = self._bends(torch.zeros_like(self.start))
        return self._first

    def _newton(self, pull: torch.Tensor, tolerance: float) -> Solution | None:
        d = torch.zeros_like(self.start)
        gap = np.inf
        for step_number in range(_NEWTON_STEPS):
            value, gradient, hessian = self._bends(d) if step_number else self._at_start()
            gradient = gradient + pull * d
            size = float(hessian.diagonal().max()) + float(pull.max())
            # A little of the identity: the layers of a network rarely determine every weight.
            ridge = pull + self.decay + (_RIDGE * size + 1e-300)
            factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag(ridge))
            while int(failed):
                ridge = ridge + 1e3 * _RIDGE * size
                factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag(ridge))
            step = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
            slope = float(gradient @ step)
            if not np.isfinite(slope):
                return None
            gap = max(-slope, 0.0) / 2
            if gap <= tolerance:
                break
            whole = value + float((pull * d) @ d) / 2
            share = self._search(d, step, pull, whole, slope)
            if share == 0:
                break
            d = d + share * step
        return Solution(d, gap)

    def _search(
        self, d: torch.Tensor, step: torch.Tensor, pull: torch.Tensor, value: float, slope: float
    ) -> float:
        """Halve a step until the function falls enough; 0 if it never does."""
        share = 1.0
        for _ in range(_HALVINGS):
            there = d + share * step
            if self.value(there) + float((pull * there) @ there) / 2 < value + _ARMIJO * share * slope:
                return share
            share /= 2
        return 0.0

    def _by_hinges(self, pull: torch.Tensor, tolerance: float) -> Solution | None:
        hinges = self.tail.hinges
        assert hinges is not None
        if self._hinged is None:
            c, jacobian, x = self.outputs.numpy(), self.jacobian.numpy(), self.start.numpy()
            constant = hinges.constant + float(hinges.slope @ c) + self.decay / 2 * float(x @ x)
            slope = hinges.slope @ jacobian + self.decay * x
            self._hinged = constant, slope, hinges.matrix @ jacobian, hinges.matrix @ c + hinges.shift
        constant, slope, matrix, shift = self._hinged
        used = hinges.weights > 0
        quadratic = self.decay + pull.numpy()
        problem = HingeProblem(constant, slope, quadratic, matrix[used], shift[used], hinges.weights[used])
        found = interior(problem, tolerance) if quadratic.all() else simplex(problem)
        return None if found is None else Solution(torch.from_numpy(found.point), found.gap)

    def inside(self, radius: float) -> Solution | None:
        """Minimise over steps of entries no larger than a radius, as a linear programme: for any network h.

        The decay is replaced by its tangent.
        """
        network = self.tail.network
        assert network is not None
        c, jacobian = self.outputs.numpy(), self.jacobian.numpy()

        def shifted(layer: Layer) -> Layer:
            first = layer.weights.get(0)
            if first is None:
                return layer
            weights = {**layer.weights, 0: first @ jacobian}
            return Layer(weights, layer.bias + first @ c, layer.negative_slope)

        outputs = dict(network.output_weights)
        bias = network.output_bias
        direct = self.decay / self.tail.scale * self.start.numpy()[None]
        if 0 in outputs:
            bias += float((outputs[0] @ c)[0])
            direct = direct + outputs[0] @ jacobian
        outputs[0] = direct
        composed = ReLUNetwork(len(self.start), map(shifted, network.layers), outputs, bias)
        found = argmin(composed, Box(-radius, radius), method="lp", assume_convex=True)
        if not np.isfinite(found.point).all():
            return None
        return Solution(torch.from_numpy(np.array(found.point)), found.gap * self.tail.scale)
