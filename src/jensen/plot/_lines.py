"""Random lines through a domain, and the jumps of a network at all kinks along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.certify._exact_domain import ExactDomain
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace
from jensen.plot._file import PlotError
from jensen.plot._slice import clip_line

_SNAP = 1e-9
_PATIENCE = 6e9
"""Multiplications that the kinks of one picture may cost."""
_FEWEST = 12
"""Kinks looked for on a line, however large the network."""
_CHUNK = 20_000_000
"""Pre-activations held at a time, in numbers."""

_PROBES = 17
_REACH = 4.0
"""Half-length of a segment that meets no end of the domain."""


@dataclass(frozen=True, eq=False)
class Kinks:
    """Kinks met along lines.

    Attributes
    ----------
    layers, neurons : (kinks,) int arrays
        Which neuron switches; layers count from 1.
    jumps : (kinks,) array
        Derivative of the output by the neuron's activation, times 1 - its negative slope: the change of
        slope per unit of its pre-activation.
    """

    layers: NDArray[np.intp]
    neurons: NDArray[np.intp]
    jumps: FloatArray


def directions(exact: ExactDomain) -> sparse.csr_array:
    """Basis (k, d) of the directions that a domain leaves free, as floats."""
    basis = sparse.lil_array((len(exact.directions), exact.d), dtype=np.float64)
    for i, step in enumerate(exact.directions):
        for j, v in step.items():
            basis[i, j] = int(v.p) / int(v.q)
    return basis.tocsr()


def random_segments(
    domain: Domain, d: int, count: int, rng: np.random.Generator, wrt: Sequence[int] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Draw segments that run through a domain from end to end.

    Parameters
    ----------
    domain : Domain
    d : int
    count : int
    rng : numpy.random.Generator
    wrt : sequence of int, optional
        Inputs that change along a segment; all by default.

    Returns
    -------
    starts, ends : (count, d) arrays

    Raises
    ------
    PlotError
        If the domain has no extent in the chosen inputs.
    DomainError
        If the domain is empty.
    """
    hull = ExactDomain(domain, d)
    strides = directions(hull)
    moves = strides if wrt is None else directions(ExactDomain(domain, d, tuple(wrt)))
    if not moves.shape[0]:
        raise PlotError("the domain fixes every input that was asked about: there is nothing to draw")
    point = hull.interior_point
    segments = []
    for _ in range(count):
        # Hit and run: the next point lies somewhere on a line through this one.
        stride = _direction(strides, rng)
        point = point + rng.uniform(*_reach(domain, point, stride)) * stride
        direction = _direction(moves, rng)
        low, high = _reach(domain, point, direction)
        segments.append((point + low * direction, point + high * direction))
        if isinstance(domain, WholeSpace):
            point = np.zeros(d)
    starts, stops = np.array(segments).transpose(1, 0, 2)
    return starts, stops


def _direction(basis: sparse.csr_array, rng: np.random.Generator) -> FloatArray:
    step: FloatArray = basis.T @ rng.normal(size=basis.shape[0])
    step /= np.linalg.norm(step)
    return step


def _reach(domain: Domain, point: FloatArray, direction: FloatArray) -> tuple[float, float]:
    """Interval of a line that lies in the domain, at most `_REACH` to either side."""
    low, high = clip_line(domain, point, direction)
    if low > high:
        raise PlotError("the domain is too thin for float64: no line runs through it")
    return max(low, -_REACH), min(high, _REACH)


def kinks_along(network: ReLUNetwork, starts: FloatArray, ends: FloatArray) -> Kinks:
    """Find all kinks of a network along segments, layer by layer.

    Between the kinks of earlier layers a pre-activation is affine, so that its zeros there are found by
    interpolation. Large networks have their segments cut short, and some left out, lest it take long.

    Parameters
    ----------
    network : ReLUNetwork
    starts, ends : (count, d) arrays

    Returns
    -------
    Kinks
    """
    if not network.depth:
        nothing = np.zeros(0, dtype=np.intp)
        return Kinks(nothing, nothing, np.zeros(0))
    affordable = int(_PATIENCE / (network.n_weights * (network.depth + 1)))
    most = int(np.clip(affordable / len(starts), _FEWEST, _CHUNK // network.n_neurons + 1))
    parts = []
    for start, end in zip(starts, ends, strict=True):
        parts.append(_kinks_on_one(network, start, _shorten(network, start, end, most)))
        affordable -= len(parts[-1][0])
        if affordable <= 0:
            break
    layers, neurons, jumps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Kinks(layers, neurons, jumps)


def _shorten(network: ReLUNetwork, start: FloatArray, end: FloatArray, most: int) -> FloatArray:
    """Move the end towards the start until about `most` neurons switch in between."""
    while True:
        signs = [z > 0 for z in network.preactivations(np.linspace(start, end, _PROBES))]
        crossings = sum(int((s[1:] != s[:-1]).sum()) for s in signs)
        if crossings <= most:
            return end
        end = start + 0.8 * most / crossings * (end - start)


def _kinks_on_one(
    network: ReLUNetwork, start: FloatArray, end: FloatArray
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    places = np.array([0.0, 1.0])
    layers: list[NDArray[np.intp]] = []
    neurons: list[NDArray[np.intp]] = []
    found: list[FloatArray] = []
    for position in range(network.depth):
        z = network.preactivations(start + places[:, None] * (end - start))[position]
        z = np.where(np.abs(z) <= _SNAP * np.abs(z).max(axis=0, initial=0.0), 0.0, z)
        piece, neuron = np.nonzero(z[:-1] * z[1:] < 0)
        a, b = z[piece, neuron], z[piece + 1, neuron]
        fresh = places[piece] + a / (a - b) * (places[piece + 1] - places[piece])
        layers.append(np.full(len(fresh), position + 1, dtype=np.intp))
        neurons.append(neuron)
        found.append(fresh)
        places = np.unique(np.concatenate([places, fresh]))
    where = np.concatenate([*found, np.zeros(0)])
    layer, neuron = (
        np.concatenate([*layers, []]).astype(np.intp),
        np.concatenate([*neurons, []]).astype(np.intp),
    )
    # On the piece just behind a kink only the neuron itself has switched, which leaves its adjoint alone.
    behind = np.searchsorted(places, where, side="right")
    middles = (where + places[np.minimum(behind, len(places) - 1)]) / 2
    jumps = np.zeros(len(where))
    step = max(1, _CHUNK // max(network.n_neurons, 1))
    for first in range(0, len(where), step):
        part = slice(first, first + step)
        adjoints = network.adjoint(start + middles[part, None] * (end - start))
        for position, adjoint in enumerate(adjoints, start=1):
            here = np.flatnonzero(layer[part] == position)
            index = neuron[part][here]
            factor = 1.0 - network.layers[position - 1].negative_slope[index]
            jumps[first + here] = adjoint[here, index] * factor
    return layer, neuron, jumps
