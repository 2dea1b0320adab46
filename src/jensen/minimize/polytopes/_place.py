"""Polytopes as argmin layers and proximal maps take them: read once, before there are batches."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from jensen.errors import DomainError
from jensen.minimize.polytopes._equations import rows_of_length_one, tight_rows, unfold
from jensen.minimize.polytopes._row_programme import RowProgramme
from jensen.minimize.polytopes._rows import Rows
from jensen.minimize.tensors._plane import Plane
from jensen.minimize.tensors._problem import Bounds, TorchProblem
from jensen.network import Box, Polytope


class Place:
    """A polytope with a point inside it; where it is flat, the plane that it lies in.

    Parameters
    ----------
    domain : Polytope

    Raises
    ------
    DomainError
        If it is empty, has no variables, or is thinner than rounding.
    """

    def __init__(self, domain: Polytope) -> None:
        n = domain.A.shape[1]
        if n == 0:
            raise DomainError("the polytope has no variables")
        if (domain.b[~domain.A.any(axis=1)] < 0).any():
            raise DomainError("the polytope is empty")
        G, h = rows_of_length_one(domain.A, domain.b)
        inner, tight = tight_rows(G, h)
        self.size = n
        self.plane: Plane | None = None
        if tight.any():
            flat = unfold(G, h[None], tight)
            self.plane = Plane(torch.from_numpy(flat.origin[0]), torch.from_numpy(flat.basis))
            G, h, inner = flat.rows, flat.right[0], (inner - flat.origin[0]) @ flat.basis
        far = torch.full((1, G.shape[1]), torch.inf, dtype=torch.float64)
        b, point = torch.from_numpy(h)[None], torch.from_numpy(inner)[None]
        if not bool((b - point @ torch.from_numpy(G).mT > 0).all()):
            raise DomainError("the polytope is too thin for floating-point numbers: scale it")
        self.rows = Rows(torch.from_numpy(G), b, -far, far, point)

    @cached_property
    def around(self) -> tuple[Tensor, Tensor]:
        """A box (1, k) around the polytope, in the coordinates of the plane; infinite where there is none."""
        rows, far = self.rows, np.full(self.rows.A.shape[1], np.inf)
        programme = RowProgramme(sparse.csr_array(rows.A.numpy()), rows.b.numpy())
        low, high = programme.enclosing_box(-far, far)
        return torch.from_numpy(low)[None], torch.from_numpy(high)[None]

    def enter(self, problem: TorchProblem) -> tuple[TorchProblem, Rows]:
        """Give the problems in the coordinates of the plane, without bounds, and the rows for each.

        Raises
        ------
        DomainError
            If the problems have another number of variables.
        """
        if problem.size != self.size:
            raise DomainError(f"the polytope has {self.size} variables, and f has {problem.size}")
        like, rows = problem.lo, self.rows
        b, lo, hi, inner = (
            side.to(like).expand(problem.batch, -1) for side in (rows.b, rows.lo, rows.hi, rows.inner)
        )
        inside = replace(rows, A=rows.A.to(like), b=b, lo=lo, hi=hi, inner=inner)
        return problem if self.plane is None else problem.within(self.plane.to(like)), inside


def as_place(domain: Bounds) -> tuple[Bounds, Place | None]:
    """Tell boxes from polytopes: the box in which to state the problems, and a polytope's place."""
    if not isinstance(domain, Polytope):
        return domain, None
    far = np.full(domain.A.shape[1], np.inf)
    return Box(-far, far), Place(domain)
