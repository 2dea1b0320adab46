"""The search for points at which a traced program violates Jensen's inequality."""

from jensen.search._region import Exact, Hull, Region, interior
from jensen.search._search import Search, Violation, proof_cost, search

__all__ = ["Exact", "Hull", "Region", "Search", "Violation", "interior", "proof_cost", "search"]
