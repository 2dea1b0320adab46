"""What several penalties ask about the module."""

from __future__ import annotations

from typing import Any

from torch import nn

from jensen.errors import ArgumentError
from jensen.network._numbers import as_count
from jensen.training.tape import has_tape, tape


def shape_of_input(module: nn.Module, given: Any) -> tuple[int, ...]:
    """Tell the shape of one input of a module.

    Raises
    ------
    ArgumentError
        If it is not given and the module does not tell it.
    """
    if given is not None:
        return tuple(as_count(n, "each entry of input_shape") for n in given)
    if has_tape(module):
        first = tape(module)
        return (int((first.hidden[0] if first.hidden else first.output).weights[0].shape[1]),)
    known = getattr(module, "input_shape", None)
    if isinstance(known, tuple):
        return known
    layer = next(module.children(), module)
    if isinstance(layer, nn.Linear):
        return (layer.in_features,)
    raise ArgumentError("the module does not tell the shape of its input: pass input_shape=(...)")
