"""Makes batches of polytopes ready for minimisation: a point inside, a box around, flat ones unfolded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from jensen.errors import ArgumentError, DomainError
from jensen.minimize.polytopes._equations import rows_of_length_one, tight_rows, unfold
from jensen.minimize.polytopes._row_programme import RowProgramme
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._problem import TorchProblem
from jensen.network import FloatArray, Polytope

_FLAT = 2e-9
"""A ball of this radius, relative to the right-hand sides, is no interior."""


@dataclass(frozen=True)
class Ready:
    """Problems on polytopes with an interior, and the way back.

    Attributes
    ----------
    problem : TorchProblem
        Its box encloses the polytopes; it may be infinite.
    rows : Rows
    origin, basis : (batch, n) and (n, k) tensors, or None
        Where polytopes were flat, y = origin + basis z.
    """

    problem: TorchProblem
    rows: Rows
    origin: Tensor | None = None
    basis: Tensor | None = None

    def back(self, z: Tensor) -> Tensor:
        """Points (batch, n) of the polytopes from points of the unfolded ones."""
        if self.origin is None or self.basis is None:
            return z
        return self.origin + z @ self.basis.mT


def make_ready(problem: TorchProblem, domain: Polytope, right: Tensor | None, modulus: float = 0.0) -> Ready:
    """Find a point inside every polytope and a box around them; unfold flat ones.

    Parameters
    ----------
    problem : TorchProblem
        Without bounds of its own.
    domain : Polytope
    right : (batch, m) tensor, optional
        In place of the domain's b.
    modulus : float, default 0.0
        The objective is f + (modulus / 2) |y|^2. Where polytopes are unfolded, what that term is beside
        (modulus / 2) |z|^2 joins f.

    Raises
    ------
    ArgumentError
        If right has another shape or is not finite.
    DomainError
        If a polytope is empty, or they are flat in different directions.
    """
    A, n = domain.A, problem.size
    if A.shape[1] != n:
        raise DomainError(f"the polytope has {A.shape[1]} variables, and f has {n}")
    b = domain.b[None] if right is None else _right_sides(right, problem.batch, len(A))
    lo, hi, A, b = _bounds_apart(A, b)
    below, above = np.isfinite(lo).any(axis=0), np.isfinite(hi).any(axis=0)
    eye = sparse.eye_array(n, format="csr")
    programme = RowProgramme(
        sparse.csr_array(
            sparse.vstack([sparse.csr_array(A), -eye[np.flatnonzero(below)], eye[np.flatnonzero(above)]])
        ),
        np.hstack([b, -lo[:, below], hi[:, above]]),
    )
    inner, room = programme.centres()
    box = programme.enclosing_box(lo.min(axis=0), hi.max(axis=0))
    if (room <= _FLAT * (1.0 + np.abs(inner).max(axis=1, initial=0.0))).any():
        return _unfolded(problem, programme, box, modulus)
    like, batch = problem.lo, problem.batch
    low, high = np.maximum(box[0], lo), np.minimum(box[1], hi)
    return Ready(
        replace(problem, lo=_tensor(low, like, batch), hi=_tensor(high, like, batch)),
        Rows(
            torch.from_numpy(A).to(like),
            *(_tensor(part, like, batch) for part in (b, lo, hi, _beside(inner, room))),
        ),
    )


def _tensor(array: FloatArray, like: Tensor, batch: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like).expand(batch, array.shape[-1])


def _beside(inner: FloatArray, room: FloatArray) -> FloatArray:
    """Move points off hyperplanes that they may be on by chance."""
    n = inner.shape[1]
    away = np.random.default_rng(0).uniform(-0.5, 0.5, n) / np.sqrt(max(n, 1))
    moved: FloatArray = inner + room[:, None] * away
    return moved


def _right_sides(right: Tensor, batch: int, m: int) -> FloatArray:
    if not isinstance(right, Tensor) or tuple(right.shape) != (batch, m):
        got = tuple(right.shape) if isinstance(right, Tensor) else type(right).__name__
        raise ArgumentError(f"right must be a tensor of shape {(batch, m)}, got {got}")
    if not bool(torch.isfinite(right).all()):
        raise ArgumentError("right holds NaN or infinity")
    given: FloatArray = right.detach().cpu().double().numpy()
    return given


def _bounds_apart(A: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Read rows that bound one variable as bounds (samples, n); give these, and the others, of length 1."""
    n = A.shape[1]
    lo, hi = np.full((len(b), n), -np.inf), np.full((len(b), n), np.inf)
    single, void = np.count_nonzero(A, axis=1) == 1, ~A.any(axis=1)
    for i in np.flatnonzero(single):
        j = int(np.flatnonzero(A[i])[0])
        if A[i, j] > 0:
            hi[:, j] = np.minimum(hi[:, j], b[:, i] / A[i, j])
        else:
            lo[:, j] = np.maximum(lo[:, j], b[:, i] / A[i, j])
    empty = np.flatnonzero((lo > hi).any(axis=1) | (b[:, void] < 0).any(axis=1))
    if len(empty):
        raise DomainError("the polytope is empty" + (f" for sample {empty[0]}" if len(b) > 1 else ""))
    rest = ~single & ~void
    return lo, hi, *rows_of_length_one(A[rest], b[:, rest])


def _unfolded(
    problem: TorchProblem, programme: RowProgramme, box: tuple[FloatArray, FloatArray], modulus: float
) -> Ready:
    """Write y = origin + basis z, with z in polytopes that have an interior."""
    tight = _equations(programme)
    if (tight != tight[0]).any():
        raise DomainError(
            "the polytopes of the samples are flat in different directions: minimise them apart"
        )
    like, batch = problem.lo, problem.batch
    flat = unfold(programme.G.toarray(), programme.h, tight[0])
    origin, basis, G, h = flat.origin, flat.basis, flat.rows, flat.right
    inner, room = RowProgramme(sparse.csr_array(G), h).centres()
    if (room <= 0).any():
        raise DomainError(
            "the polytope is too thin for floating-point numbers: scale it, or use jensen.argmin"
        )
    sides = _enclosed(basis, box[0] - origin, box[1] - origin)
    far = np.full_like(inner, np.inf)
    rows = Rows(
        torch.from_numpy(G).to(like),
        *(_tensor(part, like, batch) for part in (h, -far, far, _beside(inner, room))),
    )
    start, turn = _tensor(origin, like, batch), torch.from_numpy(basis).to(like)

    def f(index: Tensor, z: Tensor) -> Tensor:
        z = z.to(turn)
        here, y = problem.take(index), start[index] + z @ turn.mT
        value = here.values(y)
        return value if modulus == 0 else value + modulus / 2 * (y.square().sum(1) - z.square().sum(1))

    low, high = (_tensor(side, like, batch) for side in sides)
    everyone = torch.arange(batch, device=like.device)
    inside = TorchProblem(f, everyone, None, low, high, (basis.shape[1],), problem.vouched, problem.dtype)
    return Ready(inside, rows, start, turn)


def _equations(programme: RowProgramme) -> NDArray[np.bool_]:
    """Tell which rows are equations for each sample, (samples, m)."""
    G, tight = programme.G.toarray(), np.zeros(programme.h.shape, dtype=np.bool_)
    for right, row in zip(programme.h, tight, strict=True):
        real = np.isfinite(right)
        row[real] = tight_rows(G[real], right[real])[1]
    return tight


def _enclosed(basis: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bound basis' y for y between low and high."""
    with np.errstate(invalid="ignore"):
        ends = np.stack([basis * low[..., None], basis * high[..., None]])
    ends = np.where(basis == 0, 0.0, ends)
    return ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
