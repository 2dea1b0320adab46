"""Checks of arguments that several penalties share."""

from __future__ import annotations

from numbers import Real
from typing import Any, cast

import numpy as np
from torch import nn

from jensen.errors import ArgumentError
from jensen.network._numbers import as_count
from jensen.training.tape import has_tape, tape


def as_amount(value: Any, what: str, most: float = np.inf) -> float:
    """Read a finite number between 0 and `most`.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    good = isinstance(value, Real) and not isinstance(value, bool)
    number = float(cast(float, value)) if good else np.nan
    if not (np.isfinite(number) and 0 <= number <= most):
        upper = "of at least 0" if most == np.inf else f"between 0 and {most:g}"
        raise ArgumentError(f"{what} must be a finite number {upper}, got {value!r:.80}")
    return number


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
