"""Which rows of a polytope are equations all over it, and the plane that they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import linprog

from jensen.errors import DomainError, JensenError
from jensen.network import FloatArray

_PARALLEL = 1e-9
"""Rows of length 1 that leave so little beside one another say the same."""


def tight_rows(G: FloatArray, h: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Find a point of {G y <= h} that obeys strictly whatever row can be, and the rows that cannot.

    Parameters
    ----------
    G : (m, n) array
        Rows of length 1.
    h : (m,) array

    Raises
    ------
    DomainError
        If there is no point.
    JensenError
        If HiGHS does not tell.

    Notes
    -----
    Rows with slacks t <= 1 in G z + t <= h s with s >= 1, y = z / s: since z and s may be as large as it
    takes, the largest sum of slacks has t = 1 wherever a slack can be positive (Freund, Roundy and Todd,
    1985). Without s a row might be sacrificed to others.
    """
    m, n = G.shape
    goal = np.concatenate([np.zeros(n + 1), -np.ones(m)])
    limits = [(None, None)] * n + [(1.0, None)] + [(0.0, 1.0)] * m
    found = linprog(goal, np.hstack([G, -h[:, None], np.eye(m)]), np.zeros(m), bounds=limits, method="highs")
    if found.status == 2:
        raise DomainError("the polytope is empty")
    if found.x is None:
        raise JensenError(f"HiGHS does not tell about the polytope: {found.message}")
    return found.x[:n] / found.x[n], found.x[n + 1 :] < 0.5


def plane_of(equations: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the point (n,) of {y : equations y = right} nearest to 0, and orthonormal directions (n, k)."""
    directions, triangle, order = linalg.qr(equations.T, pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > _PARALLEL).sum())
    across = linalg.solve_triangular(triangle[:rank, :rank], right[order[:rank]], trans="T")
    return directions[:, :rank] @ across, np.ascontiguousarray(directions[:, rank:])
