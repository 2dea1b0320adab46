"""Domains on which convexity is asked: the whole space, a box, a polyhedron."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jensen.errors import DomainError
from jensen.network._numbers import as_floats

FloatArray = NDArray[np.float64]


def _frozen(array: FloatArray) -> FloatArray:
    """Return a copy that nobody can change: a verdict names its domain."""
    own = array.copy()
    own.flags.writeable = False
    return own


class Domain(ABC):
    """A closed convex polyhedron ``{x : lo <= x <= hi, A x <= b}`` in d variables.

    Every domain is seen by the rest of jensen through `bounds` and `inequalities`; both are float64 data
    and mean exactly the rationals that they are.
    """

    @abstractmethod
    def bounds(self, d: int) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of the d variables; infinite where there is none."""

    @abstractmethod
    def inequalities(self, d: int) -> tuple[FloatArray, FloatArray]:
        """Rows (m, d) and right-hand sides (m,) of A x <= b, beyond the bounds."""

    def contains(self, point: Sequence[Fraction | int]) -> bool:
        """Whether a rational point lies in the domain, decided exactly."""
        d = len(point)
        lo, hi = self.bounds(d)
        for v, low, high in zip(point, lo, hi, strict=True):
            if (np.isfinite(low) and v < Fraction(float(low))) or (
                np.isfinite(high) and v > Fraction(float(high))
            ):
                return False
        A, b = self.inequalities(d)
        for row, right in zip(A, b, strict=True):
            total = sum((Fraction(float(a)) * v for a, v in zip(row, point, strict=True) if a), Fraction(0))
            if total > Fraction(float(right)):
                return False
        return True

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Describe the domain as plain data, as `jensen check --json` prints it."""


@dataclass(frozen=True)
class WholeSpace(Domain):
    """All of R^d: the default domain."""

    def bounds(self, d: int) -> tuple[FloatArray, FloatArray]:
        return np.full(d, -np.inf), np.full(d, np.inf)

    def inequalities(self, d: int) -> tuple[FloatArray, FloatArray]:
        return np.zeros((0, d)), np.zeros(0)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "whole_space"}


@dataclass(frozen=True, eq=False)
class Box(Domain):
    """A box ``{x : lo <= x <= hi}``.

    Parameters
    ----------
    lo, hi : float or (d,) array
        Bounds; a number holds for every variable, and infinite bounds are allowed. Where lo equals hi the
        variable is fixed, and convexity is asked of the others.

    Raises
    ------
    DomainError
        If a bound is NaN, shapes differ, or some lo exceeds its hi (the box is empty).
    """

    lo: FloatArray
    hi: FloatArray

    def __init__(self, lo: ArrayLike, hi: ArrayLike) -> None:
        low, high = as_floats(lo, "lo", DomainError), as_floats(hi, "hi", DomainError)
        if low.ndim > 1 or high.ndim > 1:
            raise DomainError(f"a box takes numbers or vectors, got shapes {low.shape} and {high.shape}")
        if low.ndim == 1 and high.ndim == 1 and low.shape != high.shape:
            raise DomainError(f"lo has {low.size} entries and hi {high.size}")
        if np.isnan(low).any() or np.isnan(high).any():
            raise DomainError("a box bound is NaN")
        if (low > high).any():
            raise DomainError("the box is empty: some lo exceeds its hi")
        if np.isposinf(low).any() or np.isneginf(high).any():
            raise DomainError("the box is empty: lo is +inf or hi is -inf")
        object.__setattr__(self, "lo", _frozen(low))
        object.__setattr__(self, "hi", _frozen(high))

    def bounds(self, d: int) -> tuple[FloatArray, FloatArray]:
        for side in (self.lo, self.hi):
            if side.ndim == 1 and side.size != d:
                raise DomainError(f"the box has {side.size} variables, the network has {d} inputs")
        return np.array(np.broadcast_to(self.lo, d)), np.array(np.broadcast_to(self.hi, d))

    def inequalities(self, d: int) -> tuple[FloatArray, FloatArray]:
        return np.zeros((0, d)), np.zeros(0)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "box", "lo": self.lo.tolist(), "hi": self.hi.tolist()}


@dataclass(frozen=True, eq=False)
class Polytope(Domain):
    """A polyhedron ``{x : A x <= b}``; it may be unbounded.

    Parameters
    ----------
    A : (m, d) array
    b : (m,) array

    Raises
    ------
    DomainError
        If shapes do not fit or an entry is not finite. Emptiness is found out by `jensen.check`, which
        raises the same error.
    """

    A: FloatArray
    b: FloatArray

    def __init__(self, A: ArrayLike, b: ArrayLike) -> None:
        rows, right = as_floats(A, "A", DomainError), as_floats(b, "b", DomainError)
        if rows.ndim != 2 or right.ndim != 1 or len(rows) != len(right):
            raise DomainError(f"a polytope takes A (m, d) and b (m,), got {rows.shape} and {right.shape}")
        if not (np.isfinite(rows).all() and np.isfinite(right).all()):
            raise DomainError("the polytope's A or b holds NaN or infinity")
        object.__setattr__(self, "A", _frozen(rows))
        object.__setattr__(self, "b", _frozen(right))

    def bounds(self, d: int) -> tuple[FloatArray, FloatArray]:
        return np.full(d, -np.inf), np.full(d, np.inf)

    def inequalities(self, d: int) -> tuple[FloatArray, FloatArray]:
        if self.A.shape[1] != d:
            raise DomainError(f"the polytope has {self.A.shape[1]} variables, the network has {d} inputs")
        return self.A, self.b

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "polytope", "A": self.A.tolist(), "b": self.b.tolist()}
