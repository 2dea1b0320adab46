"""Compiled lower bounds: an affine function that lies below the network everywhere, and its minimum.

With slopes sigma_v in [slope, 1] in place of the activations, and later weights that are nonnegative, what
the network computes is affine and nowhere above it, since relu(z) >= sigma z. So any choice of sigma gives a
bound, whatever it was found by.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.minimize.posed._affine import LEFT_OVER
from jensen.minimize.walk._active import reprice
from jensen.minimize.walk._passes import HELD, ON, Packed, matrix
from jensen.minimize.walk._state import COUNT, Goal, Walk
from jensen.network import FloatArray


@njit(cache=True, nogil=True)
def linear_value(net: Packed, sigma: FloatArray, value: FloatArray) -> float:
    """Evaluate the network (without the output's bias) with the given slopes; inputs stand in `value`."""
    n = net.inputs
    b = 0
    for layer in range(1, len(net.starts) - 1):
        lo, hi = net.starts[layer] - n, net.starts[layer + 1] - n
        z = net.bias[lo:hi].copy()
        while b < len(net.blocks) and net.blocks[b, 0] == layer:
            _, source, columns, w = matrix(net, b)
            z += np.dot(w, value[source : source + columns])
            b += 1
        value[n + lo : n + hi] = sigma[lo:hi] * z
    return float(np.dot(net.out, value))


@njit(cache=True, nogil=True)
def linear_slope(net: Packed, sigma: FloatArray, adjoint: FloatArray) -> None:
    """Write the derivatives by all sources, with the given slopes."""
    n = net.inputs
    adjoint[:] = net.out
    for b in range(len(net.blocks) - 1, -1, -1):
        first, source, columns, w = matrix(net, b)
        end = first + len(w)
        dz = sigma[first:end] * adjoint[n + first : n + end]
        adjoint[source : source + columns] += np.dot(dz, w)


@njit(cache=True, nogil=True)
def dual_slopes(net: Packed, goal: Goal, w: Walk, sigma: FloatArray, price: FloatArray) -> None:
    """Read slopes of all neurons and multipliers of the domain's rows off the multipliers of what is held."""
    n, neurons = net.inputs, len(net.bias)
    reprice(net, goal, w)
    for i in range(neurons):
        sigma[i] = 1.0 if w.state[i] == ON else net.slope[i]
    price[:] = 0.0
    for j in range(w.counts[COUNT]):
        v = w.held[j]
        if v >= neurons:
            price[v - neurons] = max(w.multiplier[j], 0.0)
        elif w.adjoint[n + v] > 0.0 and w.state[v] == HELD:
            sigma[v] = min(max(w.multiplier[j] / w.adjoint[n + v], net.slope[v]), 1.0)


@njit(cache=True, nogil=True)
def least(
    net: Packed,
    sizes: Packed,
    goal: Goal,
    y: FloatArray,
    sigma: FloatArray,
    price: FloatArray,
    radius: float,
    factor: float,
) -> float:
    """Bound the goal (without the output's bias) from below over the domain.

    Parameters
    ----------
    net, sizes : Packed
        The network, and the same with absolute weights.
    goal : Goal
    y : (n,) array
        The bound is tightest where this is close to the minimum.
    sigma : (N,) array
        Slopes in [slope, 1].
    price : (m,) array
        Nonnegative multipliers of the rows.
    radius : float
        How far variables without bound may move from y.
    factor : float
        Relative rounding error that covers any chain of sums along the network.
    """
    n = net.inputs
    value = np.zeros(len(net.out))
    value[:n] = y
    total = linear_value(net, sigma, value) + np.dot(goal.tilt, y) + 0.5 * goal.curvature * np.dot(y, y)
    value[:n] = np.abs(y)
    error = linear_value(sizes, np.abs(sigma), value)
    error += np.dot(np.abs(goal.tilt), np.abs(y)) + goal.curvature * np.dot(y, y)
    adjoint = np.zeros(len(net.out))
    linear_slope(net, sigma, adjoint)
    slope = adjoint[:n] + goal.tilt + goal.curvature * y
    linear_slope(sizes, np.abs(sigma), adjoint)
    around = adjoint[:n] + np.abs(goal.tilt) + goal.curvature * np.abs(y)
    if len(price) > 0:
        total += np.dot(price, np.dot(goal.rows, y) - goal.right)
        error += np.dot(price, goal.reach * (1.0 + np.abs(y).max()) + np.abs(goal.right))
        slope += np.dot(price, goal.rows)
        around += np.dot(price, np.abs(goal.rows))
    for i in range(n):
        left = goal.lo[i] - y[i] if goal.lo[i] > -np.inf else -radius
        right = goal.hi[i] - y[i] if goal.hi[i] < np.inf else radius
        pad = factor * around[i]
        fall = 0.0
        if goal.curvature > 0.0:
            fall = min(max(-slope[i] / goal.curvature, left), right)
            total += fall * (slope[i] + 0.5 * goal.curvature * fall)
            error += abs(fall) * around[i]
        else:
            if abs(slope[i]) > LEFT_OVER * pad and (goal.hi[i] if slope[i] < 0 else -goal.lo[i]) == np.inf:
                return -np.inf  # more than rounding is left of the slope along an unbounded variable
            low = min((slope[i] - pad) * right, (slope[i] + pad) * left)
            total += min(low, 0.0)
            error += abs(low)
    return float(total - factor * error)
