"""Data in the coordinates that pricing sees, and what that costs a rigorous bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jensen.fit._outward import TINY, UNIT, length_bound, outward
from jensen.fit._price_rows import Floats, Rows, as_difference

_RANK = 1e-14


@dataclass(frozen=True)
class Reduced:
    """r' relu(X w) as F - G in coordinates of the row space of X, where that is not everything.

    Attributes
    ----------
    raised, lowered : Rows
        Of F and G, of k columns and size 1 or so.
    basis : (d, k) array
        Nearly orthonormal; w = basis v.
    stretch, slack : float
        max |r' relu(X w)| <= stretch max |F - G| + slack, rounding included.
    """

    raised: Rows
    lowered: Rows
    basis: Floats
    stretch: float
    slack: float

    @property
    def rank(self) -> int:
        """Dimension k."""
        return len(self.basis.T)

    @property
    def total(self) -> float:
        """Upper bound of the sum of the lengths of all rows."""
        lengths = self.raised.length.sum() + self.lowered.length.sum()
        return outward(float(lengths), len(self.raised.rows) + len(self.lowered.rows) + self.rank + 8)

    def unscale(self, bound: float) -> float:
        """Bound for the given data from one of max |F - G|."""
        return outward(bound * self.stretch + self.slack, 2)

    def scale(self, goal: float) -> float:
        """Bound of max |F - G| from which `unscale` makes at most `goal`; negative if there is none."""
        return (goal - self.slack - TINY) / self.stretch * (1 - 32 * UNIT)


def reduce(x: Floats, r: Floats) -> Reduced:
    """Rotate X into its row space, if its rank is less than full.

    Parameters
    ----------
    x : (n, d) array
    r : (n,) array
        Both balanced: `_price_rows.balanced`.
    """
    x, r = x[r != 0], r[r != 0]
    n, d = x.shape
    lengths, size = length_bound(x), np.abs(r)
    axes, rank = _row_space(x)
    lost, stretch, basis = np.zeros(n), 1.0, np.eye(d)
    if rank < d:
        # x w = z v + (x - z basis') w with v = basis' w, |v| <= |basis|
        basis = np.ascontiguousarray(axes[:rank].T)
        z = x @ basis
        lost = length_bound(x - z @ basis.T) + 4.0 * (d + rank + 4) * UNIT * lengths
        x = z
        gram = float(np.abs(basis.T @ basis).sum(1).max(initial=0.0))
        stretch = max(1.0, outward(np.sqrt(gram + 2.0 * (rank + 1) * (d + 2) * UNIT), 4))
    slack = outward(float(size @ (lost + 4 * UNIT * lengths)), n + 4) + n * (1e-150 + TINY)
    return Reduced(*as_difference(x, r), basis, stretch, slack)


def _row_space(x: Floats) -> tuple[Floats, int]:
    if 0 in x.shape:
        return np.zeros((0, x.shape[1])), 0
    _, scale, axes = np.linalg.svd(x, full_matrices=False)
    return axes, int((scale > _RANK * sum(x.shape) * scale[0]).sum())
