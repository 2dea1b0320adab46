"""`ReLUNetwork`, domains, and import from PyTorch, ONNX and arrays. Knows no other room of the house."""

from typing import TYPE_CHECKING, Any

from jensen.network._arrays import from_arrays
from jensen.network._domain import Box, Domain, Polytope, WholeSpace
from jensen.network._domain_file import load_domain
from jensen.network._exact import ExactNetwork
from jensen.network._load import as_network, load_model
from jensen.network._lowered import Lowered
from jensen.network._onnx import from_onnx
from jensen.network._relu_network import FloatArray, Layer, Matrix, ReLUNetwork, times, times_transpose
from jensen.network._storage import load_network, save_network

if TYPE_CHECKING:
    from jensen.network._pt2 import from_pt2
    from jensen.network._torch import from_torch

__all__ = [
    "Box",
    "Domain",
    "ExactNetwork",
    "FloatArray",
    "Layer",
    "Lowered",
    "Matrix",
    "Polytope",
    "ReLUNetwork",
    "WholeSpace",
    "as_network",
    "from_arrays",
    "from_onnx",
    "from_pt2",
    "from_torch",
    "load_domain",
    "load_model",
    "load_network",
    "save_network",
    "times",
    "times_transpose",
]


def __getattr__(name: str) -> Any:
    """Import the importers that need torch when they are asked for, so that jensen starts without it."""
    if name == "from_torch":
        from jensen.network._torch import from_torch

        return from_torch
    if name == "from_pt2":
        from jensen.network._pt2 import from_pt2

        return from_pt2
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
