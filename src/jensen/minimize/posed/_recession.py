"""How a network grows far out: along a ray it ends up as itself without its biases."""

from __future__ import annotations

import numpy as np

from jensen.certify._bounds import magnitudes
from jensen.minimize.posed._feasible import moved_inside
from jensen.minimize.posed._icnn import rounding_factor
from jensen.minimize.posed._polyhedron import Polyhedron
from jensen.network import FloatArray, ReLUNetwork


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


def falling_ray(
    network: ReLUNetwork, inside: Polyhedron, tilt: FloatArray, ray: FloatArray
) -> FloatArray | None:
    """Give a ray of the domain at or near this one, along which net(y) + tilt . y falls without end.

    Its largest entry is 1. It leans over no row by more than rounding errors, and falls by more than they
    are. None if there is none so close.
    """
    if not (np.isfinite(ray).all() and ray.any()):
        return None
    cone = Polyhedron(
        np.where(np.isfinite(inside.lo), 0.0, -1.0),
        np.where(np.isfinite(inside.hi), 0.0, 1.0),
        inside.rows,
        np.zeros(len(inside.right)),
    )
    along = moved_inside(cone, ray / np.abs(ray).max())
    if along is None or not along.any():
        return None
    along = along / np.abs(along).max()
    rate, error = recession(network, along)
    error += 4.0 * (len(ray) + 4) * float(np.finfo(np.float64).eps) * float(np.abs(tilt) @ np.abs(along))
    return along if rate + float(tilt @ along) < -4.0 * error else None
