"""Gathers the regions that the walk hands out and matches their vertices and facets."""

from __future__ import annotations

import numpy as np

from jensen.geometry import _kernel_walk as registers
from jensen.geometry._arrays import Ints, Words, build_out
from jensen.geometry._bits import from_words, to_words
from jensen.geometry._engine import Engine
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._intern import KeyTable
from jensen.geometry._jumps import JumpRule, exact_jump, interior_facets, nearest
from jensen.geometry._program import ACTIVE, SPLIT
from jensen.network import FloatArray

CHUNK = 4096
"""Regions per buffer."""


class Collector:
    """A sink that keeps all regions, in columns.

    Parameters
    ----------
    tree : ExactTree
    max_regions : int or None
    """

    def __init__(self, tree: ExactTree, max_regions: int | None) -> None:
        self.tree, self.max_regions = tree, max_regions
        self.rule = JumpRule(tree)
        size = tree.program.n_neurons
        self.words = max(1, -(-(tree.base + size) // 64))
        self._chunk = CHUNK if max_regions is None else max(1, min(CHUNK, max_regions))
        self._allocate(self._chunk)
        self.n_regions = 0
        self.states: list[np.ndarray] = []
        self.pieces: list[FloatArray] = []
        self.generators, self.facets = KeyTable(2 * self.words), KeyTable(2 * self.words)
        self.points: list[FloatArray] = []
        self.generator_lists: list[Ints] = []
        self.generator_counts: list[Ints] = []
        self.first: list[Ints] = []
        self.normals: list[FloatArray] = []
        self.sides: list[tuple[Ints, Ints, Ints, FloatArray]] = []

    def _allocate(self, regions: int) -> None:
        size, d = self.tree.program.n_neurons, self.tree.program.d
        rays = regions * min(4 << d, 128)
        self.out = build_out(
            d,
            size,
            self.words,
            records=64 + 4 * size,
            regions=regions,
            rays=rays,
            facets=regions * 4 * (d + 1),
        )

    @property
    def ended(self) -> bool:
        """Whether as many regions as were asked for are there."""
        return self.max_regions is not None and self.n_regions >= self.max_regions

    def violated(self, engine: Engine) -> None:
        """Pass over violations: they are kept like all other frontiers."""

    def flush(self, engine: Engine) -> None:
        """Take over what the compiled walk has written."""
        reg = engine.reg
        count, rays, facets = (int(reg[i]) for i in (registers.STORED, registers.N_RAYS, registers.N_FACETS))
        reg[registers.STORED] = reg[registers.N_RAYS] = reg[registers.N_FACETS] = 0
        if count == 0 and reg[registers.SP]:
            self._chunk *= 2
            self._allocate(self._chunk)
            return
        out = self.out
        ends = out.region_end[:count]
        owner = np.repeat(np.arange(count), np.diff(ends[:, 1], prepend=0))
        jumps = out.facet_jump[:facets].copy()
        for at in np.flatnonzero(np.isnan(jumps) & (out.facet[:facets, 1] == 1)):
            states = out.region_state[owner[at]].tolist()
            jumps[at] = self._jump(states, out.facet_key[at], int(out.facet[at, 0]))
        self._append(
            out.region_state[:count].copy(),
            out.region_piece[:count].copy(),
            np.diff(ends[:, 0], prepend=0),
            out.ray[:rays],
            out.ray_key[:rays],
            owner,
            out.facet[:facets],
            out.facet_key[:facets],
            out.facet_normal[:facets],
            jumps,
        )

    def _jump(self, states: list[int], key: Words, first: int) -> float:
        """Jump per unit of the first neuron's pre-activation, exactly."""
        neurons = self.tree.neurons(from_words(key[: self.words]))
        if len(neurons) == 1:
            return nearest(self.rule.isolated(first, self.tree.exact.adjoints(states)))
        return nearest(self.rule.general(neurons, first, states, self.tree.exact.all_forms(states)))

    def _append(
        self,
        states: np.ndarray,
        pieces: FloatArray,
        ray_counts: Ints,
        rays: FloatArray,
        ray_keys: Words,
        owner: Ints,
        facets: Ints,
        facet_keys: Words,
        normals: FloatArray,
        jumps: FloatArray,
    ) -> None:
        known = self.generators.count
        numbers = self.generators.number(ray_keys)
        self.points.append(rays[_first_of(numbers, known)])
        self.generator_lists.append(numbers)
        self.generator_counts.append(ray_counts)
        known = self.facets.count
        numbers = self.facets.number(facet_keys)
        chosen = _first_of(numbers, known)
        self.first.append(facets[chosen, 0])
        self.normals.append(normals[chosen].copy())
        self.sides.append((numbers, owner + self.n_regions, facets[:, 1].copy(), jumps))
        self.states.append(states)
        self.pieces.append(pieces)
        self.n_regions += len(states)

    def region(self, node: Node) -> None:
        """Take over a region that was found in exact arithmetic."""
        tree, exact, d = self.tree, self.tree.exact, self.tree.program.d
        states = np.array(node.states, dtype=np.int8).reshape(1, -1)
        kind = tree.program.kinds.kind
        active = sum(tree.bit(v) for v, s in enumerate(node.states) if s == ACTIVE and kind[v] == SPLIT)
        keys = [to_words(t, self.words) + to_words(active & ~t, self.words) for t in node.cone.tight]
        rays = np.array([[c / max(map(abs, ray)) for c in ray] for ray in node.cone.rays]).reshape(-1, d + 1)
        facets = interior_facets(tree, node, both=True)
        adjoint = exact.adjoints(node.states)
        facet_keys, normals, jumps, columns = [], [], [], []
        for facet in facets:
            bits = sum(tree.bit(v) for v in facet.neurons)
            facet_keys.append(to_words(bits, self.words) + to_words(active & ~bits, self.words))
            scale = 1 << exact.scale[int(tree.program.layer_of[facet.neuron])]
            normals.append([c / scale for c in node.forms[facet.neuron][:d]])
            plus = node.states[facet.neuron] == ACTIVE
            jumps.append(nearest(exact_jump(self.rule, node, facet, adjoint)) if plus else np.nan)
            columns.append([facet.neuron, int(plus)])
        gradient, offset = exact.piece(node.states)
        self._append(
            states,
            np.array([[*(nearest(g) for g in gradient), nearest(offset)]]),
            np.array([len(rays)]),
            rays,
            np.array(keys, dtype=np.uint64).reshape(-1, 2 * self.words),
            np.zeros(len(facets), dtype=np.int64),
            np.array(columns, dtype=np.int64).reshape(-1, 2),
            np.array(facet_keys, dtype=np.uint64).reshape(-1, 2 * self.words),
            np.array(normals).reshape(-1, d),
            np.array(jumps, dtype=np.float64),
        )


def _first_of(numbers: Ints, known: int) -> Ints:
    """Positions at which new numbers appear for the first time; they count up."""
    if not len(numbers):
        return numbers
    before = np.maximum.accumulate(np.concatenate([[known - 1], numbers[:-1]]))
    return np.flatnonzero(numbers > before)
