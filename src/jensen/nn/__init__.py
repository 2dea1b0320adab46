"""Architectures that are convex by construction, for PyTorch."""

from jensen.nn._activation import ACTIVATIONS, ConvexActivation
from jensen.nn._architecture import Architecture
from jensen.nn._conv import ConvICNN
from jensen.nn._ficnn import FICNN
from jensen.nn._layers import NonnegativeConv2d, NonnegativeLinear
from jensen.nn._nonnegative import CONSTRAINTS, NonnegativeMap, is_nonnegative, nonnegative
from jensen.nn._picnn import PICNN
from jensen.nn._relay import RelayICNN
from jensen.nn._skip import SkipMLP
from jensen.nn._state import plain_state_dict

__all__ = [
    "ACTIVATIONS",
    "CONSTRAINTS",
    "FICNN",
    "PICNN",
    "Architecture",
    "ConvICNN",
    "ConvexActivation",
    "NonnegativeConv2d",
    "NonnegativeLinear",
    "NonnegativeMap",
    "RelayICNN",
    "SkipMLP",
    "is_nonnegative",
    "nonnegative",
    "plain_state_dict",
]
