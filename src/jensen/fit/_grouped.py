"""A problem over given groups, in few coordinates and on the samples that count; prices of groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._cones import Cones, Ints
from jensen.fit._losses import Floats, Hinge, Huber, Logistic, Squared
from jensen.fit._problem import Problem
from jensen.fit._semismooth import wants_gram
from jensen.fit._solution import Groups

_WORKING_BYTES = 1 << 29
"""Memory for the cones' factors of the groups that are worked on together."""
_WORKING = 512


@dataclass(frozen=True)
class Grouped:
    """The problem on the samples with positive weight, in at most n coordinates.

    Attributes
    ----------
    problem : Problem
    groups : Groups
    cones : bool
    rows : (n, r) array
        Data of all samples, in the same coordinates: samples without weight still bound the cones.
    counted : (n,) bool array
        Samples with positive weight.
    back : (r, d) array, optional
        From coordinates to coefficients.
    gram : array, optional
        X X', if it is not too large.
    """

    problem: Problem
    groups: Groups
    cones: bool
    rows: Floats
    counted: NDArray[np.bool_]
    back: Floats | None
    gram: Floats | None

    @classmethod
    def prepare(cls, problem: Problem, groups: Groups, cones: bool) -> Grouped:
        """Check arguments and reduce the problem.

        Raises
        ------
        ArgumentError
            If loss, outputs or shapes do not fit.
        """
        if problem.outputs or not isinstance(problem.loss, (Squared, Huber, Logistic, Hinge)):
            raise ArgumentError(
                "fixed groups are solved for a scalar output and one of the losses squared, huber, logistic "
                f"and hinge; got {problem.loss.name} with outputs of shape {problem.outputs}"
            )
        n, d = problem.x.shape
        gates = groups.gates
        if gates.shape[1] != n:
            raise ArgumentError(
                f"gates must have shape (P, {n}), a column for each sample, got {gates.shape}"
            )
        rows, back = problem.x, None
        if d > n:
            # Coefficients of a minimiser lie in the span of the rows of X.
            orthogonal, triangular = np.linalg.qr(problem.x.T)
            rows, back = np.ascontiguousarray(triangular.T), np.ascontiguousarray(orthogonal.T)
        counted = problem.weights > 0
        x = np.ascontiguousarray(rows[counted])
        inner = replace(problem, x=x, y=problem.y[counted], weights=problem.weights[counted])
        return cls(inner, groups, cones, rows, counted, back, x @ x.T if wants_gram(len(x)) else None)

    def masks(self, chosen: Ints) -> Floats:
        """Signs times gates of some groups, on the samples that count."""
        gates = self.groups.gates[chosen][:, self.counted]
        return np.asarray(gates * self.groups.signs[chosen, None].astype(np.float64))

    def room(self) -> int:
        """Return the number of groups that are worked on together."""
        n, d = self.rows.shape
        return int(np.clip(_WORKING_BYTES // (16 * min(n, d) * d), 16, _WORKING)) if self.cones else _WORKING

    def prices(self, chosen: Ints, slopes: Floats, threshold: float) -> Floats:
        """Bound prices of some groups from above; bounds above the threshold are the prices themselves."""
        signal = self.problem.pull(slopes)
        prices = np.zeros(len(chosen))
        step = self.room()
        for at in range(0, len(chosen), step):
            part = chosen[at : at + step]
            points = -(self.masks(part) * signal) @ self.problem.x
            lengths = np.linalg.norm(points, axis=1)
            if self.cones:
                long = np.flatnonzero(lengths > threshold)
                cones = Cones(self.rows, self.groups.gates[part[long]])
                lengths[long] = cones.project(points[long], threshold)[1]
            prices[at : at + step] = lengths
        return prices


def group_prices(problem: Problem, groups: Groups, slopes: Floats, cones: bool) -> Floats:
    """Correlate every group with slopes of the losses: these are a dual point if no price exceeds lambda.

    Parameters
    ----------
    problem : Problem
        With scalar outputs.
    groups : Groups
    slopes : (n,) float64 array
    cones : bool
        Whether coefficients are restricted to the cones of the gates.

    Returns
    -------
    (P,) float64 array
        max over |u| <= 1 of -r' sign D X u, with r the `Problem.pull` of the slopes.

    Raises
    ------
    ArgumentError
        If loss, outputs or shapes do not fit.
    """
    data = Grouped.prepare(problem, groups, cones)
    if slopes.shape != problem.y.shape:
        raise ArgumentError(f"slopes must have shape {problem.y.shape}, got {slopes.shape}")
    return data.prices(np.arange(len(groups)), slopes[data.counted], 0.0)
