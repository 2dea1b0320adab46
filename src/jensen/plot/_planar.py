"""The regions of a network with two inputs inside a convex polygon, as polygons that share vertices.

One neuron after the other cuts all polygons that it crosses: its pre-activation is affine on each of them,
so that signs at the vertices tell where. An edge that is cut is cut for both polygons beside it, and no
vertex ever lies inside another polygon's edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jensen.network import FloatArray, ReLUNetwork

_SNAP = 1e-9
"""Pre-activations below this share of a neuron's largest one count as zero, lest slivers appear."""

_CHUNK = 20_000_000
"""Pre-activations held at a time, in numbers."""


@dataclass(frozen=True, eq=False)
class Planar:
    """A network's regions inside a polygon.

    Attributes
    ----------
    vertices : (n, 2) array
    values : (n,) array
        The network at the vertices.
    polygons : tuple of int arrays
        Vertex indices of each region, in order.
    gradients : (regions, 2) array
    segments : (frontiers, 2, 2) array
        End points of the edges across which the slope changes.
    jumps : (frontiers,) array
        Change of slope across each, per unit length; negative where the network bends downwards.
    """

    vertices: FloatArray
    values: FloatArray
    polygons: tuple[NDArray[np.intp], ...]
    gradients: FloatArray
    segments: FloatArray
    jumps: FloatArray

    @property
    def centres(self) -> FloatArray:
        """Means of the regions' vertices, (regions, 2)."""
        return np.array([self.vertices[polygon].mean(axis=0) for polygon in self.polygons]).reshape(-1, 2)

    @property
    def triangles(self) -> NDArray[np.intp]:
        """Each region as a fan of triangles, (triangles, 3) vertex indices."""
        fans = [
            np.stack([np.full(len(p) - 2, p[0]), p[1:-1], p[2:]], axis=1) for p in self.polygons if len(p) > 2
        ]
        return np.concatenate(fans) if fans else np.zeros((0, 3), dtype=np.intp)


def subdivide(network: ReLUNetwork, polygon: FloatArray, budget: int | None = None) -> Planar | None:
    """Cut a convex polygon into the network's regions.

    Parameters
    ----------
    network : ReLUNetwork
        With two inputs.
    polygon : (k, 2) array
        Vertices in order.
    budget : int, optional
        Give up where there are more vertices than this.

    Returns
    -------
    Planar or None
        None if the budget was exceeded.
    """
    vertices = polygon
    polygons = [np.arange(len(polygon))]
    for position in range(network.depth):
        crossing, tolerance = _crossing_columns(network, vertices, position)
        for column in range(crossing.shape[1]):
            signs = np.sign(crossing[:, column]).astype(np.int8)
            polygons, pairs = _cut(polygons, signs)
            if not pairs:
                continue
            i, j = np.array(list(pairs), dtype=np.intp).T
            share = (crossing[i, column] / (crossing[i, column] - crossing[j, column]))[:, None]
            vertices = np.concatenate([vertices, vertices[i] + share * (vertices[j] - vertices[i])])
            fresh = crossing[i] + share * (crossing[j] - crossing[i])
            fresh[:, column] = 0.0
            fresh[np.abs(fresh) <= tolerance] = 0.0
            crossing = np.concatenate([crossing, fresh])
            if budget is not None and len(vertices) > budget:
                return None
    return _finish(network, vertices, polygons)


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(width, 1))
    return (slice(start, start + step) for start in range(0, n, step))


def _crossing_columns(
    network: ReLUNetwork, vertices: FloatArray, position: int
) -> tuple[FloatArray, FloatArray]:
    """Pre-activations of the layer's neurons that change sign among the vertices, and what counts as zero.

    Chunks of vertices may disagree on which neurons cross, so that extremes come first.

    Returns
    -------
    (n, crossing) and (crossing,) arrays
    """
    size = network.layers[position].size
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    parts = list(_chunks(len(vertices), network.n_neurons))
    kept: list[FloatArray] = []
    for part in parts:
        z = network.preactivations(vertices[part])[position]
        low, high = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
        if len(parts) == 1:
            kept.append(z)
    tolerance = _SNAP * np.maximum(np.abs(low), np.abs(high))
    columns = np.flatnonzero((low < -tolerance) & (high > tolerance))
    if len(parts) > 1:
        kept = [network.preactivations(vertices[part])[position][:, columns] for part in parts]
    else:
        kept = [kept[0][:, columns]]
    z = np.concatenate(kept)
    tolerance = tolerance[columns]
    z[np.abs(z) <= tolerance] = 0.0
    return z, tolerance


def _cut(
    polygons: list[NDArray[np.intp]], signs: NDArray[np.int8]
) -> tuple[list[NDArray[np.intp]], dict[tuple[int, int], int]]:
    """Cut all polygons whose vertices have both signs; new vertices are numbered from len(signs) on.

    Returns
    -------
    polygons : list of int arrays
    pairs : dict
        For each edge that is cut, the number of its new vertex, in order.
    """
    flat = np.concatenate(polygons)
    starts = np.cumsum([0, *(len(p) for p in polygons[:-1])])
    crossed = (np.minimum.reduceat(signs[flat], starts) < 0) & (np.maximum.reduceat(signs[flat], starts) > 0)
    pairs: dict[tuple[int, int], int] = {}
    result = [p for p, cut in zip(polygons, crossed, strict=True) if not cut]
    for index in np.flatnonzero(crossed):
        ids = polygons[index].tolist()
        around = signs[polygons[index]].tolist()
        sides: tuple[list[int], list[int]] = ([], [])
        for k, (i, s) in enumerate(zip(ids, around, strict=True)):
            if s >= 0:
                sides[0].append(i)
            if s <= 0:
                sides[1].append(i)
            j, following = ids[(k + 1) % len(ids)], around[(k + 1) % len(ids)]
            if s * following < 0:
                vertex = pairs.setdefault((min(i, j), max(i, j)), len(signs) + len(pairs))
                sides[0].append(vertex)
                sides[1].append(vertex)
        result += [np.array(side, dtype=np.intp) for side in sides]
    return result, pairs


def _finish(network: ReLUNetwork, vertices: FloatArray, polygons: list[NDArray[np.intp]]) -> Planar:
    """Evaluate the network on the regions and find the jumps across their edges."""
    centres = np.array([vertices[p].mean(axis=0) for p in polygons])
    parts = list(_chunks(len(centres), network.n_neurons))
    gradients = np.concatenate(
        [np.broadcast_to(network.gradient(c), c.shape) for c in (centres[p] for p in parts)]
    )
    values = np.concatenate([network(vertices[p]) for p in _chunks(len(vertices), network.n_neurons)])
    edges = np.concatenate([np.stack([p, np.roll(p, -1)], axis=1) for p in polygons])
    owners = np.repeat(np.arange(len(polygons)), [len(p) for p in polygons])
    edges.sort(axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owners = edges[order], owners[order]
    twins = np.flatnonzero((edges[1:] == edges[:-1]).all(axis=1))
    ends = vertices[edges[twins]]
    left, right = owners[twins], owners[twins + 1]
    along = ends[:, 1] - ends[:, 0]
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
    normals *= np.sign(((centres[right] - centres[left]) * normals).sum(axis=1))[:, None]
    lengths = np.linalg.norm(normals, axis=1)
    lengths[lengths == 0] = 1.0
    jumps = ((gradients[right] - gradients[left]) * normals).sum(axis=1) / lengths
    visible = np.abs(jumps) > _SNAP * max(np.abs(gradients).max(initial=0.0), 1e-300)
    return Planar(vertices, values, tuple(polygons), gradients, ends[visible], jumps[visible])
