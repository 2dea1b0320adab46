"""How a network grows far out: along a ray it ends up as itself without its biases."""

from __future__ import annotations

import numpy as np

from jensen.certify._bounds import magnitudes
from jensen.minimize.posed._icnn import rounding_factor
from jensen.minimize.posed._polyhedron import Polyhedron
from jensen.network import FloatArray, ReLUNetwork

_SLACK = 1e-9
"""By how much a ray of the domain may lean over a row, relative to the row and the ray."""


def recession(network: ReLUNetwork, ray: FloatArray) -> tuple[float, float]:
    """Rate at which the network grows far out along a ray, and a bound on the rounding error of that rate."""
    values, sizes = [ray], [np.abs(ray)]
    for layer in network.layers:
        z, size = np.zeros(layer.size), np.zeros(layer.size)
        for k, w in layer.weights.items():
            z += w @ values[k]
            size += magnitudes(w) @ sizes[k]
        values.append(np.where(z > 0, z, layer.negative_slope * z))
        sizes.append(np.maximum(1.0, np.abs(layer.negative_slope)) * size)
    rate = sum(float((w @ values[k])[0]) for k, w in network.output_weights.items())
    around = sum(float((magnitudes(w) @ sizes[k])[0]) for k, w in network.output_weights.items())
    return rate, rounding_factor(network) * around


def is_ray(inside: Polyhedron, ray: FloatArray) -> bool:
    """Whether the domain contains a ray in this direction from any of its points."""
    size = float(np.abs(ray).max())
    slack = _SLACK * size
    stays = bool((inside.rows @ ray <= slack * np.abs(inside.rows).sum(axis=1)).all())
    low, high = np.isfinite(inside.lo), np.isfinite(inside.hi)
    return stays and bool((ray[low] >= -slack).all() and (ray[high] <= slack).all())


def falls(network: ReLUNetwork, inside: Polyhedron, tilt: FloatArray, ray: FloatArray) -> bool:
    """Whether net(y) + tilt . y falls without end along a ray of the domain, rounding errors considered."""
    rate, error = recession(network, ray)
    error += 4.0 * (len(ray) + 4) * float(np.finfo(np.float64).eps) * float(np.abs(tilt) @ np.abs(ray))
    return is_ray(inside, ray) and rate + float(tilt @ ray) < -4.0 * error
