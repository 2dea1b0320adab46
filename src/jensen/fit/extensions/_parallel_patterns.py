"""Gates of parallel networks: one for every node, products of as many activation matrices as layers.

Fix the gates of all nodes and the signs of all edges of a tree. With u_j the weights of leaf j times the
sizes of the edges above it, everything is linear in u = (u_1, u_2, ...): a node is E sum_children s (child),
and gates are cones, (2 E - I) sum_children s (child) >= 0 at every node. All combinations can be listed for
a few samples; beyond, they are those of networks, random or trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._losses import Floats
from jensen.fit._patterns import as_data
from jensen.fit.extensions._cone_points import MARGIN, point_inside
from jensen.fit.extensions._parallel_network import ParallelNetwork, as_fan_ins
from jensen.network._numbers import as_count, as_floats

_ROUNDING = 1e-13
"""Share of the sum of absolute values below which a neuron's value is zero."""
_WORK = 20
"""Combinations that are looked at for each that may be kept."""


@dataclass(frozen=True)
class ParallelPatterns:
    """Combinations of gates of sub-networks, each realised by an open cone.

    Attributes
    ----------
    fan_ins : tuple of int
        See `ParallelNetwork`.
    gates : tuple of (P, h_l ... h_(L - 2), n) bool arrays, l = 1, ..., L - 1
        Of the nodes of every hidden layer; the last array is (P, 1, n).
    signs : tuple of (P, h_l ... h_(L - 2)) int8 arrays, l = 1, ..., L - 2
        Of the edges.
    inside : (P, h_1 ... h_(L - 2) d) float64 array
        A point of each cone.
    """

    fan_ins: tuple[int, ...]
    gates: tuple[NDArray[np.bool_], ...]
    signs: tuple[NDArray[np.int8], ...]
    inside: Floats

    def __len__(self) -> int:
        return len(self.inside)


def linear_parts(x: Floats, patterns: ParallelPatterns) -> tuple[Floats, Floats]:
    """Write sub-networks as linear functions of u on cones.

    Returns
    -------
    designs : (P, n, k) array
        The roots' values, with k = h_1 ... h_(L - 2) d.
    cones : (P, q, k) array
        A row for each sample and node; zeros where all children of a node are inactive.
    """
    count, (n, d) = len(patterns), x.shape
    leaves = patterns.gates[0].shape[1]
    sums = np.einsum("nd,jk->jnkd", x, np.eye(leaves)).reshape(1, leaves, n, leaves * d)
    sums = np.broadcast_to(sums, (count, leaves, n, leaves * d))
    rows = []
    for layer, gate in enumerate(patterns.gates):
        rows.append(
            (np.where(gate, 1.0, -1.0)[..., None] * sums).reshape(count, gate.shape[1] * n, leaves * d)
        )
        sums = gate[..., None] * sums
        if layer < len(patterns.fan_ins):
            signed = patterns.signs[layer][:, :, None, None] * sums
            h = patterns.fan_ins[layer]
            sums = signed.reshape(count, gate.shape[1] // h, h, n, leaves * d).sum(2)
    return sums[:, 0], np.concatenate(rows, axis=1)


def join_parallel_patterns(*several: ParallelPatterns) -> ParallelPatterns:
    """Put patterns of the same fan-ins together, each once.

    Raises
    ------
    ArgumentError
        If there are none, or fan-ins differ.
    """
    if len({part.fan_ins for part in several}) != 1:
        raise ArgumentError("patterns to be joined must have the same fan_ins")
    gates = tuple(np.concatenate(parts) for parts in zip(*(part.gates for part in several), strict=True))
    signs = tuple(np.concatenate(parts) for parts in zip(*(part.signs for part in several), strict=True))
    inside = np.concatenate([part.inside for part in several])
    bits = (*gates, *(s > 0 for s in signs))
    keys = np.concatenate([a.reshape(len(inside), int(np.prod(a.shape[1:]))) for a in bits], axis=1)
    _, first = np.unique(np.packbits(keys, axis=1), axis=0, return_index=True)
    first.sort()
    return ParallelPatterns(
        several[0].fan_ins, tuple(g[first] for g in gates), tuple(s[first] for s in signs), inside[first]
    )


def network_parallel_patterns(
    network: ParallelNetwork, x: object, *, spread: float = 0.0, copies: int = 1, seed: int = 0
) -> ParallelPatterns:
    """Read the gates of a parallel network's sub-networks.

    Parameters
    ----------
    network : ParallelNetwork
        Random, or trained.
    x : (n, d) array
    spread : float, default 0.0
        Leaves are moved by random vectors of this length, relative to the longest leaf of the
        sub-network. Trained neurons stand on the kinks x_j . w = 0 or are zero: they have to be moved.
    copies : int, default 1
        How often each sub-network is moved and read.
    seed : int, default 0

    Returns
    -------
    ParallelPatterns
        Each once, without those of sub-networks that are inactive everywhere.

    Raises
    ------
    ArgumentError
        If a neuron stands on a kink or is zero, or shapes do not fit.
    """
    data = as_data(x)
    if data.shape[1] != network.weights.shape[2]:
        raise ArgumentError(f"X must have {network.weights.shape[2]} columns, got shape {data.shape}")
    length = as_floats(spread, "spread", ArgumentError)
    if length.ndim or not 0 <= length < np.inf:
        raise ArgumentError(f"spread must be a number and at least 0, got {spread!r:.80}")
    times = as_count(copies, "copies")
    rng = np.random.default_rng(as_count(seed, "seed", 0))
    u = np.tile(network.paths(), (times, 1, 1))
    away = rng.standard_normal(u.shape)
    away /= np.linalg.norm(away, axis=2, keepdims=True)
    u = u + float(length) * np.linalg.norm(u, axis=2, keepdims=True).max(1, keepdims=True) * away
    signs = tuple(np.tile(np.where(edge < 0, -1, 1), (times, 1)).astype(np.int8) for edge in network.edges)
    moved = ParallelNetwork(network.fan_ins, u, tuple(s.astype(np.float64) for s in signs), np.ones(len(u)))
    gates = tuple((sums > 0).transpose(1, 2, 0) for sums in moved.sums(data))
    found = ParallelPatterns(network.fan_ins, gates, signs, u.reshape(len(u), -1))
    _, rows = linear_parts(data, found)
    size = np.einsum("pqk,pk->pq", np.abs(rows), np.abs(found.inside))
    near = (np.einsum("pqk,pk->pq", rows, found.inside) <= _ROUNDING * size) & rows.any(2)
    alive = gates[-1].any((1, 2))
    if near[alive].any():
        raise ArgumentError("a neuron stands on a kink, where it has no gate: move it by a spread, say 1e-3")
    return join_parallel_patterns(
        ParallelPatterns(
            found.fan_ins, tuple(g[alive] for g in gates), tuple(s[alive] for s in signs), found.inside[alive]
        )
    )


@dataclass(frozen=True)
class _Cell:
    """A tree's gates, from below, the cone of its u, and its root's value."""

    gates: tuple[NDArray[np.bool_], ...]
    signs: tuple[NDArray[np.int8], ...]
    rows: Floats
    value: Floats
    point: Floats


def _block(parts: list[Floats]) -> Floats:
    """Block diagonal matrix of some matrices of the same width."""
    height, k = sum(len(part) for part in parts), parts[0].shape[1]
    result, at = np.zeros((height, k * len(parts))), 0
    for i, part in enumerate(parts):
        result[at : at + len(part), i * k : (i + 1) * k] = part
        at += len(part)
    return result


def _cut(sums: Floats, rows: Floats, point: Floats) -> list[tuple[NDArray[np.bool_], Floats, Floats]]:
    """List the gates of a node within the cone of what is below it: gate, rows, point of the cell.

    Samples are decided one after the other: a cell that has a point on both sides is cut in two.
    """
    cells: list[tuple[list[bool], Floats, Floats]] = [([], rows, point)]
    for row in sums:
        after = []
        length = float(np.linalg.norm(row))
        for gate, walls, at in cells:
            if length == 0:
                after.append(([*gate, False], walls, at))
                continue
            place = float(row @ at) / (length * float(np.linalg.norm(at)))
            for side in (1.0, -1.0):
                cut = np.concatenate([walls, side * row[None]])
                inside = at if side * place > MARGIN else point_inside(cut)
                if inside is not None:
                    after.append(([*gate, side > 0], cut, inside))
        cells = after
    return [(np.array(gate), walls, at) for gate, walls, at in cells if any(gate)]


def _leaves(x: Floats) -> list[_Cell]:
    cells = []
    for gate in all_gates(x):
        rows = np.where(gate, 1.0, -1.0)[:, None] * x
        point = point_inside(rows)
        if point is not None:
            cells.append(_Cell((gate[None],), (), rows, gate[:, None] * x, point))
    return cells


def _above(below: list[_Cell], h: int, limit: int) -> list[_Cell]:
    """Trees whose root has h children among some trees, with either sign."""
    if comb(2 * len(below) + h - 1, h) > _WORK * limit:
        raise ArgumentError(_too_many(limit))
    found: list[_Cell] = []
    for chosen in combinations_with_replacement(list(product(below, (1, -1))), h):
        children, some = [cell for cell, _ in chosen], np.array([s for _, s in chosen], dtype=np.int8)
        if not (some > 0).any():
            continue  # never positive
        sums = np.concatenate([s * cell.value for cell, s in chosen], axis=1)
        rows = _block([cell.rows for cell in children])
        # Each child's cone is one of its own: scales do not matter.
        start = np.concatenate([cell.point / np.linalg.norm(cell.point) for cell in children])
        gates = [np.concatenate(parts) for parts in zip(*(c.gates for c in children), strict=True)]
        signs = [np.concatenate(parts) for parts in zip(*(c.signs for c in children), strict=True)]
        for gate, walls, point in _cut(sums, rows, start):
            value = gate[:, None] * sums
            found.append(_Cell((*gates, gate[None]), (*signs, some), walls, value, point))
        if len(found) > limit:
            raise ArgumentError(_too_many(limit))
    return found


def all_parallel_patterns(
    x: object, fan_ins: int | tuple[int, ...], *, limit: int = 20_000
) -> ParallelPatterns:
    """List the combinations of gates of sub-networks, exactly but for thin cones.

    Cones thinner than 1e-9 are left out: those without interior are limits of others.

    Parameters
    ----------
    x : (n, d) array
    fan_ins : int or tuple of int
        Children of the nodes, from below; a number h is (h,), three layers.
    limit : int, default 20,000
        Most combinations; twenty times as many are looked at for it.

    Returns
    -------
    ParallelPatterns
        Without combinations that differ in the order of children only.

    Raises
    ------
    ArgumentError
        If there are more combinations than `limit`.
    """
    data, several = as_data(x), as_fan_ins(fan_ins)
    most = as_count(limit, "limit")
    cells = _leaves(data)
    for h in several:
        cells = _above(cells, h, most)
    n, d = data.shape
    widths = [prod(several[layer:]) for layer in range(len(several) + 1)]
    return ParallelPatterns(
        several,
        tuple(
            np.array([c.gates[layer] for c in cells], dtype=bool).reshape(-1, width, n)
            for layer, width in enumerate(widths)
        ),
        tuple(
            np.array([c.signs[layer] for c in cells], dtype=np.int8).reshape(-1, width)
            for layer, width in enumerate(widths[:-1])
        ),
        np.array([c.point for c in cells]).reshape(-1, widths[0] * d),
    )


def _too_many(limit: int) -> str:
    return f"there are more than {limit} combinations of gates: raise limit, or take fewer samples"
