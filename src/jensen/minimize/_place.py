"""Polytopes as argmin layers and proximal maps take them: read once, before there are batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from jensen.errors import DomainError
from jensen.minimize._equations import plane_of, tight_rows
from jensen.minimize._plane import Plane
from jensen.minimize._rows import Rows
from jensen.minimize._torch_problem import Bounds, TorchProblem
from jensen.network import Box, Polytope

_PARALLEL = 1e-9
"""Rows of length 1 of which so little is left in a plane say nothing there."""


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
        n, lengths = domain.A.shape[1], np.linalg.norm(domain.A, axis=1)
        if n == 0:
            raise DomainError("the polytope has no variables")
        if (domain.b[lengths == 0] < 0).any():
            raise DomainError("the polytope is empty")
        some = lengths > 0
        G, h = domain.A[some] / lengths[some, None], domain.b[some] / lengths[some]
        inner, tight = tight_rows(G, h)
        self.size = n
        self.plane: Plane | None = None
        if tight.any():
            origin, basis = plane_of(G[tight], h[tight])
            self.plane = Plane(torch.from_numpy(origin), torch.from_numpy(basis))
            G, h, inner = G[~tight] @ basis, h[~tight] - G[~tight] @ origin, (inner - origin) @ basis
            lengths = np.linalg.norm(G, axis=1)
            some = lengths > _PARALLEL
            G, h = G[some] / lengths[some, None], h[some] / lengths[some]
        far = torch.full((1, G.shape[1]), torch.inf, dtype=torch.float64)
        b, point = torch.from_numpy(h)[None], torch.from_numpy(inner)[None]
        if not bool((b - point @ torch.from_numpy(G).mT > 0).all()):
            raise DomainError("the polytope is too thin for floating-point numbers: scale it")
        self.rows = Rows(torch.from_numpy(G), b, -far, far, point)

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
