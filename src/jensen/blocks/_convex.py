"""The convex problem that is left of a loss where outputs are affine in the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
_SAFE = 1e-9
"""What is added to second derivatives, as a share of these, with which it may be divided by."""


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


class _Second:
    """Second derivatives J' D J, of which D is made of blocks.

    Parameters
    ----------
    blocks : (groups, k, k) tensor
    jacobian : (groups * k, p) tensor
    """

    def __init__(self, blocks: torch.Tensor, jacobian: torch.Tensor) -> None:
        self.blocks, self.jacobian = blocks, jacobian
        self.table = jacobian.reshape(len(blocks), blocks.shape[1], -1)

    @cached_property
    def product(self) -> torch.Tensor:
        """D J."""
        return _times(self.blocks, self.table).reshape(self.jacobian.shape)

    @cached_property
    def diagonal(self) -> torch.Tensor:
        """Second derivatives along the entries."""
        return (self.jacobian * self.product).sum(0)

    @cached_property
    def matrix(self) -> torch.Tensor:
        """All of them."""
        return self.jacobian.T @ self.product

    def solver(self, added: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Factorise J' D J + diag(added), in the smaller of outputs and entries; None if not finite."""
        size = float(self.diagonal.max()) + float(added.max())
        if not np.isfinite(size):
            return None
        rows, columns = self.jacobian.shape
        if rows < columns and float(added.min()) > _SAFE * size:
            return self._by_rows(added)
        # A little of the identity: the layers of a network rarely determine every weight.
        ridge = _RIDGE * size + 1e-300
        while True:
            factor, failed = torch.linalg.cholesky_ex(self.matrix + torch.diag(added + ridge))
            if not int(failed):
                return lambda right: torch.cholesky_solve(right[:, None], factor)[:, 0]
            ridge *= 1e3

    def _by_rows(self, added: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Factorise I + U diag(added)^-1 U' instead, where D = R R' and U = R' J (Woodbury's identity)."""
        values, vectors = torch.linalg.eigh(self.blocks)
        roots = (vectors * values.clamp(min=0.0).sqrt()[:, None, :]).transpose(1, 2)
        rooted = _times(roots, self.table).reshape(self.jacobian.shape)
        scaled = rooted / added
        factor = torch.linalg.cholesky(scaled @ rooted.T + torch.eye(len(rooted), dtype=added.dtype))

        def solve(right: torch.Tensor) -> torch.Tensor:
            inner = torch.cholesky_solve((scaled @ right)[:, None], factor)[:, 0]
            return right / added - scaled.T @ inner

        return solve


def _times(blocks: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Multiply block by block; blocks of one entry by broadcasting, which is faster."""
    return blocks * table if blocks.shape[1] == 1 else blocks @ table


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
        self._first: tuple[float, torch.Tensor, _Second] | None = None
        self._hinged: tuple[float, FloatArray, FloatArray, FloatArray] | None = None

    def value(self, d: torch.Tensor) -> float:
        """Evaluate, without the pull."""
        value = self.tail.value(self.outputs + self.jacobian @ d)
        return value + self.decay / 2 * float((self.start + d).square().sum())

    def curvature(self) -> torch.Tensor:
        """Second derivatives along the entries, at no step; of hinges, of squares of their size."""
        if self.tail.network is None:
            return self._at_start()[2].diagonal
        return self.jacobian.square().mean(0)

    def minimum(self, pull: torch.Tensor | None, tolerance: float) -> Solution | None:
        """Find the step, h being smooth or a sum of hinges; None where no minimum is found."""
        weights = torch.zeros_like(self.start) if pull is None else pull
        if self.tail.network is None:
            return self._newton(weights, tolerance)
        return self._by_hinges(weights, tolerance)

    def _bends(self, d: torch.Tensor) -> tuple[float, torch.Tensor, _Second]:
        """Value and gradient, without the pull, and second derivatives, without decay and pull."""
        value, gradient, second = self.tail.bends(self.outputs + self.jacobian @ d)
        there = self.start + d
        value += self.decay / 2 * float(there.square().sum())
        return value, self.jacobian.T @ gradient + self.decay * there, _Second(second, self.jacobian)

    def _at_start(self) -> tuple[float, torch.Tensor, _Second]:
        if self._first is None:
            self._first = self._bends(torch.zeros_like(self.start))
        return self._first

    def _newton(self, pull: torch.Tensor, tolerance: float) -> Solution | None:
        d = torch.zeros_like(self.start)
        gap = np.inf
        for step_number in range(_NEWTON_STEPS):
            value, gradient, second = self._bends(d) if step_number else self._at_start()
            gradient = gradient + pull * d
            solve = second.solver(pull + self.decay)
            if solve is None:
                return None
            step = -solve(gradient)
            slope = float(gradient @ step)
            if not np.isfinite(slope):
                return None
            gap = max(-slope, 0.0) / 2
            if gap <= tolerance:
                break
            whole = value + float((pull * d) @ d) / 2
            there = self.value(d + step) + float((pull * (d + step)) @ (d + step)) / 2
            if abs(there - whole - slope / 2) <= tolerance:
                # As good as quadratic, which second derivatives at the new point would but confirm.
                return Solution(d + step, abs(there - whole - slope / 2))
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

    def inside(self, radius: float, seconds: float | None) -> Solution | None:
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
        box = Box(-radius, radius)
        found = argmin(composed, box, method="lp", assume_convex=True, time_limit=seconds)
        if not np.isfinite(found.point).all():
            return None
        return Solution(torch.from_numpy(np.array(found.point)), found.gap * self.tail.scale)
