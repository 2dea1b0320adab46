"""One call of an operator, with what is known of its arguments, and the registry of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.calculus._value import DOWN, FOREIGN, UP, VARIES, Value, constant, has, unknown, when
from jensen.program import Name, Node

Result: TypeAlias = Value | tuple[Value | None, ...]


@dataclass(frozen=True)
class Condition:
    """What a rule takes for granted.

    Attributes
    ----------
    node : str
        Name of the value for which it is needed.
    place : str
        Where in the model that stands.
    text : str
    """

    node: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"at {self.place}, {self.text}"


@dataclass
class Call:
    """A node with its arguments resolved.

    Attributes
    ----------
    node : Node
    args : mapping of str to value
        `Value`s for tensors, arrays for constants of integers and truth values, everything else as it is.
    numbers : mapping of str to array
        Constants of the program.
    conditions : list of Condition
        What a rule takes for granted, for it to add to.
    makers, results : mapping of str
        The nodes before this one, and what is known of every value so far, for rules that recognise a
        function that is written as several operators.
    """

    node: Node
    args: Mapping[str, Any]
    numbers: Mapping[str, NDArray[Any]]
    conditions: list[Condition] = field(default_factory=list)
    makers: Mapping[str, Node] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)

    def suppose(self, text: str) -> None:
        """Take something for granted."""
        self.conditions.append(Condition(self.node.name, self.node.place, text))

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument as it is."""
        value = self.args.get(name)
        return default if value is None else value

    def value(self, name: str = "self") -> Value:
        """Return an argument, number or array, as a value."""
        given = self.args[name]
        return given if isinstance(given, Value) else constant(np.asarray(given))

    def optional(self, name: str) -> Value | None:
        """Return an argument as a value; None where it is absent."""
        return None if self.args.get(name) is None else self.value(name)

    def number(self, name: str) -> NDArray[Any] | None:
        """Return an argument whose numbers are known."""
        given = self.node.args.get(name)
        if isinstance(given, Name):
            return self.numbers.get(given.name)
        return None if given is None else np.asarray(given)

    def maker(self, given: Any) -> Node | None:
        """Find the node that made an argument of this or of another node; None of leaves and constants."""
        return self.makers.get(given.name) if isinstance(given, Name) else None

    def known(self, given: Any) -> Value | None:
        """Return what is known of an argument of another node."""
        found = self.results.get(given.name) if isinstance(given, Name) else None
        return found if isinstance(found, Value) else None

    def is_same(self, one: str, other: str) -> bool:
        """Whether two arguments are the same value."""
        first = self.node.args.get(one)
        return isinstance(first, Name) and first == self.node.args.get(other)

    @property
    def values(self) -> list[Value]:
        """All arguments that are values."""
        found: list[Value] = []
        for given in self.args.values():
            parts = given if isinstance(given, (list, tuple)) else [given]
            found += [part for part in parts if isinstance(part, Value)]
        return found

    def nothing_known(self) -> Result:
        """Say of the result only whether it varies at all."""
        varies = any(value.varies.any() for value in self.values)
        strange = [value for value in self.values if has(value.curvature, FOREIGN).any()]

        def entries(shape: tuple[int, ...]) -> Value:
            result = unknown(shape, VARIES | UP | DOWN if varies else 0)
            for value in strange:
                rows = value.curvature.reshape(len(value.curvature), -1) if value.curvature.ndim else None
                if rows is not None and shape and len(rows) == shape[0]:
                    # Samples are taken to stay apart: whether they do is no matter of soundness.
                    mixed = has(rows, FOREIGN).any(axis=1).reshape(-1, *(1,) * (len(shape) - 1))
                    result = Value(result.sign, result.curvature | when(mixed, FOREIGN))
                else:
                    result = Value(result.sign, result.curvature | np.int8(FOREIGN))
            return result

        shape = self.node.shape
        if any(part is None or isinstance(part, tuple) for part in shape):
            return tuple(None if part is None else entries(part) for part in shape)  # type: ignore[arg-type]
        return entries(shape)  # type: ignore[arg-type]


Rule: TypeAlias = Callable[[Call], Result]


class Registry(dict[str, Rule]):
    """Rules by the packet's name, for instance "aten.add"."""

    def __call__(self, *names: str) -> Callable[[Rule], Rule]:
        """Register a rule under names of aten."""

        def remember(rule: Rule) -> Rule:
            self.update({f"aten.{name}": rule for name in names})
            return rule

        return remember


def is_unknown(value: Value) -> NDArray[np.bool_]:
    """Entries that may bend both ways."""
    return has(value.curvature, UP) & has(value.curvature, DOWN)
