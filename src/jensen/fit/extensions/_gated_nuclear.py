"""Gated networks with vector outputs, and linear ones: sums of nuclear norms.

Without cones the gauge of a gate's products u a' is the nuclear norm, and the programme min F(sum_p D_p X
Z_p) + lambda sum_p |Z_p|_* is convex in matrices Z_p (d, c). It is solved by accelerated proximal
gradients with restarts; prices are spectral norms, so that every iterate has an exact duality gap. One
gate that is true everywhere makes it the training of a two-layer linear network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit._solution import Status
from jensen.fit.extensions._numbers import positive
from jensen.fit.extensions._vector_network import require_vectors
from jensen.network._numbers import as_count

_CHECK = 10
"""Iterations between duality gaps."""


@dataclass(frozen=True)
class GatedVectors:
    """A gated network with vector outputs, o = sum_p D_p X Z_p.

    Attributes
    ----------
    coefficients : (P, d, c) float64 array
    slopes : (n, c) float64 array
        A dual point.
    objective, lower_bound : float
        In float64; the bound holds for these gates.
    iterations : int
    status : str
    """

    coefficients: Floats
    slopes: Floats
    objective: float
    lower_bound: float
    iterations: int
    status: Status

    @property
    def gap(self) -> float:
        """Objective minus lower bound, relative to the objective."""
        return (self.objective - self.lower_bound) / max(abs(self.objective), 1e-300)

    def neurons(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Write every Z_p as products of gated neurons' weights: sum of w a' with |w| = |a|.

        Returns
        -------
        gates : (m,) int array
            Which gate each neuron has.
        weights : (m, d) array
        outputs : (m, c) array
        """
        left, scale, right = np.linalg.svd(self.coefficients, full_matrices=False)
        gate, k = np.nonzero(scale > 1e-12 * max(float(scale.max(initial=0.0)), 1e-300))
        root = np.sqrt(scale[gate, k])[:, None]
        return gate, left[gate, :, k] * root, right[gate, k] * root


def solve_gated_vectors(
    problem: Problem,
    gates: NDArray[np.bool_],
    *,
    start: Floats | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
) -> GatedVectors:
    """Minimise over gated networks with vector outputs.

    Parameters
    ----------
    problem : Problem
        With y of shape (n, c) and a smooth loss.
    gates : (P, n) bool array
    start : (P, d, c) array, optional
    tolerance : float, default 1e-6
        Relative duality gap that is enough.
    max_iterations : int, default 20,000

    Returns
    -------
    GatedVectors
        With status "optimal" or "iteration_limit"; after a KeyboardInterrupt the best so far, with status
        "interrupted".

    Raises
    ------
    ArgumentError
        If shapes do not fit.
    """
    c = require_vectors(problem)
    n, d = problem.x.shape
    if gates.ndim != 2 or gates.shape[1] != n or gates.dtype != np.bool_:
        raise ArgumentError(f"gates must be a bool array of shape (P, {n}), got {gates.dtype} {gates.shape}")
    if start is not None and (start.shape != (len(gates), d, c) or not np.isfinite(start).all()):
        raise ArgumentError(f"start must be finite with shape {(len(gates), d, c)}, got {start.shape}")
    accuracy = positive(tolerance, "tolerance")
    most = as_count(max_iterations, "max_iterations")
    masks = gates.astype(np.float64)
    wide = (masks.T[:, :, None] * problem.x[:, None]).reshape(n, -1)
    return _Run(problem, wide, (len(gates), d, c)).solve(start, accuracy, most)


class _Run:
    """A solve over blocks: outputs are `wide` times the blocks stacked."""

    def __init__(self, problem: Problem, wide: Floats, shape: tuple[int, int, int]) -> None:
        self.problem, self.wide, self.shape = problem, wide, shape
        scaled = np.sqrt(problem.weights)[:, None] * wide
        curved = problem.loss.most_curved * float(np.linalg.eigvalsh(scaled @ scaled.T)[-1])
        self.step = 1 / max(curved, 1e-300)
        self.best: tuple[float, Floats] = (np.inf, np.zeros(shape))
        self.bound: tuple[float, Floats] = (-np.inf, np.zeros_like(problem.y))

    def push(self, z: Floats) -> Floats:
        return np.asarray(self.wide @ z.reshape(-1, self.shape[2]))

    def gradient(self, fitted: Floats) -> Floats:
        signal = self.problem.pull(self.problem.loss.slope(fitted, self.problem.y))
        return np.asarray((self.wide.T @ signal).reshape(self.shape))

    def shrink(self, z: Floats) -> Floats:
        """Proximal map of the nuclear norms."""
        left, scale, right = np.linalg.svd(z, full_matrices=False)
        scale = np.maximum(scale - self.step * self.problem.regularisation, 0)
        return np.asarray((left * scale[:, None]) @ right)

    def look(self, z: Floats) -> float:
        """Take note of a point and of its dual point; the relative gap so far."""
        fitted = self.push(z)
        norm = float(np.linalg.svd(z, compute_uv=False).sum())
        value = self.problem.primal(fitted, norm)
        if value < self.best[0]:
            self.best = (value, z)
        slopes = self.problem.loss.slope(fitted, self.problem.y)
        pulled = (self.wide.T @ self.problem.pull(slopes)).reshape(self.shape)
        price = float(np.linalg.norm(pulled, 2, axis=(1, 2)).max(initial=0.0))
        bound = self.problem.scaled_dual(slopes, price)[0]
        if bound > self.bound[0]:
            self.bound = (bound, slopes)
        return (self.best[0] - self.bound[0]) / max(abs(self.best[0]), 1e-300)

    def solve(self, start: Floats | None, tolerance: float, most: int) -> GatedVectors:
        z = np.zeros(self.shape) if start is None else start
        status: Status = "iteration_limit"
        ahead, momentum, iteration = z, 1.0, 0
        if self.look(z) <= tolerance:
            status, most = "optimal", 0
        try:
            while iteration < most:
                iteration += 1
                after = self.shrink(ahead - self.step * self.gradient(self.push(ahead)))
                change = after - z
                if float(((ahead - after) * change).sum()) > 0:
                    momentum = 1.0
                following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
                ahead = after + (momentum - 1) / following * change
                z, momentum = after, following
                if iteration % _CHECK == 0 and self.look(z) <= tolerance:
                    status = "optimal"
                    break
        except KeyboardInterrupt:
            status = "interrupted"
        return GatedVectors(self.best[1], self.bound[1], self.best[0], self.bound[0], iteration, status)
