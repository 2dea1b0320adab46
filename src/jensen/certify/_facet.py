"""Exact decisions at one facet: whether it is one, and whether the slope decreases across it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import fmpq
from numpy.typing import NDArray

from jensen.certify._exact_domain import Elimination, ExactDomain
from jensen.certify._simplex import Row
from jensen.certify._strict import strict_solution
from jensen.network import ReLUNetwork


@dataclass(frozen=True)
class Kink:
    """A point and a direction along which f is strictly concave, exactly."""

    point: tuple[Fraction, ...]
    direction: tuple[Fraction, ...]


def facet_violation(
    network: ReLUNetwork,
    domain: ExactDomain,
    neuron: tuple[int, int],
    pattern: Sequence[NDArray[np.bool_]],
) -> Kink | None:
    """Decide one facet of one neuron exactly.

    The facet is {x in the domain : z_v(x) = 0, every other pre-activation has the sign that the pattern
    gives it}, closed. It is a frontier only if it has dimension d - 1 and v's kink crosses a direction in
    which convexity is asked. Neurons that vanish on all of it switch together with v, so that the jump
    is taken from the one-sided slopes themselves.

    Parameters
    ----------
    network : ReLUNetwork
    domain : ExactDomain
    neuron : (layer, index)
        Layers count from 1, neurons from 0.
    pattern : sequence of (n_l,) bool arrays
        Which neurons are active; v's own entry does not matter.

    Returns
    -------
    Kink or None
        A kink with a negative jump, or None if this is no frontier or its jump is nonnegative.
    """
    everything = [np.ones(active.size, dtype=bool) for active in pattern]
    facet = _facet(network, domain, neuron, pattern, everything)
    if facet is None:
        return None
    point, across = facet
    move = [fmpq(0)] * network.input_size
    for c, step in zip(across, domain.directions, strict=True):
        for j, v in step.items():
            move[j] += c * v
    direction = tuple(_fraction(v) for v in move)
    forward, backward = network.exact.one_sided_slopes(point, direction)
    return Kink(point, direction) if forward + backward < 0 else None


def is_realised(
    network: ReLUNetwork,
    domain: ExactDomain,
    neuron: tuple[int, int],
    pattern: Sequence[NDArray[np.bool_]],
    decided: Sequence[NDArray[np.bool_]],
) -> bool:
    """Whether signs decided so far leave room for a facet of dimension d - 1, exactly.

    Only neurons whose affine form the decided signs determine are looked at, so that True may be wrong
    and False is a proof.

    Parameters
    ----------
    network, domain, neuron, pattern
        As in `facet_violation`; entries of the pattern that are not decided do not matter.
    decided : sequence of (n_l,) bool arrays
    """
    return _facet(network, domain, neuron, pattern, decided) is not None


def _facet(
    network: ReLUNetwork,
    domain: ExactDomain,
    neuron: tuple[int, int],
    pattern: Sequence[NDArray[np.bool_]],
    decided: Sequence[NDArray[np.bool_]],
) -> tuple[tuple[Fraction, ...], list[fmpq]] | None:
    """Find a relative-interior point of a facet, and how its normal crosses the domain's directions."""
    d = network.input_size
    layer, index = neuron
    known = 1 + next((k for k, flags in enumerate(decided) if not flags.all()), len(decided))
    if layer > known:
        return (), []  # nothing is known about the kink itself yet
    forms = network.exact.affine_forms(pattern)[:-1]
    kink = [fmpq(int(v)) for v in forms[layer - 1][0][index]]
    across = [sum((kink[j] * v for j, v in step.items()), fmpq(0)) for step in domain.directions]
    if not any(across):
        return None
    largest = max(abs(v) for v in across)  # integer forms of deep networks exceed every float
    across = [v / largest for v in across]
    elimination = Elimination.of([*domain.equalities, kink], d)
    if elimination is None:
        return None
    rows: list[Row] = []
    for row in domain.inequalities:
        reduced = elimination.reduce(row)
        if not any(reduced):
            return None  # the kink lies in the domain's boundary
        rows.append(reduced)
    for position in range(1, min(known, network.depth) + 1):
        integers = forms[position - 1][0]
        bends = network.layers[position - 1].negative_slope != 1  # the others may have either sign
        for i in np.flatnonzero(decided[position - 1] & bends):
            if (position, int(i)) == neuron:
                continue
            sign = 1 if pattern[position - 1][i] else -1
            reduced = elimination.reduce([fmpq(sign * int(v)) for v in integers[i]])
            if any(reduced):
                rows.append(reduced)
    solution = strict_solution(rows, len(elimination.free))
    if solution is None:
        return None
    return tuple(_fraction(v) for v in elimination.lift(solution)), across


def _fraction(v: fmpq) -> Fraction:
    return Fraction(int(v.p), int(v.q))
