"""`ReLUNetwork`, domains, and import from PyTorch, ONNX and arrays. Knows no other room of the house."""

from jensen.network._arrays import from_arrays
from jensen.network._domain import Box, Domain, Polytope, WholeSpace
from jensen.network._exact import ExactNetwork
from jensen.network._relu_network import FloatArray, Layer, Matrix, ReLUNetwork

__all__ = [
    "Box",
    "Domain",
    "ExactNetwork",
    "FloatArray",
    "Layer",
    "Matrix",
    "Polytope",
    "ReLUNetwork",
    "WholeSpace",
    "from_arrays",
]
