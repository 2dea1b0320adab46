"""The published criterion, as its authors' program applies it: edges of a subdivided square, in float32.

Told from the paper and from reading the program (github.com/annegnx/beyondicnn, after A. Berzins' edge
subdivision); written anew, for two inputs. It differs from convexity in three ways:

- every weight of the output must be nonnegative, even of neurons that never switch;
- only frontiers inside a box are seen;
- vertices are float32, and a zero there counts as active. Where an edge seems to lie on several kinks at
  once, no new edge is made for that neuron, and what is not made cannot be found negative.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from experiments.counting._draws import Cell, layers
from jensen.network import FloatArray

Single = NDArray[np.float32]
Signs = NDArray[np.int8]
Weights = list[tuple[Single, Single]]


def calls_convex(cell: Cell, flat: FloatArray, side: float) -> bool:
    """Apply the criterion to a network with two inputs, on [-side, side]^2."""
    weights = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers(cell, flat)]
    if (weights[-1][0] < 0).any():
        return False
    signs = edge_signs(weights, side)
    ends = np.cumsum([0, *cell.widths])
    for layer, (start, end) in enumerate(pairwise(ends[:-1]), start=1):
        for v in range(start, end):
            patterns = np.unique(signs[signs[:, v] == 0][:, end:], axis=0)
            if len(patterns) and (adjoints(weights, layer, v - start, patterns) < 0).any():
                return False
    return True


def adjoints(weights: Weights, layer: int, neuron: int, patterns: Signs) -> Single:
    """Differentiate the output by one neuron, under patterns of the later layers (a zero is off)."""
    slope = np.zeros((len(patterns), len(weights[layer - 1][1])), dtype=np.float32)
    slope[:, neuron] = 1
    start = 0
    for matrix, bias in weights[layer:-1]:
        slope = (slope @ matrix.T) * (patterns[:, start : start + len(bias)] > 0)
        start += len(bias)
    return (slope @ weights[-1][0].T)[:, 0]


def preactivations(weights: Weights, points: Single) -> Single:
    """Pre-activations of all hidden neurons, in float32."""
    found, h = [], points
    for matrix, bias in weights[:-1]:
        found.append(h @ matrix.T + bias)
        h = np.maximum(found[-1], 0)
    return np.concatenate(found, axis=1)


def edge_signs(weights: Weights, side: float) -> Signs:
    """Subdivide a square along the kinks, neuron by neuron; signs of all neurons on every edge.

    Returns
    -------
    (E, K) int8 array
        0 where the edge lies on the neuron's kink.
    """
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float32)
    points = corners * np.float32(side)
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    borders = np.concatenate([corners < 0, corners > 0], axis=1)
    signs = np.where(borders, 0, 1).astype(np.int8)
    for neuron in range(sum(len(b) for _, b in weights[:-1])):
        values = preactivations(weights, points)[:, neuron]
        own = np.where(values < 0, -1, 1).astype(np.int8)
        split = np.sign(values[edges]).prod(axis=1) == -1
        cut = edges[split]
        first, last = values[cut[:, 0], None], values[cut[:, 1], None]
        p, q = points[cut[:, 0]], points[cut[:, 1]]
        on_cut = joined(signs[cut])
        here = np.arange(len(cut)) + len(points)
        edges = np.concatenate(
            [
                edges[~split],
                np.stack([cut[:, 0], here], axis=1),
                np.stack([here, cut[:, 1]], axis=1),
                neighbours(on_cut) + len(points),
            ]
        )
        points = np.concatenate([points, p - first * (q - p) / (last - first)])
        signs = np.concatenate(
            [
                np.concatenate([signs, own[:, None]], axis=1),
                np.concatenate([on_cut, np.zeros((len(cut), 1), dtype=np.int8)], axis=1),
            ]
        )
    return joined(signs[edges])[:, 4:]


def joined(ends: Signs) -> Signs:
    """Signs on edges from the signs at both ends."""
    signs: Signs = np.sign(ends.sum(axis=1, dtype=np.int8))
    return signs


def neighbours(on_edges: Signs) -> NDArray[np.intp]:
    """Pairs of split edges that border on one face; none at all if an edge lies on several kinks."""
    if ((on_edges == 0).sum(axis=1) != 1).any():
        return np.empty((0, 2), dtype=np.intp)
    faces: dict[bytes, list[int]] = {}
    for sign in (1, -1):
        for k, row in enumerate(np.where(on_edges == 0, np.int8(sign), on_edges)):
            faces.setdefault(row.tobytes(), []).append(k)
    return np.array([pair for pair in faces.values() if len(pair) == 2], dtype=np.intp).reshape(-1, 2)
