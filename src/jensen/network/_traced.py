"""What a traced torch program holds, from `torch.export` or from a file, whatever is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jensen.network.lowering._program import Node

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Traced:
    """A program with any number of inputs.

    Attributes
    ----------
    constants : mapping of str to torch.Tensor
        Parameters, buffers and literal tensors, by the names of their values.
    parameters : mapping of str to str
        Dotted names of the parameters and buffers among them, by the names of their values.
    inputs : mapping of str to sizes or None
        Sizes of each input, None where one is symbolic; None for an input that is no tensor.
    nodes : sequence of Node
    outputs : sequence of str
    trusted : bool
        Whether the program came from this process rather than from a file.
    """

    constants: Mapping[str, torch.Tensor]
    parameters: Mapping[str, str]
    inputs: Mapping[str, tuple[int | None, ...] | None]
    nodes: Sequence[Node]
    outputs: Sequence[str]
    trusted: bool
