"""Losses as functions of a network's outputs, with their conjugates.

Outputs are (n,) arrays for scalar losses and (n, c) arrays for vector ones; values are one for each sample.
A conjugate is +inf outside its domain, and every domain contains 0, so that multiplying slopes by a number
in [0, 1] never leaves it. All losses are bounded below by 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax, xlogy

from jensen.errors import ArgumentError
from jensen.network._numbers import as_floats

Floats = NDArray[np.float64]


class Loss(ABC):
    """A convex loss l(o, y) of one sample, as a function of the output o.

    Attributes
    ----------
    name : str
    smooth : bool
        Whether the loss is differentiable in o.
    """

    name: ClassVar[str]
    smooth: ClassVar[bool] = True

    @abstractmethod
    def targets(self, y: object) -> Floats:
        """Check targets and convert them.

        Raises
        ------
        ArgumentError
            If the loss is not defined for them.
        """

    @abstractmethod
    def value(self, o: Floats, y: Floats) -> Floats:
        """(n,) losses."""

    @abstractmethod
    def slope(self, o: Floats, y: Floats) -> Floats:
        """Gradients in o, of o's shape; for the hinge one of the subgradients."""

    @abstractmethod
    def curvature(self, o: Floats, y: Floats) -> Floats:
        """Second derivatives: (n,) for scalar outputs, (n, c, c) for vectors; at kinks that of a side."""

    @abstractmethod
    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """(n,) values of sup_o <slope, o> - l(o, y)."""

    @property
    @abstractmethod
    def most_curved(self) -> float:
        """A bound on the second derivatives; infinite for the hinge."""


def _real(y: object) -> Floats:
    array = as_floats(y, "y", ArgumentError)
    if array.ndim not in (1, 2) or not np.isfinite(array).all():
        raise ArgumentError(f"y must be a vector or a matrix of finite numbers, got shape {array.shape}")
    return array


def _signs(y: object) -> Floats:
    array = _real(y)
    if array.ndim != 1 or not np.isin(array, (-1.0, 1.0)).all():
        raise ArgumentError("for a loss of two classes y must be a vector of -1 and 1")
    return array


def _total(values: Floats) -> Floats:
    """Sum over outputs, where there are several."""
    return values if values.ndim == 1 else values.sum(1)


@dataclass(frozen=True)
class Squared(Loss):
    """|o - y|^2 / 2, for scalars and vectors."""

    name: ClassVar[str] = "squared"

    def targets(self, y: object) -> Floats:
        """Check targets: finite numbers."""
        return _real(y)

    def value(self, o: Floats, y: Floats) -> Floats:
        """Half of the squared distance."""
        return _total((o - y) ** 2) / 2

    def slope(self, o: Floats, y: Floats) -> Floats:
        """Return the residual o - y."""
        return o - y

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """One, or identity matrices."""
        return np.ones_like(y) if y.ndim == 1 else np.broadcast_to(np.eye(y.shape[1]), (*y.shape, y.shape[1]))

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """Half of the squared slope, plus slope times y."""
        return _total(slope * (slope / 2 + y))

    @property
    def most_curved(self) -> float:
        """One."""
        return 1.0


@dataclass(frozen=True)
class Huber(Loss):
    """(o - y)^2 / 2 up to a distance of `width`, linear beyond.

    Parameters
    ----------
    width : float, default 1.0
    """

    width: float = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        width = as_floats(self.width, "width", ArgumentError)
        if width.ndim or not 0 < width < np.inf:
            raise ArgumentError(f"the width of the Huber loss must be positive, got {self.width!r:.80}")
        object.__setattr__(self, "width", float(width))

    def targets(self, y: object) -> Floats:
        """Check targets: finite numbers."""
        return _real(y)

    def value(self, o: Floats, y: Floats) -> Floats:
        """Quadratic near the target, linear far from it."""
        far = np.abs(o - y)
        near = np.minimum(far, self.width)
        return _total(near * (far - near / 2))

    def slope(self, o: Floats, y: Floats) -> Floats:
        """Clip the residual."""
        return np.clip(o - y, -self.width, self.width)

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """One near the target, zero beyond."""
        near = (np.abs(o - y) <= self.width).astype(np.float64)
        return near if y.ndim == 1 else near[:, :, None] * np.eye(y.shape[1])

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """As for the squared loss, within the width."""
        inside = np.abs(slope) <= self.width
        return _total(np.where(inside, slope * (slope / 2 + y), np.inf))

    @property
    def most_curved(self) -> float:
        """One."""
        return 1.0


@dataclass(frozen=True)
class Logistic(Loss):
    """log(1 + exp(-y o)) for y in {-1, 1}."""

    name: ClassVar[str] = "logistic"

    def targets(self, y: object) -> Floats:
        """Check targets: -1 and 1."""
        return _signs(y)

    def value(self, o: Floats, y: Floats) -> Floats:
        """Return the negative log-likelihood."""
        return np.logaddexp(0.0, -y * o)

    def slope(self, o: Floats, y: Floats) -> Floats:
        """-y times the probability of the other class."""
        return -y * expit(-y * o)

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """Return p (1 - p)."""
        p = expit(o)
        return p * (1 - p)

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """Return p log p + (1 - p) log(1 - p) at p = -y slope."""
        p = -y * slope
        inside = (p >= 0) & (p <= 1)
        p = np.where(inside, p, 0.0)
        return np.where(inside, xlogy(p, p) + xlogy(1 - p, 1 - p), np.inf)

    @property
    def most_curved(self) -> float:
        """A quarter."""
        return 0.25


@dataclass(frozen=True)
class Hinge(Loss):
    """max(0, 1 - y o) for y in {-1, 1}."""

    name: ClassVar[str] = "hinge"
    smooth: ClassVar[bool] = False

    def targets(self, y: object) -> Floats:
        """Check targets: -1 and 1."""
        return _signs(y)

    def value(self, o: Floats, y: Floats) -> Floats:
        """Return what is missing to a margin of one."""
        return np.maximum(0.0, 1 - y * o)

    def slope(self, o: Floats, y: Floats) -> Floats:
        """-y within the margin, 0 beyond."""
        return np.where(y * o < 1, -y, 0.0)

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """Zero."""
        return np.zeros_like(y)

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """Slope times y, for -y slope in [0, 1]."""
        p = -y * slope
        return np.where((p >= 0) & (p <= 1), -p, np.inf)

    @property
    def most_curved(self) -> float:
        """Infinite: there is a kink."""
        return np.inf


@dataclass(frozen=True)
class Multinomial(Loss):
    """logsumexp(o) - o_y: cross-entropy of the softmax; y holds one-hot rows."""

    name: ClassVar[str] = "multinomial"

    def targets(self, y: object) -> Floats:
        """Check targets: rows with a single 1 among zeros."""
        array = _real(y)
        if array.ndim != 2 or not np.isin(array, (0.0, 1.0)).all() or not (array.sum(1) == 1).all():
            raise ArgumentError("for the multinomial loss y must hold one-hot rows, shape (n, classes)")
        return array

    def value(self, o: Floats, y: Floats) -> Floats:
        """Return the negative log-likelihood."""
        return np.asarray(logsumexp(o, axis=1) - (o * y).sum(1))

    def slope(self, o: Floats, y: Floats) -> Floats:
        """Probabilities minus one-hot rows."""
        return np.asarray(softmax(o, axis=1) - y)

    def curvature(self, o: Floats, y: Floats) -> Floats:
        """diag(p) - p p'."""
        p = softmax(o, axis=1)
        return np.asarray(p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None])

    def conjugate(self, slope: Floats, y: Floats) -> Floats:
        """Sum of p log p at p = slope + y, for p in the simplex up to rounding of its sum."""
        p = slope + y
        inside = (p >= 0).all(1) & (np.abs(p.sum(1) - 1) <= 1e-12 * p.shape[1])
        p = np.where(inside[:, None], p, 0.0)
        return np.where(inside, xlogy(p, p).sum(1), np.inf)

    @property
    def most_curved(self) -> float:
        """One half (Böhning 1992)."""
        return 0.5


LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in (Squared, Huber, Logistic, Hinge, Multinomial)}


def as_loss(loss: str | Loss) -> Loss:
    """Look a loss up by its name.

    Raises
    ------
    ArgumentError
        If there is none of that name.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ArgumentError(f"loss must be one of {sorted(LOSSES)} or a Loss, got {loss!r:.80}")
    return LOSSES[loss]()
