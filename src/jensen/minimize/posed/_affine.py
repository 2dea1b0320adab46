"""Affine functions below a convex function, with their rounding errors, and their least value on a domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jensen.certify._bounds import magnitudes
from jensen.minimize.posed._icnn import EPS, rounding_factor
from jensen.network import FloatArray, ReLUNetwork

if TYPE_CHECKING:
    from jensen.minimize.posed._polyhedron import Polyhedron

RADIUS = 1e3
"""How far lower bounds reach along unbounded variables, in units of max(1, |y|)."""
LEFT_OVER = 1e4
"""A slope along an unbounded variable counts as rounding up to so many times the bound on its own error."""


@dataclass(frozen=True)
class Affine:
    """An affine function: its value at a point y, its slope, and by how much both may be off.

    Attributes
    ----------
    value, error : float
    slope, slope_error : (n,) arrays
    """

    value: float
    slope: FloatArray
    error: float
    slope_error: FloatArray

    def plus(self, tilt: FloatArray, y: FloatArray) -> Affine:
        """Add tilt . y."""
        factor = 4.0 * (len(y) + 4) * EPS
        return Affine(
            self.value + float(tilt @ y),
            self.slope + tilt,
            self.error + factor * (abs(self.value) + float(np.abs(tilt) @ np.abs(y))),
            self.slope_error + factor * (np.abs(self.slope) + np.abs(tilt)),
        )

    def plus_rows(self, inside: Polyhedron, price: FloatArray, y: FloatArray) -> Affine:
        """Add nonnegative multiples of the rows of a domain, which are at most 0 on it."""
        if not price.any():
            return self
        rows = np.abs(inside.rows)
        factor = 4.0 * (len(y) + len(price) + 4) * EPS
        return Affine(
            self.value + float(price @ (inside.rows @ y - inside.right)),
            self.slope + price @ inside.rows,
            self.error
            + factor * (abs(self.value) + float(price @ (rows @ np.abs(y) + np.abs(inside.right)))),
            self.slope_error + factor * (np.abs(self.slope) + price @ rows),
        )


def box_minimum(affine: Affine, inside: Polyhedron, y: FloatArray, curvature: float = 0.0) -> float:
    """Least value of affine(w) + (curvature / 2) |w - y|^2 over the bounds of a domain, less rounding errors.

    Without curvature, variables without bound move within `RADIUS` max(1, |y|) of y, and the answer is -inf
    where more than rounding is left of the slope along them.
    """
    radius = np.inf if curvature > 0 else RADIUS * max(1.0, float(np.abs(y).max(initial=0.0)))
    left = np.where(np.isfinite(inside.lo), np.minimum(inside.lo - y, 0.0), -radius)
    right = np.where(np.isfinite(inside.hi), np.maximum(inside.hi - y, 0.0), radius)
    low, high = affine.slope - affine.slope_error, affine.slope + affine.slope_error
    if curvature > 0:
        down, up = np.clip(-high / curvature, left, 0.0), np.clip(-low / curvature, 0.0, right)
        falls = np.minimum(down * (high + curvature / 2 * down), up * (low + curvature / 2 * up))
    else:
        endless = np.where(affine.slope < 0, np.isinf(inside.hi), np.isinf(inside.lo))
        if (endless & (np.abs(affine.slope) > LEFT_OVER * affine.slope_error)).any():
            return -np.inf
        falls = np.minimum(low * right, high * left)
    total = float(np.minimum(falls, 0.0).sum())
    allowance = affine.error + 4.0 * (len(y) + 4) * EPS * (abs(affine.value) + abs(total))
    return affine.value + total - allowance


def minorant(network: ReLUNetwork, upper: FloatArray, lower: FloatArray, y: FloatArray) -> Affine:
    """Make an affine function below an input convex network out of multipliers of its epigraph's rows.

    Any slopes sigma_v in [slope, 1] in place of the activations make the network affine and nowhere larger;
    those that multipliers stand for are sigma_v = (upper_v + slope lower_v) / (df/dh_v).

    Parameters
    ----------
    network : ReLUNetwork
    upper, lower : (N,) arrays
        Nonnegative multipliers of the rows h >= z and h >= slope z.
    y : (n,) array
        Where its value is wanted.
    """
    ends = np.cumsum(network.widths)
    grads: list[FloatArray] = [np.zeros(k) for k in (network.input_size, *network.widths)]
    sigmas: list[FloatArray] = [np.zeros(0)] * network.depth
    for k, w in network.output_weights.items():
        grads[k] += (w.T @ np.ones(1)) if w.shape[0] else 0.0
    for position in range(network.depth, 0, -1):
        layer, adjoint = network.layers[position - 1], grads[position]
        span = slice(int(ends[position - 1]) - layer.size, int(ends[position - 1]))
        wanted = upper[span] + layer.negative_slope * lower[span]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(adjoint > 0, wanted / adjoint, layer.negative_slope)
        sigmas[position - 1] = np.clip(share, layer.negative_slope, 1.0)
        for k, w in layer.weights.items():
            grads[k] += w.T @ (sigmas[position - 1] * adjoint)
    values, sizes = [y], [np.abs(y)]
    mass = [np.zeros_like(g) for g in grads]
    for layer, sigma in zip(network.layers, sigmas, strict=True):
        z, size = layer.bias.copy(), np.abs(layer.bias)
        for k, w in layer.weights.items():
            z += w @ values[k]
            size = size + magnitudes(w) @ sizes[k]
        values.append(sigma * z)
        sizes.append(np.abs(sigma) * size)
    total, error = network.output_bias, abs(network.output_bias)
    for k, w in network.output_weights.items():
        total += float((w @ values[k])[0])
        error += float((magnitudes(w) @ sizes[k])[0])
        mass[k] += magnitudes(w).T @ np.ones(1)
    for position in range(network.depth, 0, -1):
        onward = np.abs(sigmas[position - 1]) * mass[position]
        for k, w in network.layers[position - 1].weights.items():
            mass[k] += magnitudes(w).T @ onward
    factor = rounding_factor(network)
    return Affine(total, grads[0], factor * error, factor * mass[0])
