"""Modules as the tensors of a `ReLUNetwork`, through which penalties differentiate."""

from jensen.training.tape._operator import Operator
from jensen.training.tape._places import flattened, input_shape_of
from jensen.training.tape._tape import Affine, Tape, has_tape, is_plain, tape, write

__all__ = [
    "Affine",
    "Operator",
    "Tape",
    "flattened",
    "has_tape",
    "input_shape_of",
    "is_plain",
    "tape",
    "write",
]
