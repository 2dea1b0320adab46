"""The end of every import: choose one entry of the model's outputs and build the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jensen.errors import NetworkError
from jensen.network._relu_network import ReLUNetwork
from jensen.network.lowering._tape import Tape
from jensen.network.lowering._tensor import Tensor, concatenate, reshape


def chosen_output(
    tape: Tape, values: Sequence[Any], output: int | None, input_shape: tuple[int, ...]
) -> tuple[ReLUNetwork, int]:
    """Build the network of one entry of the outputs, which are flattened and joined per sample.

    Returns
    -------
    network : ReLUNetwork
    index : int
        The entry's number, from 0.

    Raises
    ------
    NetworkError
        If there are several entries and none is chosen, or the choice is out of range.
    """
    tape.place = "the output"
    parts = []
    for value in values:
        if not isinstance(value, Tensor):
            raise NetworkError("an output of the model does not depend on its input")
        if value.batch not in (None, 0):
            raise value.mixing()
        lead = (value.batch_size,) if value.batch == 0 else ()
        parts.append(reshape(value, (*lead, -1)))
    if not parts:
        raise NetworkError("the model has no tensor as output")
    result = parts[0] if len(parts) == 1 else concatenate(parts, -1)
    count = result.expression.size
    index = 0 if output is None and count == 1 else output
    if index is None:
        raise NetworkError(
            f"the model has {count} outputs; choose one with output=0..{count - 1}, an index into the "
            "flattened output of one input"
        )
    if not -count <= index < count:
        raise NetworkError(f"output={index} is out of range: the model has {count} outputs")
    index %= count
    return tape.finish(result.expression.take(np.array([index])), input_shape), index
