"""What the functions of this room accept for tolerances and domains."""

from __future__ import annotations

from typing import Any

from jensen.errors import ArgumentError
from jensen.network import Domain, WholeSpace
from jensen.network._numbers import as_amount


def as_tolerance(value: Any, what: str = "tolerance") -> float:
    """Read a finite number that may be 0.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    return as_amount(value, what)


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
