"""Which rows of a polytope are equations all over it, and the polytope in the plane that they leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import linprog

from jensen.errors import DomainError, JensenError
from jensen.network import FloatArray

_PARALLEL = 1e-9
"""Rows of length 1 that leave so little beside one another say the same, and nothing where that is all."""


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


def rows_of_length_one(G: FloatArray, h: FloatArray, least: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Scale rows (m, n) and their right-hand sides (..., m); leave those out that are no longer than this."""
    lengths = np.linalg.norm(G, axis=1)
    real = lengths > least
    return G[real] / lengths[real, None], h[..., real] / lengths[real]


@dataclass(frozen=True)
class Unfolded:
    """Flat polytopes {y : G y <= h_i} as {origin_i + basis z : rows z <= right_i}.

    Attributes
    ----------
    origin : (samples, n) array
        The points nearest to 0 where the equations hold.
    basis : (n, k) array
        Orthonormal columns.
    rows, right : (l, k) and (samples, l) arrays
        Of length 1; those that say nothing within the plane are left out.
    """

    origin: FloatArray
    basis: FloatArray
    rows: FloatArray
    right: FloatArray


def unfold(G: FloatArray, h: FloatArray, tight: NDArray[np.bool_]) -> Unfolded:
    """Write polytopes in coordinates of the plane in which some rows are equations.

    Parameters
    ----------
    G : (m, n) array
        Rows of length 1.
    h : (samples, m) array
    tight : (m,) boolean array
    """
    directions, triangle, order = linalg.qr(G[tight].T, pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > _PARALLEL).sum())
    chosen = h[:, np.flatnonzero(tight)[order[:rank]]]
    across = linalg.solve_triangular(triangle[:rank, :rank], chosen.T, trans="T").T
    origin: FloatArray = across @ directions[:, :rank].T
    basis: FloatArray = np.ascontiguousarray(directions[:, rank:], dtype=np.float64)
    others = G[~tight]
    rows, right = rows_of_length_one(others @ basis, h[:, ~tight] - origin @ others.T, _PARALLEL)
    return Unfolded(origin, basis, rows, right)
