"""Newton systems of group-sparse problems: (C + sigma sum_g M_g J_g M_g') s = b.

C is diagonal and positive, M_g = sign_g D_g X, and J_g = P - a (P - w w') is the derivative of the group's
proximal map: P projects on the span of the face of its cone, w is the unit vector of u_g, a in [0, 1) the
shrinkage.

Three ways to the solution: by columns (Woodbury) if the faces' dimensions add up to less than n; by Hadamard
products otherwise, because sum_g (1 - a_g) M_g M_g' = X X' o (S' diag(1 - a) S) with the signed gates S costs
no more for many columns than for few; by conjugate gradients if both take much longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dgeqrf, dormqr

from jensen.fit._losses import Floats

_LARGEST = 3000
"""Order of the largest matrix that is factored."""
_ACCURACY = 1e-3
_MOST_STEPS = 500
"""Conjugate gradients end at this relative residual or after this many steps."""
_CANCELLED = 1e-8
"""Part of the diagonal that may be added to a difference of matrices before it is held to be lost."""
_USUAL_STEPS = 300
"""Steps of conjugate gradients that take as long as is risked; they often need fewer."""


@dataclass(frozen=True)
class ActiveGroups:
    """The groups in use at a point.

    Attributes
    ----------
    masks : (m, n) array
        sign_g times the gates.
    directions : (m, d) array
        Unit vectors of the groups' coefficients.
    shrinkage : (m,) array
        a_g in [0, 1).
    normals : list of (k_g, d) arrays, or None
        Orthonormal rows that span the active constraints of each group's cone; None without cones.
    """

    masks: Floats
    directions: Floats
    shrinkage: Floats
    normals: list[Floats] | None

    def face_dimensions(self) -> list[int]:
        """Dimensions of the faces."""
        d = self.directions.shape[1]
        return [d - len(rows) for rows in self.normals] if self.normals else [d] * len(self.masks)


def solve_newton(
    x: Floats, gram: Floats | None, active: ActiveGroups, diagonal: Floats, sigma: float, right: Floats
) -> Floats:
    """Solve (C + sigma sum_g M_g J_g M_g') s = b.

    Parameters
    ----------
    x : (n, d) array
    gram : (n, n) array, optional
        X X'; see `wants_gram`.
    active : ActiveGroups
    diagonal : (n,) array
        C.
    sigma : float
    right : (n,) array
        b.
    """
    columns = sum(active.face_dimensions())
    if columns == 0:
        return right / diagonal
    (n, d), m = x.shape, len(active.masks)
    iterating = 4 * _USUAL_STEPS * n * d * m
    if columns <= min(n, _LARGEST) and n * columns**2 + columns**3 / 3 <= iterating:
        return _by_columns(x, active, diagonal, sigma, right)
    if gram is not None and n**2 * (m + d) + n**3 / 3 <= iterating:
        return _by_products(x, gram, active, diagonal, sigma, right)
    return _by_conjugate_gradients(x, active, diagonal, sigma, right)


def wants_gram(n: int) -> bool:
    """Whether X X' should be computed for n samples."""
    return n <= _LARGEST


def _face_basis(normals: Floats) -> Floats:
    """Orthonormal columns orthogonal to the rows."""
    k, d = normals.shape
    if k == 0:
        return np.eye(d)
    reflectors, scales, _, _ = dgeqrf(normals.T)
    basis: Floats = dormqr("L", "N", reflectors, scales, np.eye(d)[:, k:], 32 * d)[0]
    return basis


def _factored(matrix: Floats, right: Floats, most: float = np.inf) -> Floats | None:
    """Solve a positive definite system that rounding may have made singular.

    Its diagonal is scaled to 1, and raised by at most `most` if need be; None where that is not enough.
    """
    diagonal = np.diagonal(matrix).copy()
    if not (np.isfinite(matrix).all() and (diagonal > 0).all()):
        return None
    roots = np.sqrt(diagonal)
    matrix = matrix / roots[:, None] / roots
    # With a diagonal of n + 1 every matrix of correlations is positive definite.
    shift, enough = 0.0, min(most, 2.0 * len(matrix))
    while shift <= enough:
        np.fill_diagonal(matrix, 1 + shift)
        try:
            factor = cho_factor(matrix, check_finite=False)
        except LinAlgError:
            shift = max(1e-13, min(30 * shift, enough) if shift < enough else np.inf)
            continue
        return np.asarray(cho_solve(factor, right / roots, check_finite=False) / roots)
    return None


def _by_columns(x: Floats, active: ActiveGroups, diagonal: Floats, sigma: float, right: Floats) -> Floats:
    inverse = 1 / diagonal
    blocks = []
    for g, (mask, w, a) in enumerate(zip(active.masks, active.directions, active.shrinkage, strict=True)):
        basis = _face_basis(active.normals[g]) if active.normals else np.eye(len(w))
        # J = T T' with T = root Z + (1 - root) w (Z'w)'.
        root = np.sqrt(1 - a)
        blocks.append(x @ (root * basis + np.outer((1 - root) * w, w @ basis)) * mask[:, None])
    b = np.concatenate(blocks, axis=1)
    weighted = np.sqrt(inverse)[:, None] * b
    system = weighted.T @ weighted
    system[np.diag_indices(len(system))] += 1 / sigma
    base = inverse * right
    inner = _factored(system, b.T @ base)
    # Without a direction the line search ends the steps.
    return base - inverse * (b @ inner) if inner is not None else np.full_like(right, np.nan)


def _by_products(
    x: Floats,
    gram: Floats,
    active: ActiveGroups,
    diagonal: Floats,
    sigma: float,
    right: Floats,
    subtract: bool = True,
) -> Floats:
    masks, free = active.masks, 1 - active.shrinkage
    minus: list[Floats] = []
    plus = [(np.sqrt(active.shrinkage)[:, None] * masks * (active.directions @ x.T)).T]
    whole = np.ones(len(masks), dtype=bool)
    for g, rows in enumerate(active.normals or []):
        k, d = rows.shape
        if k == 0:
            continue
        whole[g] = subtract and 2 * k <= d
        scaled = (np.sqrt(free[g]) * masks[g])[:, None]
        (minus if whole[g] else plus).append(scaled * (x @ (rows.T if whole[g] else _face_basis(rows))))
    roots = np.sqrt(free[whole])[:, None] * masks[whole]
    system = gram * (roots.T @ roots)
    columns = np.concatenate(plus, axis=1)
    system += columns @ columns.T
    if minus:
        columns = np.concatenate(minus, axis=1)
        system -= columns @ columns.T
    system *= sigma
    system[np.diag_indices(len(system))] += diagonal
    found = _factored(system, right, _CANCELLED if minus else np.inf)
    if found is not None:
        return found
    if minus:
        # What was subtracted cancels: sums alone have no such trouble.
        return _by_products(x, gram, active, diagonal, sigma, right, subtract=False)
    return np.full_like(right, np.nan)


def _by_conjugate_gradients(
    x: Floats, active: ActiveGroups, diagonal: Floats, sigma: float, right: Floats
) -> Floats:
    masks, w, a = active.masks, active.directions, active.shrinkage[:, None]

    def apply(s: Floats) -> Floats:
        v = (masks * s) @ x
        for g, rows in enumerate(active.normals or []):
            v[g] -= (v[g] @ rows.T) @ rows
        v = (1 - a) * v + a * (w * v).sum(1, keepdims=True) * w
        return np.asarray(diagonal * s + sigma * ((v @ x.T) * masks).sum(0))

    # Preconditioned by the diagonal without cones, which is not below that with them.
    precondition = 1 / (diagonal + sigma * (x**2).sum(1) * ((1 - a) * masks**2).sum(0))
    s, residual = np.zeros_like(right), right.copy()
    z = precondition * residual
    direction, product = z.copy(), float(residual @ z)
    first = product
    for _ in range(_MOST_STEPS):
        if product <= _ACCURACY**2 * first:
            break
        image = apply(direction)
        step = product / float(direction @ image)
        s += step * direction
        residual -= step * image
        z = precondition * residual
        before, product = product, float(residual @ z)
        direction = z + (product / before) * direction
    return s
