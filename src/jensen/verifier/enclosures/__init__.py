"""Encloses the value of a traced program at a rational point, with arb's interval arithmetic."""

from jensen.verifier.enclosures._enclosure import enclosure, enclosures

__all__ = ["enclosure", "enclosures"]
