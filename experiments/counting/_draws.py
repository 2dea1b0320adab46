"""Random networks, as the published figures draw them; every draw can be made again from its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np

from jensen.network import FloatArray, ReLUNetwork, from_arrays

Init: TypeAlias = Literal["normal", "uniform", "uniform-half", "bias-free"]
INITS: tuple[Init, ...] = get_args(Init)

BLOCK = 250
"""Draws that share a random generator; changing it changes every network."""


@dataclass(frozen=True, order=True)
class Cell:
    """An architecture and a way to draw it.

    Parameters
    ----------
    init : {"normal", "uniform", "uniform-half", "bias-free"}
        "normal": weights and biases are standard normal, the output's weights half-normal. "uniform":
        PyTorch's default for linear layers, weights and biases uniform within 1 / sqrt(fan-in).
        "uniform-half": the same, but the output's weights half-normal. "bias-free": as "normal", but all
        biases zero.
    inputs : int
    widths : tuple of int
        Of the hidden layers.
    """

    init: Init
    inputs: int
    widths: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of inputs, hidden neurons per layer, and outputs."""
        return (self.inputs, *self.widths, 1)

    @property
    def name(self) -> str:
        """What the cell is called in files."""
        return f"{self.init}/{self.inputs}/{'-'.join(map(str, self.widths))}"

    @property
    def n_weights(self) -> int:
        """Number of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))


def draw_block(cell: Cell, block: int, seed: int) -> FloatArray:
    """Draw the networks `block * BLOCK` to `(block + 1) * BLOCK - 1` of a cell.

    All numbers are float32 ones, as in the published experiments, held in float64.

    Returns
    -------
    (BLOCK, n_weights) float64 array
        Per layer the weight matrix, row after row, then the biases.
    """
    key = [seed, INITS.index(cell.init), block, *cell.sizes]
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    parts = []
    for layer, (a, b) in enumerate(pairwise(cell.sizes)):
        shape = (BLOCK, (a + 1) * b)
        if cell.init in ("normal", "bias-free"):
            values = rng.standard_normal(shape, dtype=np.float32)
        else:
            values = (2 * rng.random(shape, dtype=np.float32) - 1) / np.sqrt(np.float32(a))
        if layer == len(cell.widths) and cell.init != "uniform":
            values[:, :a] = np.abs(rng.standard_normal((BLOCK, a), dtype=np.float32))
        if cell.init == "bias-free":
            values[:, a * b :] = 0
        parts.append(values)
    return np.concatenate(parts, axis=1).astype(np.float64)


def layers(cell: Cell, flat: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Cut one network's numbers, or those of many, into weight matrices (..., b, a) and biases (..., b)."""
    start = 0
    for a, b in pairwise(cell.sizes):
        weight = flat[..., start : start + a * b]
        yield weight.reshape(*flat.shape[:-1], b, a), flat[..., start + a * b : start + (a + 1) * b]
        start += (a + 1) * b


def network(cell: Cell, flat: FloatArray) -> ReLUNetwork:
    """Build the network from its numbers."""
    matrices = list(layers(cell, flat))
    return from_arrays([w for w, _ in matrices], [b for _, b in matrices])


def draw(cell: Cell, number: int, seed: int = 0) -> ReLUNetwork:
    """Draw one network of a cell by its number."""
    return network(cell, draw_block(cell, number // BLOCK, seed)[number % BLOCK])


def are_icnns(cell: Cell, flats: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which networks have no negative weight after the first layer."""
    result = np.ones(len(flats), dtype=np.bool_)
    for weight, _ in list(layers(cell, flats))[1:]:
        result &= (weight >= 0).all(axis=(1, 2))
    return result
