"""An independent brute-force oracle for convexity, and networks to try it on; shares no code with jensen."""

from oracle._compare import Comparison, Method, compare, witness_complaint
from oracle._examples import beyond_icnn
from oracle._networks import GENERATORS, Case, case, describe
from oracle._oracle import Answer, by_facets, by_pieces, oracle_is_convex, violates
from oracle._weights import Weights, is_icnn, read_domain, read_network

__all__ = [
    "GENERATORS",
    "Answer",
    "Case",
    "Comparison",
    "Method",
    "Weights",
    "beyond_icnn",
    "by_facets",
    "by_pieces",
    "case",
    "compare",
    "describe",
    "is_icnn",
    "oracle_is_convex",
    "read_domain",
    "read_network",
    "violates",
    "witness_complaint",
]
