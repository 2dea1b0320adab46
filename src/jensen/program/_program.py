"""A traced PyTorch program as plain immutable data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jensen.errors import NetworkError

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Name:
    """Refers to the value of a leaf, a constant or an earlier node."""

    name: str


@dataclass(frozen=True)
class Leaf:
    """What a program is a function of.

    Attributes
    ----------
    name : str
        Name of its value in the program.
    label : str
        What a user calls it: an argument's name, or a parameter's dotted name.
    kind : {"input", "parameter"}
    shape : tuple of int
    batched : bool
        Whether axis 0 is the batch, of which every entry is a sample of its own.
    others : tuple of str
        More dotted names of the same parameter, where weights are tied.
    """

    name: str
    label: str
    kind: Literal["input", "parameter"]
    shape: Shape
    batched: bool = False
    others: tuple[str, ...] = ()

    @property
    def sample_shape(self) -> Shape:
        """Shape of one sample."""
        return self.shape[1:] if self.batched else self.shape

    @property
    def size(self) -> int:
        """Number of entries of one sample."""
        return prod(self.sample_shape)


@dataclass(frozen=True)
class Node:
    """One call of an operator.

    Attributes
    ----------
    name : str
    operator : str
        For instance "aten.linear.default".
    args : mapping of str to value
        By the names of the operator's schema: `Name`, numbers, text, None, and lists of these.
    place : str
        Where in the model it stands, for messages.
    shape : tuple of int or tuple of such
        Of its result, or of each of its results.
    """

    name: str
    operator: str
    args: Mapping[str, Any]
    place: str
    shape: Shape | tuple[Shape | None, ...]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values that it reads."""
        return tuple(dict.fromkeys(ref.name for ref in names(self.args)))

    @property
    def packet(self) -> str:
        """The operator without its overload: "aten.linear"."""
        return self.operator.rsplit(".", 1)[0] if self.operator.count(".") > 1 else self.operator


@dataclass(frozen=True, eq=False)
class Program:
    """A traced program; what depends on no leaf is folded into constants.

    Attributes
    ----------
    leaves : tuple of Leaf
    constants : mapping of str to array
        float64, where the model's own dtype was a float type: every float is exact in it. What a model
        computes from its parameters (`torch.nn.utils.parametrize`) is computed in the model's dtype by torch.
    nodes : tuple of Node
        In the order of evaluation; each is needed for an output.
    outputs : tuple of str
        Names of values; an output may be a constant or a leaf.
    notes : tuple of str
        What was computed from parameters, and so rounded to the model's dtype.
    """

    leaves: tuple[Leaf, ...]
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """The leaves that are inputs."""
        return tuple(leaf for leaf in self.leaves if leaf.kind == "input")

    @cached_property
    def shapes(self) -> Mapping[str, Any]:
        """Shapes by names of values."""
        known: dict[str, Any] = {leaf.name: leaf.shape for leaf in self.leaves}
        known.update({name: value.shape for name, value in self.constants.items()})
        known.update({node.name: node.shape for node in self.nodes})
        return known

    @cached_property
    def n_weights(self) -> int:
        """Number of entries of all constants of more than one."""
        return sum(v.size for v in self.constants.values() if v.size > 1)

    @cached_property
    def digest(self) -> str:
        """A fingerprint of operators, attributes, shapes and exact constants; names do not matter."""
        from jensen.program._digest import digest

        return digest(self)

    def evaluate(self, *values: Any) -> tuple[NDArray[np.float64], ...]:
        """Evaluate the program by torch, in float64.

        Parameters
        ----------
        values : arrays
            One for each leaf, of its shape.

        Returns
        -------
        tuple of arrays
            The outputs.

        Raises
        ------
        NetworkError
            If the number of values or a shape does not fit.
        """
        from jensen.program._evaluate import evaluate

        if len(values) != len(self.leaves):
            raise NetworkError(f"the program has {len(self.leaves)} leaves, got {len(values)} values")
        return evaluate(self, values)

    def __str__(self) -> str:
        """List leaves and nodes, one a line."""
        lines = [f"{leaf.name}: {leaf.kind} {leaf.label} {leaf.shape}" for leaf in self.leaves]
        lines += [
            f"{node.name} = {node.operator}({', '.join(node.inputs)}) {node.shape}" for node in self.nodes
        ]
        return "\n".join([*lines, f"return {', '.join(self.outputs)}"])


def names(value: Any) -> Iterator[Name]:
    """Find the `Name`s in nested arguments."""
    if isinstance(value, Name):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from names(entry)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for entry in value:
            yield from names(entry)


def substituted(value: Any, values: Mapping[str, Any]) -> Any:
    """Replace the `Name`s in nested arguments by values."""
    if isinstance(value, Name):
        return values[value.name]
    if isinstance(value, Mapping):
        return {key: substituted(entry, values) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [substituted(entry, values) for entry in value]
    return value
