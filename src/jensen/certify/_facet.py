"""Exact decisions at one facet: is it one, and does the slope decrease across it?"""

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
    d = network.input_size
    forms = network.exact.affine_forms(pattern)[:-1]
    layer, index = neuron
    kink = [fmpq(int(v)) for v in forms[layer - 1][0][index]]
    across = [sum((kink[j] * v for j, v in step.items()), fmpq(0)) for step in domain.directions]
    if not any(across):
        return None
    elimination = Elimination.of([*domain.equalities, kink], d)
    if elimination is None:
        return None
    rows: list[Row] = []
    for row in domain.inequalities:
        reduced = elimination.reduce(row)
        if not any(reduced):
            return None  # the kink lies in the domain's boundary
        rows.append(reduced)
    for position, ((integers, _), active) in enumerate(zip(forms, pattern, strict=True), start=1):
        for i, on in enumerate(active):
            if (position, i) == neuron:
                continue
            sign = 1 if on else -1
            reduced = elimination.reduce([fmpq(sign * int(v)) for v in integers[i]])
            if any(reduced):
                rows.append(reduced)
    solution = strict_solution(rows, len(elimination.free))
    if solution is None:
        return None
    point = tuple(_fraction(v) for v in elimination.lift(solution))
    move = [fmpq(0)] * d
    for c, step in zip(across, domain.directions, strict=True):
        for j, v in step.items():
            move[j] += c * v
    direction = tuple(_fraction(v) for v in move)
    forward, backward = network.exact.one_sided_slopes(point, direction)
    return Kink(point, direction) if forward + backward < 0 else None


def _fraction(v: fmpq) -> Fraction:
    return Fraction(int(v.p), int(v.q))
