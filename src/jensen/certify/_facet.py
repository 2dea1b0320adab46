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
from jensen.certify._strict import decide_strict
from jensen.network import ReLUNetwork
from jensen.verifier import Bends, Thin, Uncrossed


@dataclass(frozen=True)
class Kink:
    """A point and a direction along which f is strictly concave, exactly."""

    point: tuple[Fraction, ...]
    direction: tuple[Fraction, ...]


def decide_facet(
    network: ReLUNetwork,
    domain: ExactDomain,
    neuron: tuple[int, int],
    pattern: Sequence[NDArray[np.bool_]],
    decided: Sequence[NDArray[np.bool_]] | None = None,
) -> Kink | Uncrossed | Thin | Bends | None:
    """Decide one facet of one neuron exactly.

    The facet is {x in the domain : z_v(x) = 0, every other decided pre-activation has the sign that the
    pattern gives it}, closed. It is a frontier only if it has dimension d - 1 and v's kink crosses a
    direction in which convexity is asked. Neurons that vanish on all of it switch together with v, so that
    the jump is taken from the one-sided slopes themselves.

    Parameters
    ----------
    network : ReLUNetwork
    domain : ExactDomain
    neuron : (layer, index)
        Layers count from 1, neurons from 0.
    pattern : sequence of (n_l,) bool arrays
        Which neurons are active; v's own entry does not matter, nor do those that are not decided.
    decided : sequence of (n_l,) bool arrays, optional
        All by default. Only neurons whose affine form the decided signs determine are looked at.

    Returns
    -------
    Kink, Uncrossed, Thin, Bends or None
        A kink with a negative jump; or why the facet has none; or None where the signs that are not
        decided matter.
    """
    if decided is None:
        decided = [np.ones(active.size, dtype=bool) for active in pattern]
    d = network.input_size
    layer, index = neuron
    known = 1 + next((k for k, flags in enumerate(decided) if not flags.all()), len(decided))
    if layer > known:
        return None  # nothing is known about the kink itself yet
    forms = network.exact.affine_forms(pattern)[:-1]
    kink = [fmpq(int(v)) for v in forms[layer - 1][0][index]]
    across = [sum((kink[j] * v for j, v in step.items()), fmpq(0)) for step in domain.directions]
    if not any(across):
        return Uncrossed()
    elimination = Elimination.of([*domain.equalities, kink], d)
    if elimination is None:
        return Thin()
    rows: list[Row] = []
    names: list[int | tuple[int, int]] = []
    for name, row in zip(domain.labels, domain.inequalities, strict=True):
        reduced = elimination.reduce(row)
        if not any(reduced):
            return Thin(rows={name: fmpq(1)})  # the kink lies in the domain's boundary
        rows.append(reduced)
        names.append(name)
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
                names.append((position, int(i)))
    solution = decide_strict(rows, len(elimination.free))
    if isinstance(solution, dict):
        used = [(names[k], y) for k, y in solution.items()]
        return Thin(
            {name: y for name, y in used if isinstance(name, tuple)},
            {name: y for name, y in used if isinstance(name, int)},
        )
    if known <= network.depth:
        return None
    point = elimination.lift(solution)
    largest = max(abs(v) for v in across)  # integer forms of deep networks exceed every float
    move = [fmpq(0)] * d
    for c, step in zip(across, domain.directions, strict=True):
        for j, v in step.items():
            move[j] += c / largest * v
    where, direction = (tuple(_fraction(v) for v in part) for part in (point, move))
    forward, backward = network.exact.one_sided_slopes(where, direction)
    return Kink(where, direction) if forward + backward < 0 else Bends(point, move)


def _fraction(v: fmpq) -> Fraction:
    return Fraction(int(v.p), int(v.q))
