"""Compiled passes through a packed network of which some neurons are held at their kinks.

A neuron that is held has pre-activation 0 and passes nothing on: where a pass asks for derivatives, they are
those of moving along the kink. Slopes left of the kinks lie in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jensen.network import FloatArray

Ints = NDArray[np.int64]
States = NDArray[np.int8]

OFF, ON, HELD = 0, 1, 2
"""States of a neuron: left of its kink, right of it, kept on it."""


class Packed(NamedTuple):
    """A network in flat arrays; neurons are numbered through all layers.

    Attributes
    ----------
    inputs : int
        n; values of sources are one vector, the n inputs first and then all neurons.
    starts : (L + 2,) int array
        Where inputs, layer 1, ..., layer L begin in that vector, and its length.
    blocks : (m, 6) int array
        By layers: target layer, its first neuron, its size, where the source begins, the source's size, and
        where the matrix begins in `weights`.
    weights : array
    bias, slope : (N,) arrays
        Biases, and slopes left of the kinks.
    out : (n + N,) array
        The output's weights.
    reach : (N,) array
        Largest rate at which a pre-activation can change while no input moves faster than 1.
    """

    inputs: int
    starts: Ints
    blocks: Ints
    weights: FloatArray
    bias: FloatArray
    slope: FloatArray
    out: FloatArray
    reach: FloatArray


@njit(cache=True, nogil=True)
def matrix(net: Packed, b: int) -> tuple[int, int, int, FloatArray]:
    """Unpack a block: its first neuron, where its source begins, that source's size, and the matrix."""
    first, rows, source, columns, at = (
        net.blocks[b, 1], net.blocks[b, 2], net.blocks[b, 3], net.blocks[b, 4], net.blocks[b, 5]
    )  # fmt: skip
    return first, source, columns, net.weights[at : at + rows * columns].reshape(rows, columns)


@njit(cache=True, nogil=True)
def evaluate(net: Packed, state: States, value: FloatArray, z: FloatArray) -> None:
    """Compute all pre-activations, and read off the states of the neurons that are not held."""
    n = net.inputs
    b = 0
    for layer in range(1, len(net.starts) - 1):
        lo, hi = net.starts[layer] - n, net.starts[layer + 1] - n
        z[lo:hi] = net.bias[lo:hi]
        while b < len(net.blocks) and net.blocks[b, 0] == layer:
            _, source, columns, w = matrix(net, b)
            z[lo:hi] += np.dot(w, value[source : source + columns])
            b += 1
        for i in range(lo, hi):
            if state[i] == HELD:
                value[n + i] = 0.0
            elif z[i] > 0.0:
                state[i] = ON
                value[n + i] = z[i]
            else:
                state[i] = OFF
                value[n + i] = net.slope[i] * z[i]


@njit(cache=True, nogil=True)
def refresh(net: Packed, state: States, value: FloatArray, z: FloatArray, affine: bool) -> None:
    """Compute all pre-activations with the states as they are, whatever the signs.

    If not `affine`, biases are left out, and what is held does not move.
    """
    n = net.inputs
    b = 0
    for layer in range(1, len(net.starts) - 1):
        lo, hi = net.starts[layer] - n, net.starts[layer + 1] - n
        if affine:
            z[lo:hi] = net.bias[lo:hi]
        else:
            z[lo:hi] = 0.0
        while b < len(net.blocks) and net.blocks[b, 0] == layer:
            _, source, columns, w = matrix(net, b)
            z[lo:hi] += np.dot(w, value[source : source + columns])
            b += 1
        for i in range(lo, hi):
            if state[i] == HELD:
                if not affine:
                    z[i] = 0.0
                value[n + i] = 0.0
            elif state[i] == ON:
                value[n + i] = z[i]
            else:
                value[n + i] = net.slope[i] * z[i]


@njit(cache=True, nogil=True)
def backward(net: Packed, state: States, adjoint: FloatArray, dz: FloatArray, top: int) -> None:
    """Propagate derivatives from layer `top` down to the inputs.

    `adjoint` holds those by the sources, as far as layers above `top` contribute; the derivatives by the
    pre-activations of held neurons are read from `dz`, those of all others are written there.
    """
    n = net.inputs
    b = len(net.blocks) - 1
    while b >= 0 and net.blocks[b, 0] > top:
        b -= 1
    for layer in range(top, 0, -1):
        lo, hi = net.starts[layer] - n, net.starts[layer + 1] - n
        for i in range(lo, hi):
            if state[i] == ON:
                dz[i] = adjoint[n + i]
            elif state[i] == OFF:
                dz[i] = net.slope[i] * adjoint[n + i]
        while b >= 0 and net.blocks[b, 0] == layer:
            _, source, columns, w = matrix(net, b)
            adjoint[source : source + columns] += np.dot(dz[lo:hi], w)
            b -= 1


@njit(cache=True, nogil=True)
def layer_of(net: Packed, neuron: int) -> int:
    """Tell the layer of a neuron."""
    layer = 1
    while net.starts[layer + 1] - net.inputs <= neuron:
        layer += 1
    return layer


@njit(cache=True, nogil=True)
def normal_of(
    net: Packed, state: States, neuron: int, adjoint: FloatArray, dz: FloatArray, row: FloatArray
) -> None:
    """Write the gradient of a neuron's pre-activation by the inputs; the vectors are scratch."""
    n = net.inputs
    layer = layer_of(net, neuron)
    adjoint[:] = 0.0
    first = net.starts[layer] - n
    for b in range(len(net.blocks)):
        if net.blocks[b, 0] == layer:
            _, source, columns, w = matrix(net, b)
            adjoint[source : source + columns] += w[neuron - first]
    if layer > 1:
        for i in range(first):
            if state[i] == HELD:
                dz[i] = 0.0
        backward(net, state, adjoint, dz, layer - 1)
    row[:] = adjoint[:n]


@njit(cache=True, nogil=True)
def sensitivity(net: Packed, state: States, neuron: int, value: FloatArray, dz: FloatArray) -> float:
    """Write how all later pre-activations depend on a neuron's activation; return how the output does."""
    n = net.inputs
    layer = layer_of(net, neuron)
    value[:] = 0.0
    dz[:] = 0.0
    value[n + neuron] = 1.0
    total = net.out[n + neuron]
    for b in range(len(net.blocks)):
        target = net.blocks[b, 0]
        if target <= layer:
            continue
        first, source, columns, w = matrix(net, b)
        rows = len(w)
        if source == net.starts[layer]:
            j = n + neuron - source
            for i in range(rows):
                dz[first + i] += w[i, j]
        elif source > net.starts[layer]:
            dz[first : first + rows] += np.dot(w, value[source : source + columns])
        if b == len(net.blocks) - 1 or net.blocks[b + 1, 0] > target:
            for i in range(first, first + rows):
                if state[i] == ON:
                    value[n + i] = dz[i]
                elif state[i] == OFF:
                    value[n + i] = net.slope[i] * dz[i]
                total += net.out[n + i] * value[n + i]
    return float(total)
