"""All rules in one table."""

from __future__ import annotations

from jensen.calculus import _linear, _losses, _moving, _several
from jensen.calculus._atom import ATOMS
from jensen.calculus._call import Rule
from jensen.calculus._elementary import BUILT_IN

RULES: dict[str, Rule] = {**_moving.rules, **_linear.rules, **_several.rules, **_losses.rules}
"""Rules of the operators that are no functions of one number, by their packets."""


def is_known(packet: str) -> bool:
    """Whether an operator has rules of the calculus's own."""
    return packet in RULES or packet in BUILT_IN


def is_registered(packet: str) -> bool:
    """Whether what is known of an operator is a user's word."""
    return packet in ATOMS and packet not in BUILT_IN
