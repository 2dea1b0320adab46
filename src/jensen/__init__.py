"""Is this neural network convex? Exact verdicts, with proof."""

from jensen.certify import Verdict, Witness, check
from jensen.errors import (
    DomainError,
    JensenError,
    ModelFileError,
    NetworkError,
    SolverError,
    UnsupportedOperatorError,
)
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace, from_arrays

__all__ = [
    "Box",
    "Domain",
    "DomainError",
    "JensenError",
    "Layer",
    "ModelFileError",
    "NetworkError",
    "Polytope",
    "ReLUNetwork",
    "SolverError",
    "UnsupportedOperatorError",
    "Verdict",
    "WholeSpace",
    "Witness",
    "check",
    "from_arrays",
]
