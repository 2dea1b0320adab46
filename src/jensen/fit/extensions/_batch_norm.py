"""Batch normalisation between the linear layer and the ReLU: the same convex programme with whitened data.

A neuron is relu(gamma (z - mean z) / std z + alpha) a with z = X w, over the whole batch. With the
centred data X - mean = U S V' (r nonzero singular values), (z - mean z) / std z is sqrt(n) U e for a unit
vector e, and every e is that of a w. So (gamma e, alpha) takes all values s in R^(r + 1), with |s|^2 =
gamma^2 + alpha^2: training with weight decay on gamma, alpha and a (that on w can be made as small as one
likes, as its length changes nothing) is training a two-layer ReLU network with data T = [sqrt(n) U, 1] in
place of X. (Ergen, Sahiner, Ozturkler, Pauly, Mardani and Pilanci, ICLR 2022, who divide by norms rather
than standard deviations, and so have T / sqrt(n).)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._generate import fit_network
from jensen.fit._losses import Floats, Loss
from jensen.fit._problem import Problem, make_problem
from jensen.fit._result import Fit
from jensen.fit._rows import as_rows

if TYPE_CHECKING:
    from torch import nn

_EPSILON = 1e-12
"""Of the module: torch wants a positive one."""
_RANK = 1e-10
"""Singular values of centred data below this share of the largest count as zero."""


@dataclass(frozen=True)
class Whitening:
    """Centred data in orthonormal coordinates.

    Attributes
    ----------
    mean : (d,) float64 array
        Of the columns of X.
    axes : (d, r) float64 array
        V S^-1 sqrt(n): (X - mean) axes has orthogonal columns of variance 1.
    """

    mean: Floats
    axes: Floats

    def apply(self, x: Floats) -> Floats:
        """Compute T = [(X - mean) axes, 1], (n, r + 1)."""
        return np.concatenate([(x - self.mean) @ self.axes, np.ones((len(x), 1))], axis=1)


def whiten(x: Floats) -> Whitening:
    """Whiten a data matrix, without the directions in which it does not vary."""
    mean = x.mean(0)
    centred = x - mean
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    size = float(np.abs(x).max(initial=0.0))
    kept = scale > max(_RANK * float(scale.max(initial=0.0)), 1e-13 * size * np.sqrt(x.size))
    return Whitening(mean, axes[kept].T / scale[kept] * np.sqrt(len(x)))


@dataclass(frozen=True)
class BatchNormFit:
    """A network with batch normalisation, trained to global optimality.

    Attributes
    ----------
    fit : Fit
        Of the equivalent problem, whose data are the whitened ones: objective, lower bound, gap.
    whitening : Whitening
    """

    fit: Fit
    whitening: Whitening

    @property
    def neurons(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The layers' weights.

        Returns
        -------
        weights : (m, d) array
            Of the linear layer; X w has variance 1.
        gamma, alpha : (m,) arrays
            Scale and shift of the normalisation, gamma >= 0.
        outputs : (m,) array
        """
        along, alpha = self.fit.weights[:, :-1], self.fit.weights[:, -1]
        gamma = np.linalg.norm(along, axis=1)
        unit = np.zeros_like(along)
        if along.shape[1]:
            unit[:, 0] = 1.0
        used = gamma > 0
        unit[used] = along[used] / gamma[used, None]
        return unit @ self.whitening.axes.T, gamma, alpha, self.fit.outputs

    def predict(self, x: object) -> Floats:
        """Evaluate the network with the training batch's statistics: (n, d) to (n,).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_rows(x, len(self.whitening.mean))
        return self.fit.predict(self.whitening.apply(data))

    def to_torch(self) -> nn.Module:
        """Make the network Linear, BatchNorm1d, ReLU, Linear in float64, in evaluation mode.

        The running statistics are those of the training batch; pre-activations have variance 1 there, so
        that an eps of 1e-12 changes nothing to speak of.
        """
        import torch
        from torch import nn

        weights, gamma, alpha, outputs = self.neurons
        if not len(weights):
            weights = np.zeros((1, weights.shape[1]))
            gamma = alpha = outputs = np.zeros(1)
        m, d = weights.shape
        first = nn.Linear(d, m, bias=False, dtype=torch.float64)
        norm = nn.BatchNorm1d(m, eps=_EPSILON, dtype=torch.float64)
        last = nn.Linear(m, 1, bias=False, dtype=torch.float64)
        with torch.no_grad():
            first.weight.copy_(torch.tensor(weights))
            norm.weight.copy_(torch.tensor(gamma))
            norm.bias.copy_(torch.tensor(alpha))
            last.weight.copy_(torch.tensor(outputs[None]))
            assert norm.running_mean is not None
            norm.running_mean.copy_(torch.tensor(weights @ self.whitening.mean))
        return nn.Sequential(first, norm, nn.ReLU(), last).eval()


def batch_norm_problem(
    x: object,
    y: object,
    regularisation: float,
    loss: str | Loss = "squared",
    sample_weight: object = None,
) -> tuple[Problem, Whitening]:
    """Make the problem whose networks are those with batch normalisation on X.

    The objective is sum_j omega_j l(o_j, y_j) + (lambda / 2) sum_i (gamma_i^2 + alpha_i^2 + a_i^2).

    Parameters
    ----------
    x, y, regularisation, loss, sample_weight
        See `jensen.fit.make_problem`, whose errors are raised; sample weights do not enter the batch's
        statistics.

    Returns
    -------
    problem : Problem
        Its data are T, (n, r + 1).
    whitening : Whitening
    """
    plain = make_problem(x, y, regularisation, loss, sample_weight)
    if len(plain.x) < 2:
        raise ArgumentError("batch normalisation needs at least two samples")
    whitening = whiten(plain.x)
    return replace(plain, x=np.ascontiguousarray(whitening.apply(plain.x))), whitening


def fit_batch_norm(
    x: object,
    y: object,
    regularisation: float,
    loss: str | Loss = "squared",
    *,
    sample_weight: object = None,
    tolerance: float = 1e-6,
    time_limit: float | None = None,
    seed: int = 0,
) -> BatchNormFit:
    """Train a two-layer ReLU network with batch normalisation to global optimality.

    Weight decay is (lambda / 2) sum (gamma^2 + alpha^2 + a^2); that of the first layer, whose length changes
    nothing, has no part in it.

    Parameters
    ----------
    x : (n, d) array
    y : (n,) array
    regularisation : float
        lambda > 0.
    loss : str or Loss, default "squared"
        Squared, huber, logistic or hinge.
    sample_weight : (n,) array, optional
    tolerance, time_limit, seed
        See `jensen.fit.fit_network`.

    Returns
    -------
    BatchNormFit

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    """
    problem, whitening = batch_norm_problem(x, y, regularisation, loss, sample_weight)
    return BatchNormFit(
        fit_network(problem, tolerance=tolerance, time_limit=time_limit, seed=seed), whitening
    )
