"""Where the walk stands: its point, the kinks, rows and bounds it is held on, and its scratch space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jensen.minimize.walk._passes import Ints, Packed, States
from jensen.network import FloatArray

COUNT, SOUND, ROUNDS, FLIPS, DROPS, IDLE = 0, 1, 2, 3, 4, 5
"""Entries of `Walk.counts`: rows held, how many of them are factored, rounds, kinks crossed, rows let go, and
kinks met in a row without moving."""


class Goal(NamedTuple):
    """Minimise net(y) + tilt . y + (curvature / 2) |y|^2 over lo <= y <= hi, rows y <= right.

    Attributes
    ----------
    tilt, lo, hi : (n,) arrays
    rows : (m, n) array
    right : (m,) array
    reach : (m,) array
        Largest rate at which a row can change while no variable moves faster than 1.
    curvature : float
        At least 0.
    """

    tilt: FloatArray
    lo: FloatArray
    hi: FloatArray
    rows: FloatArray
    right: FloatArray
    reach: FloatArray
    curvature: float


class Walk(NamedTuple):
    """Everything that changes while it walks; neurons are followed by the rows of the domain (N + m).

    Attributes
    ----------
    y : (n,) array
    value : (n + N,) array
        Activations; the first n are y.
    z : (N + m,) array
        Pre-activations; rows @ y - right for the domain's rows, which are never positive.
    state : (N + m,) int array
    bound : (n,) int array
        -1 where a variable is held at its lower bound, 1 at its upper.
    held : (n,) int array
        The neurons and rows that are held; those whose normals never change come first.
    normals, q, r : (n, n) arrays
        Row by row the normals of what is held, and the factors of their free columns, normals = r @ q; see
        `free_part` for how q is stored.
    multiplier : (n,) array
    gradient : (n,) array
        Of everything but the held neurons.
    step : (n,) array
        The direction; after "unbounded" the ray.
    counts : int array
    """

    y: FloatArray
    value: FloatArray
    z: FloatArray
    state: States
    bound: States
    held: Ints
    normals: FloatArray
    q: FloatArray
    r: FloatArray
    multiplier: FloatArray
    gradient: FloatArray
    step: FloatArray
    counts: Ints
    dvalue: FloatArray
    dz: FloatArray
    dh: FloatArray
    sens: FloatArray
    adjoint: FloatArray
    back: FloatArray
    row: FloatArray


def new_walk(net: Packed, rows: int) -> Walk:
    """Make room for a walk."""
    n, neurons = net.inputs, len(net.bias)
    return Walk(
        y=np.zeros(n),
        value=np.zeros(n + neurons),
        z=np.zeros(neurons + rows),
        state=np.zeros(neurons + rows, dtype=np.int8),
        bound=np.zeros(n, dtype=np.int8),
        held=np.zeros(n, dtype=np.int64),
        normals=np.zeros((n, n)),
        q=np.zeros((n, n)),
        r=np.zeros((n, n)),
        multiplier=np.zeros(n),
        gradient=np.zeros(n),
        step=np.zeros(n),
        counts=np.zeros(6, dtype=np.int64),
        dvalue=np.zeros(n + neurons),
        dz=np.zeros(neurons + rows),
        dh=np.zeros(n + neurons),
        sens=np.zeros(neurons),
        adjoint=np.zeros(n + neurons),
        back=np.zeros(neurons),
        row=np.zeros(n),
    )
