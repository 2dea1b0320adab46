"""Compiled bookkeeping of what the walk holds: normals, their factors, multipliers."""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.minimize.walk._passes import (
    HELD,
    OFF,
    ON,
    Ints,
    Packed,
    backward,
    evaluate,
    refresh,
    sensitivity,
)
from jensen.minimize.walk._state import COUNT, IDLE, SOUND, Goal, Walk
from jensen.network import FloatArray

_ENOUGH = 0.25
"""What is left of a squared length, if projecting once was accurate."""


@njit(cache=True, nogil=True)
def begin(net: Packed, goal: Goal, w: Walk) -> None:
    """Start from `w.y`, with nothing held but the bounds that it stands on."""
    w.counts[COUNT] = 0
    w.counts[SOUND] = 0
    w.counts[IDLE] = 0
    w.state[:] = OFF
    for i in range(net.inputs):
        w.bound[i] = 0
        if w.y[i] <= goal.lo[i]:
            w.y[i], w.bound[i] = goal.lo[i], -1
        elif w.y[i] >= goal.hi[i]:
            w.y[i], w.bound[i] = goal.hi[i], 1
    renew(net, goal, w, True)


@njit(cache=True, nogil=True)
def renew(net: Packed, goal: Goal, w: Walk, signs: bool) -> None:
    """Recompute what depends on the point."""
    neurons = len(net.bias)
    w.value[: net.inputs] = w.y
    if signs:
        evaluate(net, w.state, w.value, w.z)
    else:
        refresh(net, w.state, w.value, w.z, True)
    if len(goal.right) > 0:
        w.z[neurons:] = np.dot(goal.rows, w.y) - goal.right


@njit(cache=True, nogil=True)
def slope_at(net: Packed, goal: Goal, w: Walk) -> None:
    """Compute the gradient of everything but the held neurons."""
    w.adjoint[:] = net.out
    for j in range(w.counts[COUNT]):
        if w.held[j] < len(net.bias):
            w.back[w.held[j]] = 0.0
    backward(net, w.state, w.adjoint, w.back, len(net.starts) - 2)
    w.gradient[:] = w.adjoint[: net.inputs] + goal.tilt + goal.curvature * w.y


@njit(cache=True, nogil=True)
def free_part(w: Walk) -> tuple[Ints, FloatArray]:
    """Return the variables that no bound holds, and the factors with a column for each of them."""
    n = len(w.y)
    free = np.flatnonzero(w.bound == 0)
    return free, w.q.reshape(n * n)[: n * len(free)].reshape(n, len(free))


@njit(cache=True, nogil=True)
def project(w: Walk) -> None:
    """Factor the held normals, and split the gradient into multipliers and the steepest descent."""
    k = w.counts[COUNT]
    free, factors = free_part(w)
    step = -w.gradient[free]
    for j in range(w.counts[SOUND], k):
        q = w.normals[j][free]
        size = np.dot(q, q)
        w.r[j, :j] = 0.0
        if j > 0:
            for _ in range(2):
                c = np.dot(factors[:j], q)
                q -= np.dot(c, factors[:j])
                w.r[j, :j] += c
                left = np.dot(q, q)
                if left > _ENOUGH * size:
                    break
                size = left
        size = np.sqrt(np.dot(q, q))
        w.r[j, j] = size
        factors[j] = q / size if size > 0.0 else q
    w.counts[SOUND] = k
    if k > 0:
        c = np.dot(factors[:k], step)
        step -= np.dot(c, factors[:k])
        again = np.dot(factors[:k], step)
        step -= np.dot(again, factors[:k])
        c += again
        for j in range(k - 1, -1, -1):
            w.multiplier[j] = c[j] / w.r[j, j] if w.r[j, j] > 0.0 else 0.0
            c[:j] -= w.multiplier[j] * w.r[j, :j]
        if k >= len(free):
            step[:] = 0.0
    w.step[:] = 0.0
    w.step[free] = step


@njit(cache=True, nogil=True)
def reprice(net: Packed, goal: Goal, w: Walk) -> None:
    """Compute all derivatives with the multipliers of the held neurons, into `w.adjoint` and `w.back`."""
    neurons = len(net.bias)
    w.adjoint[:] = net.out
    for j in range(w.counts[COUNT]):
        if w.held[j] < neurons:
            w.back[w.held[j]] = w.multiplier[j]
    backward(net, w.state, w.adjoint, w.back, len(net.starts) - 2)
    w.adjoint[: net.inputs] += goal.tilt + goal.curvature * w.y
    for j in range(w.counts[COUNT]):
        if w.held[j] >= neurons:
            w.adjoint[: net.inputs] += w.multiplier[j] * goal.rows[w.held[j] - neurons]


@njit(cache=True, nogil=True)
def worst(net: Packed, w: Walk) -> tuple[float, int, int]:
    """Find what wants to be let go most: by how much, its place, and 1 or 0 for the side, 2 for a bound."""
    n, neurons = net.inputs, len(net.bias)
    most, place, side = 0.0, -1, 0
    for j in range(w.counts[COUNT]):
        v = w.held[j]
        size = np.sqrt(np.dot(w.normals[j], w.normals[j]))
        low, high = 0.0, np.inf
        if v < neurons:
            low, high = net.slope[v] * w.adjoint[n + v], w.adjoint[n + v]
        above, below = (w.multiplier[j] - high) * size, (low - w.multiplier[j]) * size
        if above > most:
            most, place, side = above, j, 1
        if below > most:
            most, place, side = below, j, 0
    for i in range(n):
        inwards = w.bound[i] * w.adjoint[i]
        if inwards > most:
            most, place, side = inwards, i, 2
    return most, place, side


@njit(cache=True, nogil=True)
def count_wrong(net: Packed, goal: Goal, w: Walk) -> int:
    """Count what a new goal would let go, at the point and with the rows that an old one left."""
    slope_at(net, goal, w)
    project(w)
    reprice(net, goal, w)
    n, neurons = net.inputs, len(net.bias)
    count = 0
    for j in range(w.counts[COUNT]):
        v, price = w.held[j], w.multiplier[j]
        if v >= neurons:
            count += price < 0.0
        else:
            count += not net.slope[v] * w.adjoint[n + v] <= price <= w.adjoint[n + v]
    for i in range(n):
        count += w.bound[i] * w.adjoint[i] > 0.0
    return count


@njit(cache=True, nogil=True)
def tilt_normals(w: Walk, change: float, normal: FloatArray) -> bool:
    """Add a neuron's share, by `w.sens`, to the normals above it; tell whether there are any."""
    touched = False
    for j in range(w.counts[COUNT]):
        v = w.held[j]
        if v < len(w.sens) and w.sens[v] != 0.0 and change != 0.0:
            w.normals[j] += (change * w.sens[v]) * normal
            w.counts[SOUND] = min(w.counts[SOUND], j)
            touched = True
    return touched


@njit(cache=True, nogil=True)
def let_go(net: Packed, w: Walk, place: int, side: int, normal: FloatArray) -> int:
    """Stop holding a neuron or row, and copy its normal; return which it was."""
    v = w.held[place]
    normal[:] = w.normals[place]
    w.counts[COUNT] -= 1
    for j in range(place, w.counts[COUNT]):
        w.held[j] = w.held[j + 1]
        w.normals[j] = w.normals[j + 1]
    w.counts[SOUND] = min(w.counts[SOUND], place)
    w.state[v] = OFF
    if v < len(net.bias):
        w.state[v] = side
        rate = 1.0 if side == ON else net.slope[v]
        gain = sensitivity(net, w.state, v, w.dh, w.sens)
        tilt_normals(w, rate, normal)
        w.gradient[:] += (rate * gain) * normal
    return int(v)


@njit(cache=True, nogil=True)
def hold(net: Packed, w: Walk, v: int, normal: FloatArray) -> None:
    """Hold a neuron or row whose normal is known."""
    neurons = len(net.bias)
    place = w.counts[COUNT]
    if v < neurons:
        rate = 1.0 if w.state[v] == ON else net.slope[v]
        if rate != 0.0:
            gain = sensitivity(net, w.state, v, w.dh, w.sens)
            tilt_normals(w, -rate, normal)
            w.gradient[:] -= (rate * gain) * normal
    if v >= neurons or v < net.starts[2] - net.inputs:
        # Normals of the first layer never change: they stay in front, where their factors last.
        place = 0
        while place < w.counts[COUNT] and (
            w.held[place] >= neurons or w.held[place] < net.starts[2] - net.inputs
        ):
            place += 1
        for j in range(w.counts[COUNT], place, -1):
            w.held[j] = w.held[j - 1]
            w.normals[j] = w.normals[j - 1]
        w.counts[SOUND] = min(w.counts[SOUND], place)
    w.held[place] = v
    w.normals[place] = normal
    w.state[v] = HELD
    w.z[v] = 0.0
    w.counts[COUNT] += 1
