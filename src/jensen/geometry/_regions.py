"""All regions of a network on a domain: patterns, affine pieces, vertices, frontiers and jumps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.geometry._arrays import Ints
from jensen.geometry._bits import from_words
from jensen.geometry._collect import Collector
from jensen.geometry._engine import Engine, Options
from jensen.geometry._exact_tree import ExactTree
from jensen.geometry._program import ACTIVE, Program
from jensen.network import Domain, FloatArray, WholeSpace, as_network


@dataclass(frozen=True)
class Region:
    """One region, as iteration over `Regions` yields it.

    Attributes
    ----------
    index : int
    pattern : (K,) bool array
        Which neurons are active, counted through all layers.
    gradient : (d,) array
    offset : float
        On the region the network is ``gradient @ x + offset``.
    vertices : (m, d) array
    rays : (r, d) array
        Directions in which the region is unbounded.
    """

    index: int
    pattern: NDArray[np.bool_]
    gradient: FloatArray
    offset: float
    vertices: FloatArray
    rays: FloatArray

    @property
    def bounded(self) -> bool:
        """Whether the region is a polytope."""
        return not len(self.rays)


@dataclass(frozen=True)
class Regions:
    """All regions of a network on a domain, and the frontiers between them.

    Lists of different lengths are stored one after the other: those of item i are entries ``starts[i]`` to
    ``starts[i + 1]``. Regions of a network that ignores some direction of the domain contain whole lines:
    they are the hulls of their vertices and rays plus `lineality`.

    Attributes
    ----------
    complete : bool
        False where a limit ended the enumeration.
    patterns : (n_regions, K) bool array
        Which neurons are active; one whose pre-activation vanishes on the whole region counts as inactive.
    gradients : (n_regions, d) array
    offsets : (n_regions,) array
    vertices : (n_vertices, d) array
        Vertices of all regions, each once.
    rays : (n_rays, d) array
        Directions at infinity of all regions, scaled to largest entry 1, each once per face at infinity.
    lineality : (m, d) array
        Basis of the directions that all regions contain both ways.
    region_vertices, region_vertex_starts : int arrays
    region_rays, region_ray_starts : int arrays
    frontier_regions : (n_frontiers, 2) int array
        The region where the first switching neuron is active, and the one across; -1 where that was not
        reached.
    frontier_neurons, frontier_neuron_starts : int arrays
        Neurons whose pre-activations vanish on each frontier, in topological order.
    normals : (n_frontiers, d) array
        Unit vectors towards the side where the first switching neuron is active.
    jumps : (n_frontiers,) array
        Signed length, along the normal, of the change of the gradient; f is convex iff none is negative.
    seconds : float
    """

    complete: bool
    patterns: NDArray[np.bool_]
    gradients: FloatArray
    offsets: FloatArray
    vertices: FloatArray
    rays: FloatArray
    lineality: FloatArray
    region_vertices: Ints
    region_vertex_starts: Ints
    region_rays: Ints
    region_ray_starts: Ints
    frontier_regions: Ints
    frontier_neurons: Ints
    frontier_neuron_starts: Ints
    normals: FloatArray
    jumps: FloatArray
    seconds: float

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.patterns)

    @property
    def n_frontiers(self) -> int:
        """Number of frontiers between two regions."""
        return len(self.jumps)

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return len(self.vertices)

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """Which regions are polytopes."""
        bounded: NDArray[np.bool_] = np.diff(self.region_ray_starts) == 0
        return bounded & (len(self.lineality) == 0)

    def __len__(self) -> int:
        return self.n_regions

    def __getitem__(self, index: int) -> Region:
        if not -self.n_regions <= index < self.n_regions:
            raise IndexError(f"region {index} of {self.n_regions}")
        index %= self.n_regions
        start, end = self.region_vertex_starts[index : index + 2]
        vertices = self.region_vertices[start:end]
        start, end = self.region_ray_starts[index : index + 2]
        rays = self.region_rays[start:end]
        return Region(
            index,
            self.patterns[index],
            self.gradients[index],
            float(self.offsets[index]),
            self.vertices[vertices],
            np.concatenate([self.rays[rays], self.lineality, -self.lineality]),
        )

    def __iter__(self) -> Iterator[Region]:
        return (self[i] for i in range(self.n_regions))

    def switching(self, frontier: int) -> tuple[int, ...]:
        """Neurons that switch or vanish on a frontier, counted through all layers."""
        start, end = self.frontier_neuron_starts[frontier], self.frontier_neuron_starts[frontier + 1]
        return tuple(self.frontier_neurons[start:end].tolist())


def regions(
    model: Any,
    domain: Domain | None = None,
    *,
    time_limit: float | None = None,
    max_regions: int | None = None,
    progress: Callable[[int], None] | None = None,
    exact: bool = False,
) -> Regions:
    """Enumerate all regions of a network on a domain, unbounded ones too.

    Meant for up to 6 inputs; there is no limit but time and memory. Every combinatorial decision is certain:
    floats with error bounds where these decide, exact arithmetic elsewhere.

    Parameters
    ----------
    model : ReLUNetwork, torch.nn.Module, torch.export.ExportedProgram, path or list of arrays
    domain : Domain, optional
        The whole space by default. On a flat domain regions and frontiers are those within its affine hull.
    time_limit : float, optional
        Seconds.
    max_regions : int, optional
        Stop soon after this many.
    progress : callable, optional
        Called with the number of regions a few times per second.
    exact : bool, default False
        Use exact arithmetic throughout; slow, for tests.

    Returns
    -------
    Regions

    Raises
    ------
    DomainError
        If the domain is empty or does not fit the network.
    NetworkError, UnsupportedOperatorError, ModelFileError
        If the model cannot be read.
    """
    network = as_network(model).network
    begin = time.perf_counter()
    tree = ExactTree(Program(network), WholeSpace() if domain is None else domain)
    sink = Collector(tree, max_regions)
    options = Options(
        stop=False,
        store=True,
        exact=exact,
        deadline=None if time_limit is None else begin + time_limit,
        progress=None if progress is None else lambda: progress(sink.n_regions),
    )
    every = np.ones(network.n_neurons, dtype=bool)
    moving = np.ones(network.input_size, dtype=bool)
    engine = Engine(
        tree,
        sink,
        needed=every,
        moving=moving,
        restricted=False,
        known=sink.rule.constants(),
        options=options,
    )
    complete = engine.run([tree.root()])
    if not complete:
        sink.flush(engine)
    return _assemble(tree, engine, sink, complete, begin)


def _starts(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _assemble(tree: ExactTree, engine: Engine, sink: Collector, complete: bool, begin: float) -> Regions:
    d, size = tree.program.d, tree.program.n_neurons
    total = sink.n_regions
    points = np.concatenate([np.zeros((0, d + 1)), *sink.points])
    at_infinity = points[:, d] == 0
    own = np.cumsum(~at_infinity) - 1
    own[at_infinity] = np.cumsum(at_infinity)[at_infinity] - 1
    lists = np.concatenate([np.zeros(0, dtype=np.int64), *sink.generator_lists])
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *sink.generator_counts])
    owner = np.repeat(np.arange(total), counts)
    away = at_infinity[lists]
    finite = points[~at_infinity]
    pieces = np.concatenate([np.zeros((0, d + 1)), *sink.pieces])
    sides, normals, jumps = _frontiers(sink, d)
    neurons = _neurons(tree, sink)
    lines = np.array([[c / max(map(abs, line)) for c in line[:d]] for line in _final_lines(tree, engine)])
    return Regions(
        complete=complete,
        patterns=np.concatenate([np.zeros((0, size), dtype=np.int8), *sink.states]) == ACTIVE,
        gradients=pieces[:, :d],
        offsets=pieces[:, d],
        vertices=finite[:, :d] / finite[:, d:],
        rays=points[at_infinity][:, :d],
        lineality=lines.reshape(-1, d),
        region_vertices=own[lists[~away]],
        region_vertex_starts=_starts(np.bincount(owner[~away], minlength=total)),
        region_rays=own[lists[away]],
        region_ray_starts=_starts(np.bincount(owner[away], minlength=total)),
        frontier_regions=sides,
        frontier_neurons=np.array([v for group in neurons for v in group], dtype=np.int64),
        frontier_neuron_starts=_starts(np.array([len(group) for group in neurons], dtype=np.int64)),
        normals=normals,
        jumps=jumps,
        seconds=time.perf_counter() - begin,
    )


def _final_lines(tree: ExactTree, engine: Engine) -> list[tuple[int, ...]]:
    """Directions that no neuron sees: the lines of any finished region."""
    if not engine.idle_lines:
        return []
    node = tree.root()
    while not tree.finished(node):
        node = tree.advance(node)[0]
    return list(node.cone.lines)


def _frontiers(sink: Collector, d: int) -> tuple[Ints, FloatArray, FloatArray]:
    count = sink.facets.count
    sides = np.full((count, 2), -1, dtype=np.int64)
    per_unit = np.full(count, np.nan)
    for numbers, owner, active, jump in sink.sides:
        on = active == 1
        sides[numbers[on], 0] = owner[on]
        sides[numbers[~on], 1] = owner[~on]
        per_unit[numbers[on]] = jump[on]
    normals = np.concatenate([np.zeros((0, d)), *sink.normals])
    length = np.linalg.norm(normals, axis=1)
    with np.errstate(invalid="ignore"):
        return sides, normals / length[:, None], per_unit * length


def _neurons(tree: ExactTree, sink: Collector) -> list[list[int]]:
    """Neurons that vanish on every frontier, followers included."""
    members = tree.program.members
    known: dict[bytes, list[int]] = {}
    found = []
    for key in sink.facets.keys[:, : sink.words]:
        name = key.tobytes()
        if name not in known:
            known[name] = sorted(m for v in tree.neurons(from_words(key)) for m in members[v])
        found.append(known[name])
    return found
