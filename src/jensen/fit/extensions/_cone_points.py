"""Points inside polyhedral cones, and the directions in which cones do not bind: small linear programmes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from jensen.fit._losses import Floats

MARGIN = 1e-9
"""Cones thinner than this, for unit rows, are taken for ones without interior."""


def unit_rows(rows: Floats) -> Floats:
    """Drop rows of zeros, and scale the others to length 1."""
    lengths = np.linalg.norm(rows, axis=1)
    return np.asarray(rows[lengths > 0] / lengths[lengths > 0, None])


def point_inside(rows: Floats) -> Floats | None:
    """Find the point of the cube that is farthest inside a cone {rows u >= 0}, if it is inside.

    Parameters
    ----------
    rows : (q, k) array
        Rows of zeros are no constraints.
    """
    unit, k = unit_rows(rows), rows.shape[1]
    cost = np.zeros(k + 1)
    cost[k] = -1.0
    found = linprog(
        cost,
        A_ub=np.concatenate([-unit, np.ones((len(unit), 1))], axis=1),
        b_ub=np.zeros(len(unit)),
        bounds=[(-1.0, 1.0)] * k + [(None, 1.0)],
        method="highs",
    )
    if found.status != 0 or found.x is None or found.x[k] <= MARGIN:
        return None
    return np.asarray(found.x[:k])


def widest_recession(rows: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Find z with rows z >= 0 for which as many rows as possible are positive.

    Parameters
    ----------
    rows : (q, k) array

    Returns
    -------
    z : (k,) array
        rows z is at least 1 where it is positive.
    positive : (q,) bool array
        Sums of such z are such z, so that no other z makes any other row positive.
    """
    q, k = rows.shape
    if not k or not q:
        return np.zeros(k), np.zeros(q, dtype=bool)
    found = linprog(
        np.concatenate([np.zeros(k), -np.ones(q)]),
        A_ub=np.concatenate([-rows, np.eye(q)], axis=1),
        b_ub=np.zeros(q),
        bounds=[(None, None)] * k + [(0.0, 1.0)] * q,
        method="highs",
    )
    if found.status != 0 or found.x is None:
        return np.zeros(k), np.zeros(q, dtype=bool)
    z, positive = np.asarray(found.x[:k]), found.x[k:] > 0.5
    return z, np.asarray(positive)
