"""Batch normalisation between the ReLU and the second layer.

A neuron is h = relu(X w), normalised over the whole batch, gamma (h - mean h) / std h + alpha, times a.
Weight decay is on gamma, alpha and a (that on w can be made as small as one likes, as its length changes
nothing). With the gate D fixed, h = D X w. Let (I - 11'/n) D X = U S V': the normalised h is sqrt(n) U e
for a unit vector e. After balancing, the neuron contributes sqrt(n) U s + c 1 at the price lambda |(s, c)|,
where s = a gamma e and c = a alpha; as 1 is orthogonal to U, this is lambda times the root mean square of
what the neuron contributes. Up to the sign, s is constrained to those for which a w with (I - 11'/n) D X w
= sqrt(n) U s and (2 D - I) X w >= 0 exists: a projection of the gate's cone, and the cone itself only if
(I - 11'/n) D X has full column rank. Not centred, without alpha: D X = U S V', and the same.

(U_i of D_i X in place of D_i X is how the programme is often summarised. Ergen, Sahiner, Ozturkler, Pauly,
Mardani and Pilanci, ICLR 2022, prove one for normalisation *before* the ReLU: `fit_batch_norm`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._losses import Floats, Loss
from jensen.fit._problem import make_problem
from jensen.fit._rows import as_rows
from jensen.fit.extensions._cone_lasso import ConeSolution, solve_cone_lasso
from jensen.fit.extensions._cone_points import point_inside, unit_rows, widest_recession
from jensen.fit.extensions._numbers import positive

if TYPE_CHECKING:
    from torch import nn

_EPSILON = 1e-12
"""Of the module: torch wants a positive one."""
_RANK = 1e-10
"""Singular values below this share of the largest count as zero."""
_STRICTLY = 1e-6
"""How far inside the rows that do not bind a neuron is put, for unit rows and a neuron of its length."""


@dataclass(frozen=True)
class BatchNormAfterFit:
    """A network with batch normalisation after the ReLU, optimal over the gates that were given.

    Attributes
    ----------
    solution : ConeSolution
        Objective, lower bound, gap, all in float64. The bound is one for all networks if all
        gates were taken.
    weights : (m, d) float64 array
        Of the first layer; std (centred) or root mean square (not centred) of relu(X w) is 1.
    means : (m,) float64 array
        Of relu(X w) over the batch; zeros if not centred.
    variances : (m,) float64 array
        Of relu(X w) around these means: 1, or 0 for a neuron whose gamma is 0.
    gamma, alpha : (m,) float64 arrays
        Scale and shift; gamma >= 0, and alpha = 0 if not centred.
    outputs : (m,) float64 array
        a, with a^2 = gamma^2 + alpha^2.
    """

    solution: ConeSolution
    weights: Floats
    means: Floats
    variances: Floats
    gamma: Floats
    alpha: Floats
    outputs: Floats

    def predict(self, x: object) -> Floats:
        """Evaluate the network with the training batch's statistics: (n, d) to (n,).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, self.weights.shape[1])
        centred = np.maximum(data @ self.weights.T, 0) - self.means
        scale = self.gamma / np.sqrt(self.variances + _EPSILON)
        return np.asarray((centred * scale + self.alpha) @ self.outputs)

    def to_torch(self) -> nn.Module:
        """Make the network Linear, ReLU, BatchNorm1d, Linear in float64, in evaluation mode.

        The running statistics are those of the training batch (for a fit that is not centred: mean 0 and
        the mean square, with which training mode would not agree).
        """
        import torch
        from torch import nn

        m = max(1, len(self.weights))
        first = nn.Linear(self.weights.shape[1], m, bias=False, dtype=torch.float64)
        norm = nn.BatchNorm1d(m, eps=_EPSILON, dtype=torch.float64)
        last = nn.Linear(m, 1, bias=False, dtype=torch.float64)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        homes = (first.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias, last.weight)
        values = (self.weights, self.means, self.variances, self.gamma, self.alpha, self.outputs)
        with torch.no_grad():
            for home, value in zip(homes, values, strict=True):
                home.zero_()
                if len(self.weights):
                    home.copy_(torch.tensor(value).reshape(home.shape))
        return nn.Sequential(first, nn.ReLU(), norm, last).eval()


@dataclass(frozen=True)
class _Gate:
    """A gate's neurons in coordinates (s, z): w = lift (s, z), as long as the rows that do not bind allow.

    Attributes
    ----------
    design : (n, r) array
        sqrt(n) U.
    lift : (d, r + q) array
    rows : (p, r + q) array
        The cone.
    inside : (r + q,) array
    loose : (k, d) array
        Unit rows of X that bind nothing, as they can be satisfied by adding a multiple of `push` to w, which
        changes neither the rows that bind nor what the neuron contributes.
    push : (d,) array
    """

    design: Floats
    lift: Floats
    rows: Floats
    inside: Floats
    loose: Floats
    push: Floats

    def neuron(self, u: Floats) -> Floats:
        """Find a weight vector with the gate."""
        w = self.lift @ u
        if not len(self.loose):
            return np.asarray(w)
        missing = _STRICTLY * float(np.linalg.norm(w)) - self.loose @ w
        return np.asarray(w + max(0.0, float((missing / (self.loose @ self.push)).max())) * self.push)


def _read_gate(x: Floats, gate: NDArray[np.bool_], centred: bool) -> _Gate:
    """Decompose D X, and describe the cone without what does not bind.

    Raises
    ------
    ArgumentError
        If no open cone has this gate.
    """
    n, d = x.shape
    rows = unit_rows(np.where(gate, 1.0, -1.0)[:, None] * x)
    point = point_inside(rows)
    if point is None:
        raise ArgumentError("a gate is not that of an open cone of neurons: take gates from jensen.fit")
    masked = gate[:, None] * x
    size = float(np.linalg.norm(masked, 2))
    left, scale, right = np.linalg.svd(masked - masked.mean(0) if centred else masked)
    rank = int((scale > _RANK * size).sum())
    along = right[:rank].T / scale[:rank] * np.sqrt(n)
    idle = right[rank:].T
    z, positive_rows = widest_recession(rows @ idle)
    loose, bound = rows[positive_rows], rows[~positive_rows]
    # What is left of the idle space moves the rows that bind, or is of no use.
    _, moved, axes = np.linalg.svd(bound @ idle) if len(bound) else (None, np.zeros(0), np.zeros((0, 0)))
    used = int((moved > _RANK).sum())
    across = idle @ axes[:used].T if used else np.zeros((d, 0))
    lift = np.concatenate([along, across], axis=1)
    start = np.concatenate([right[:rank] @ point * scale[:rank] / np.sqrt(n), across.T @ point])
    return _Gate(np.sqrt(n) * left[:, :rank], lift, bound @ lift, start, loose, idle @ z)


def fit_batch_norm_after(
    x: object,
    y: object,
    regularisation: float,
    loss: str | Loss = "squared",
    *,
    centred: bool = True,
    gates: NDArray[np.bool_] | None = None,
    sample_weight: object = None,
    tolerance: float = 1e-6,
) -> BatchNormAfterFit:
    """Train a two-layer ReLU network with batch normalisation after the ReLU, over given gates or all.

    The objective is sum_j omega_j l(o_j, y_j) + (lambda / 2) sum_i (gamma_i^2 + alpha_i^2 + a_i^2).

    Parameters
    ----------
    x : (n, d) array
        A bias of the neurons is a column of ones.
    y : (n,) array
    regularisation : float
        lambda > 0.
    loss : str or Loss, default "squared"
        Squared, huber or logistic.
    centred : bool, default True
        Normalise as torch's BatchNorm1d does. Otherwise divide by the root mean square only, without a
        shift: the programme with U_i of D_i X.
    gates : (P, n) bool array, optional
        By default all of X: for ranks up to about 4 and some dozens of samples.
    sample_weight : (n,) array, optional
        Of losses; does not enter the batch's statistics.
    tolerance : float, default 1e-6
        Relative duality gap.

    Returns
    -------
    BatchNormAfterFit

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or a gate is not that of an open cone of neurons.

    Examples
    --------
    >>> import numpy as np
    >>> from jensen.fit import fit_batch_norm_after
    >>> x = np.column_stack([np.linspace(-1, 1, 9), np.ones(9)])
    >>> fit = fit_batch_norm_after(x, np.abs(x[:, 0]), 0.01)
    >>> fit.solution.status, fit.solution.gap < 1e-6
    ('optimal', True)
    """
    problem = make_problem(x, y, regularisation, loss, sample_weight)
    data, accuracy = problem.x, positive(tolerance, "tolerance")
    n, d = data.shape
    if n < 2:
        raise ArgumentError("batch normalisation needs at least two samples")
    chosen = all_gates(data) if gates is None else gates
    if chosen.ndim != 2 or chosen.shape[1] != n or chosen.dtype != np.bool_:
        raise ArgumentError(f"gates must be bool of shape (P, {n}), got {chosen.dtype} {chosen.shape}")
    parts = [_read_gate(data, gate, centred) for gate in chosen]
    count, k = len(parts), d + 1
    walls = max((len(part.rows) for part in parts), default=0)
    designs, cones = np.zeros((count, n, k)), np.zeros((count, walls, k))
    inside, free = np.zeros((count, k)), np.zeros((count, k), dtype=bool)
    # Coordinates: c, s, z, and padding, of which nothing depends.
    for i, part in enumerate(parts):
        rank, size = part.design.shape[1], part.lift.shape[1]
        designs[i, :, 0] = float(centred)
        designs[i, :, 1 : 1 + rank] = part.design
        cones[i, : len(part.rows), 1 : 1 + size] = part.rows
        if len(part.rows):
            inside[i, 1 : 1 + size] = part.inside
        else:
            inside[i, 1 - centred : 1 + rank] = 1.0  # any point will do, but zero
        free[i, 1 + rank : 1 + size] = True
    solution = solve_cone_lasso(
        problem,
        np.concatenate([designs, -designs]),
        np.concatenate([cones, cones]),
        np.concatenate([inside, inside]),
        free=np.concatenate([free, free]),
        tolerance=accuracy,
    )
    used = np.flatnonzero((solution.coefficients * ~np.concatenate([free, free])).any(1))
    weights, pairs = np.zeros((len(used), d)), np.zeros((len(used), 2))
    for row, g in enumerate(used):
        part, u = parts[g % count], solution.coefficients[g]
        length = float(np.linalg.norm(u[1 : 1 + part.design.shape[1]]))
        pairs[row] = length, u[0] * centred
        if length > 0:
            weights[row] = part.neuron(u[1 : 1 + part.lift.shape[1]]) / length
    root = np.sqrt(np.linalg.norm(pairs, axis=1))
    hidden = np.maximum(data @ weights.T, 0)
    means = hidden.mean(0) if centred else np.zeros(len(used))
    return BatchNormAfterFit(
        solution=solution,
        weights=weights,
        means=means,
        variances=((hidden - means) ** 2).mean(0),
        gamma=pairs[:, 0] / root,
        alpha=pairs[:, 1] / root,
        outputs=np.where(used < count, root, -root),
    )
