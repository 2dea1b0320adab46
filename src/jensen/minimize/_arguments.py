"""What the functions of this room accept for numbers, counts and domains."""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Any

from jensen.errors import ArgumentError
from jensen.network import Domain, WholeSpace


def as_number(value: Any) -> float:
    """Read a real number; NaN for anything else."""
    return float("nan") if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def as_positive(value: Any, what: str) -> float:
    """Read a positive finite number.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = as_number(value)
    if not (isfinite(number) and number > 0):
        raise ArgumentError(f"{what} must be a positive number, got {value!r:.80}")
    return number


def as_tolerance(value: Any, what: str = "tolerance") -> float:
    """Read a finite number that may be 0.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    number = as_number(value)
    if not (isfinite(number) and number >= 0):
        raise ArgumentError(f"{what} must be a number of at least 0, got {value!r:.80}")
    return number


def as_domain(domain: Any) -> Domain:
    """Read a domain; the whole space for None.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    if domain is None:
        return WholeSpace()
    if not isinstance(domain, Domain):
        raise ArgumentError(f"domain must be a Box, Polytope or WholeSpace, not a {type(domain).__name__}")
    return domain
