"""Activation patterns drawn at random, from the data, from patches of images, from a network.

A gate is a bool vector over the samples: where the neuron is active. Sets of gates are (P, n) arrays
whose rows differ and of which none is empty, because an empty gate contributes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.network._numbers import as_count, as_floats

if TYPE_CHECKING:
    from torch import nn

Gates = NDArray[np.bool_]

_CHUNK = 1 << 24
"""Products that are held at a time."""


def as_data(x: object) -> Floats:
    """Check a data matrix: a row for each sample, finite numbers.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    data = np.ascontiguousarray(as_floats(x, "X", ArgumentError))
    if data.ndim != 2 or 0 in data.shape:
        raise ArgumentError(f"X must be a matrix with a row for each sample, got shape {data.shape}")
    if not np.isfinite(data).all():
        raise ArgumentError("X holds NaN or infinite values; impute or remove them")
    return data


def unique_gates(gates: Gates, *, ordered: bool = False) -> Gates:
    """Drop repeated and empty gates; the others keep their order, or are sorted."""
    gates = gates[gates.any(1)]
    if not len(gates):
        return gates
    packed = np.packbits(gates, axis=1)
    words = np.zeros((len(gates), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    keys = np.ascontiguousarray(words.view(">u8").T.astype(np.uint64))
    order = np.lexsort(keys[::-1])
    new = np.ones(len(gates), dtype=bool)
    new[1:] = (keys[:, order[1:]] != keys[:, order[:-1]]).any(0)
    first = order[new]
    return gates[first if ordered else np.sort(first)]


def gates_of(x: Floats, directions: Floats) -> Gates:
    """Gates 1[x_j . w > 0] of directions w, (m, d): each once, without the empty one."""
    # Powers of two change no sign, and keep products from overflowing.
    x, directions = (
        np.ldexp(a, -np.frexp(np.abs(a).max(1, initial=0, keepdims=True))[1]) for a in (x, directions)
    )
    step = max(1, _CHUNK // len(x))
    parts = [directions[at : at + step] @ x.T > 0 for at in range(0, len(directions), step)]
    return unique_gates(np.concatenate([np.zeros((0, len(x)), dtype=bool), *parts]))


def gaussian_gates(x: object, count: int, seed: int = 0) -> Gates:
    """Draw gates of Gaussian directions.

    Parameters
    ----------
    x : (n, d) array
    count : int
        Number of draws.
    seed : int, default 0

    Returns
    -------
    (P, n) bool array
        P <= count: repeated and empty gates are dropped.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    data = as_data(x)
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    return gates_of(data, rng.standard_normal((as_count(count, "count"), data.shape[1])))


def constant_column(x: Floats) -> int | None:
    """Return the last column that holds one nonzero number throughout: the bias."""
    constant = np.flatnonzero((x == x[0]).all(0) & (x[0] != 0))
    return int(constant[-1]) if constant.size else None


def data_gates(x: object, count: int, seed: int = 0) -> Gates:
    """Draw gates whose hyperplanes stand in the data: rows, differences, planes midway between pairs.

    A third of the directions each are rows of X with a random sign, differences of two rows and, where X
    has a constant column, differences whose hyperplane passes through the pair's midpoint (without such a
    column, differences again).

    Parameters
    ----------
    x : (n, d) array
    count : int
        Number of draws.
    seed : int, default 0

    Returns
    -------
    (P, n) bool array

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    data = as_data(x)
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    count = as_count(count, "count")
    alone = -(-count // 3)
    rows = data[rng.integers(len(data), size=alone)] * rng.choice([-1.0, 1.0], size=(alone, 1))
    one, two = data[rng.integers(len(data), size=(2, count - alone))]
    # Halves first: the difference of two large rows must not overflow.
    between = one / 2 - two / 2
    bias = constant_column(data)
    if bias is not None:
        midway = slice((count - alone) // 2, None)
        scale = np.abs(between[midway]).max(1, initial=0, keepdims=True)
        unit = np.divide(between[midway], scale, out=np.zeros_like(between[midway]), where=scale > 0)
        along = (unit * (one / 2 + two / 2)[midway]).sum(1)
        unit[:, bias] -= along / data[0, bias]
        between[midway] = unit
    return gates_of(data, np.concatenate([rows, between]))


def convolutional_gates(
    x: object, image_shape: tuple[int, ...], kernel_size: int, count: int, seed: int = 0
) -> Gates:
    """Draw gates of Gaussian filters, each supported on one square patch of an image.

    Parameters
    ----------
    x : (n, d) array
        A flattened image in every row, d = C H W; one more column, last, is a bias.
    image_shape : tuple of int
        (H, W) or (C, H, W).
    kernel_size : int
        Side of the patch.
    count : int
        Number of draws.
    seed : int, default 0

    Returns
    -------
    (P, n) bool array

    Raises
    ------
    ArgumentError
        If shapes do not fit.
    """
    data = as_data(x)
    if len(image_shape) not in (2, 3):
        raise ArgumentError(f"image_shape must be (H, W) or (C, H, W), got {image_shape!r:.80}")
    sizes = tuple(as_count(n, "a size of image_shape") for n in image_shape)
    channels, height, width = sizes if len(sizes) == 3 else (1, *sizes)
    side = as_count(kernel_size, "kernel_size")
    if side > min(height, width):
        raise ArgumentError(f"kernel_size {side} exceeds the image, {height} x {width}")
    size = channels * height * width
    if data.shape[1] not in (size, size + 1):
        raise ArgumentError(
            f"X has {data.shape[1]} columns; images of shape {image_shape} take {size}, "
            f"or {size + 1} with a bias"
        )
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    count = as_count(count, "count")
    top = rng.integers(height - side + 1, size=count)
    left = rng.integers(width - side + 1, size=count)
    filters = rng.standard_normal((count, channels, side, side))
    images = np.zeros((count, channels, height, width))
    at = np.arange(side)
    images[
        np.arange(count)[:, None, None, None],
        np.arange(channels)[None, :, None, None],
        (top[:, None] + at)[:, None, :, None],
        (left[:, None] + at)[:, None, None, :],
    ] = filters
    directions = images.reshape(count, size)
    if data.shape[1] > size:
        directions = np.concatenate([directions, rng.standard_normal((count, 1))], axis=1)
    return gates_of(data, directions)


def network_gates(model: nn.Module | Floats, x: object) -> Gates:
    """Gates of all neurons of a two-layer network.

    Parameters
    ----------
    model : torch.nn.Module or (m, d) array
        Linear, ReLU, Linear; or the weights of the hidden neurons.
    x : (n, d) array
        Where the module's first layer has a bias, X may have one more column than the module has
        inputs: a last one of ones.

    Returns
    -------
    (P, n) bool array

    Raises
    ------
    ArgumentError
        If shapes do not fit, or the module is something else.
    """
    from jensen.fit._network import read_network

    data = as_data(x)
    weights = model if isinstance(model, np.ndarray) else read_network(model, data)[0]
    weights = as_floats(weights, "W", ArgumentError)
    if weights.ndim != 2 or weights.shape[1] != data.shape[1] or not np.isfinite(weights).all():
        raise ArgumentError(
            f"W must be a finite matrix with {data.shape[1]} columns, as X has; got shape {weights.shape}"
        )
    return gates_of(data, weights)
