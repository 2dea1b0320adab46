"""The arrays that the compiled walk works on: the network, its stack, and what it hands out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jensen.geometry._exact_weights import Row
from jensen.geometry._program import Program
from jensen.network import FloatArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]


class Net(NamedTuple):
    """A network in the layout of the compiled loops; sources are the d inputs, then all K neurons."""

    starts: Ints
    weights: FloatArray  # (d + K, K), by source and neuron
    bias: FloatArray
    slope: FloatArray
    out: FloatArray  # (d + K,)
    out_bias: float
    reads_ptr: Ints  # ranges of neurons that a layer reads
    reads: Ints
    readers_ptr: Ints  # ranges of neurons that read a layer
    readers: Ints
    layer_of: Ints
    kind: NDArray[np.int8]
    leader: Ints
    same_sign: Flags
    state: NDArray[np.int8]
    class_ptr: Ints  # a leader's followers and itself
    members: Ints
    factor: FloatArray  # by member: |ratio| (1 - slope)
    known: Flags  # jump of the leader is the same everywhere
    known_jump: FloatArray
    needed: Flags
    moving: Flags  # (d,): wrt
    gamma: FloatArray  # (L + 1,): relative rounding error of a layer's sums, with room to spare
    boundary: FloatArray  # (base, d + 1): infinity, then the domain's inequalities
    boundary_error: FloatArray  # (base,): one-norm of their rounding errors


class Stack(NamedTuple):
    """Cones that wait for their turn, one above the other in two arenas."""

    reals: FloatArray  # per cone d + 1 coordinates and an error bound, each over all its rays
    bits: Words  # per cone and ray the constraints that hold with equality
    frame: Ints  # (depth, 8): neuron, split neuron, its state, rays, real offset, bit offset, simple
    facets: Words  # (depth, W)
    state: NDArray[np.int8]  # (K,) along the path
    forms: FloatArray  # (d + 1, K) along the path
    size: FloatArray  # (K,) one-norm of the forms
    error: FloatArray  # (K,) its error bound
    scratch: FloatArray
    scratch_bits: Words
    pairs: Ints
    z: FloatArray
    sign: NDArray[np.int8]
    adjoint: FloatArray  # (2, K) value and error bound
    work: Words  # (6, W)
    rows: FloatArray  # (m, d + 2)
    chosen: Ints
    space: FloatArray  # (3, m + 1, d + 2)


class Out(NamedTuple):
    """What the walk hands out."""

    counts: Ints  # (K,) frontiers by first neuron
    worst: FloatArray  # (K,)
    stuck: NDArray[np.int8]  # (S, K) states of nodes that floats cannot decide
    stuck_at: Ints  # (S,)
    open_state: NDArray[np.int8]  # (S, K) states of regions with a facet whose jump floats cannot decide
    open_bits: Words  # (S, W)
    open_first: Ints
    bad: NDArray[np.int8]  # (K,) states at the most negative jump
    region_state: NDArray[np.int8]  # (R, K)
    region_piece: FloatArray  # (R, d + 1)
    region_end: Ints  # (R, 2) ends of the region's rays and facets
    ray: FloatArray  # (V, d + 1)
    ray_key: Words  # (V, 2 W)
    facet_key: Words  # (F, 2 W)
    facet: Ints  # (F, 2): first neuron, whether it is active
    facet_jump: FloatArray  # (F,): nan where it is open
    facet_normal: FloatArray  # (F, d)


def _ranges(lists: list[list[tuple[int, int]]]) -> tuple[Ints, Ints]:
    pointers = np.cumsum([0, *(len(ranges) for ranges in lists)])
    flat = [pair for ranges in lists for pair in ranges]
    return pointers.astype(np.int64), np.array(flat, dtype=np.int64).reshape(-1, 2)


def build_net(
    program: Program, needed: Flags, moving: Flags, known: dict[int, float], boundary: list[Row]
) -> Net:
    """Lay a network out for the compiled loops."""
    network, d, total = program.network, program.d, program.n_neurons
    depth, starts = network.depth, program.starts
    weights, out = np.zeros((d + total, total)), np.zeros(d + total)
    places = [(0, d), *((d + starts[k], d + starts[k + 1]) for k in range(depth))]
    reads: list[list[tuple[int, int]]] = [[] for _ in range(depth)]
    readers: list[list[tuple[int, int]]] = [[] for _ in range(depth)]
    for layer, sources in enumerate(program.weights):
        span = (starts[layer], starts[layer + 1])
        for k, w in sources.items():
            weights[slice(*places[k]), slice(*span)] = w.T
            if k:
                reads[layer].append((starts[k - 1], starts[k]))
                readers[k - 1].append(span)
    for k, w in program.output.items():
        out[slice(*places[k])] = w
    reads_ptr, reads_flat = _ranges(reads)
    readers_ptr, readers_flat = _ranges(readers)
    kinds = program.kinds
    slope = np.concatenate([*program.slopes, np.zeros(0)])
    members = [m for group in program.members for m in group]
    ratio = np.array([abs(float(r)) for r in kinds.ratio])
    widest = [sum(w.shape[1] for w in ws.values()) for ws in program.weights]
    unit = 2.0**-53
    gamma = np.array([(w + 12) * unit * 1.01 for w in [*widest, d + total]])
    leader_needed = np.array([any(needed[m] for m in group) for group in program.members], dtype=bool)
    is_known = np.zeros(total, dtype=bool)
    is_known[list(known)] = True
    known_jump = np.zeros(total)
    known_jump[list(known)] = list(known.values())
    return Net(
        starts=np.array(starts, dtype=np.int64),
        weights=weights,
        bias=np.concatenate([*(np.asarray(lay.bias) for lay in network.layers), np.zeros(0)]),
        slope=slope,
        out=out,
        out_bias=network.output_bias,
        reads_ptr=reads_ptr,
        reads=reads_flat,
        readers_ptr=readers_ptr,
        readers=readers_flat,
        layer_of=program.layer_of.astype(np.int64),
        kind=kinds.kind,
        leader=kinds.leader.astype(np.int64),
        same_sign=np.array([r > 0 for r in kinds.ratio], dtype=bool),
        state=kinds.state,
        class_ptr=np.cumsum([0, *(len(group) for group in program.members)]).astype(np.int64),
        members=np.array(members, dtype=np.int64),
        factor=(ratio * (1 - slope))[members] if members else np.zeros(0),
        known=is_known,
        known_jump=known_jump,
        needed=leader_needed.reshape(total),
        moving=moving,
        gamma=gamma,
        boundary=np.array([[c / sum(map(abs, row)) for c in row] for row in boundary]).reshape(-1, d + 1),
        boundary_error=np.full(len(boundary), (d + 2) * unit),
    )


def build_stack(d: int, total: int, words: int, reals: int) -> Stack:
    """Allocate the stack; `reals` is the size of its arena."""
    depth = total + 2
    n = d + 1
    rays = reals // (n + 1)
    most = 4 * n + 8
    return Stack(
        reals=np.empty(reals),
        bits=np.zeros(rays * words, dtype=np.uint64),
        frame=np.zeros((depth, 8), dtype=np.int64),
        facets=np.zeros((depth, words), dtype=np.uint64),
        state=np.zeros(total, dtype=np.int8),
        forms=np.zeros((n, total)),
        size=np.zeros(total),
        error=np.zeros(total),
        scratch=np.empty(reals),
        scratch_bits=np.zeros(rays * words, dtype=np.uint64),
        pairs=np.zeros((rays, 3), dtype=np.int64),
        z=np.empty(rays),
        sign=np.zeros(rays, dtype=np.int8),
        adjoint=np.zeros((2, total)),
        work=np.zeros((6, words), dtype=np.uint64),
        rows=np.zeros((most, n + 1)),
        chosen=np.zeros(n, dtype=np.int64),
        space=np.zeros((3, most + 1, n + 1)),
    )


def grow_stack(stack: Stack, d: int, words: int) -> Stack:
    """Double the arenas, keeping the cones and the path."""
    larger = build_stack(d, len(stack.state), words, 2 * len(stack.reals))
    larger.reals[: len(stack.reals)] = stack.reals
    larger.bits[: len(stack.bits)] = stack.bits
    return larger._replace(
        frame=stack.frame,
        facets=stack.facets,
        state=stack.state,
        forms=stack.forms,
        size=stack.size,
        error=stack.error,
        adjoint=stack.adjoint,
        work=stack.work,
    )


def build_out(d: int, total: int, words: int, *, records: int, regions: int, rays: int, facets: int) -> Out:
    """Allocate what the walk hands out; zero regions, rays and facets where nothing is stored."""
    byte: dict[str, Any] = {"dtype": np.int8}
    word: dict[str, Any] = {"dtype": np.uint64}
    whole: dict[str, Any] = {"dtype": np.int64}
    return Out(
        counts=np.zeros(total, **whole),
        worst=np.full(total, np.inf),
        stuck=np.zeros((records, total), **byte),
        stuck_at=np.zeros(records, **whole),
        open_state=np.zeros((records, total), **byte),
        open_bits=np.zeros((records, words), **word),
        open_first=np.zeros(records, **whole),
        bad=np.zeros(total, **byte),
        region_state=np.zeros((regions, total), **byte),
        region_piece=np.zeros((regions, d + 1)),
        region_end=np.zeros((regions, 2), **whole),
        ray=np.zeros((rays, d + 1)),
        ray_key=np.zeros((rays, 2 * words), **word),
        facet_key=np.zeros((facets, 2 * words), **word),
        facet=np.zeros((facets, 2), **whole),
        facet_jump=np.zeros(facets),
        facet_normal=np.zeros((facets, d)),
    )
