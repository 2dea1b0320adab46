"""The analysis itself: from what is known of the leaves to what is known of every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jensen.calculus._atom import ATOMS, Atom
from jensen.calculus._call import Call, Condition, Result, is_unknown
from jensen.calculus._several import applied_atom
from jensen.calculus._table import RULES, is_known, is_registered
from jensen.calculus._together import together
from jensen.calculus._value import Value, constant, narrowed
from jensen.errors import UnsupportedOperatorError
from jensen.program import Name, Node, Program


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known of the values of a program.

    Attributes
    ----------
    program : Program
    values : mapping of str to Value or tuple
        By names of values; several results are a tuple.
    conditions : tuple of Condition
        What the rules take for granted: arguments that lie in the domain of a logarithm, ...
    registered : tuple of str
        Operators whose rules are a user's.
    """

    program: Program
    values: Mapping[str, Result]
    conditions: tuple[Condition, ...]
    registered: tuple[str, ...]

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What is known of the outputs."""
        found = [self.values[name] for name in self.program.outputs]
        return tuple(value for value in found if isinstance(value, Value))

    def arguments(self, node: Node) -> list[Value]:
        """List what is known of the values that a node reads."""
        found: list[Value] = []
        for name in node.inputs:
            result = self.values[name]
            found += [result] if isinstance(result, Value) else [v for v in result if v is not None]
        return found


def analyse(program: Program, leaves: Mapping[str, Value]) -> Analysis:
    """Propagate signs and curvatures through a program.

    Parameters
    ----------
    program : Program
    leaves : mapping of str to Value
        What is known of each leaf, by the names of their values.
    """
    values: dict[str, Result] = {**leaves}
    known: dict[str, Any] = {**leaves}
    for name, array in program.constants.items():
        values[name] = constant(array)
        # Indices and masks are needed as they are.
        known[name] = values[name] if array.dtype.kind == "f" else array
    conditions: list[Condition] = []
    registered: dict[str, None] = {}
    makers: dict[str, Node] = {}
    for node in program.nodes:
        call = Call(node, _resolved(node.args, known), program.constants, [], makers, values)
        result = _refined(call, _step(call), known)
        if isinstance(result, Value) and isinstance(node.shape, tuple) and result.shape != node.shape:
            # A rule that forgets a shape would say things about the wrong entries.
            raise UnsupportedOperatorError(node.operator, node.place, "its rule gives another shape")
        values[node.name] = known[node.name] = result
        makers[node.name] = node
        conditions += call.conditions
        if is_registered(node.packet):
            registered[node.packet] = None
    return Analysis(program, values, tuple(conditions), tuple(registered))


def _refined(call: Call, result: Result, known: Mapping[str, Any]) -> Result:
    """Add what is known of several operators together, where one alone tells nothing."""
    if not isinstance(result, Value) or result.shape != call.node.shape or not is_unknown(result).any():
        return result

    def run(nodes: Sequence[Node], given: Mapping[str, Value]) -> Mapping[str, Result]:
        values, inner = {**call.results, **given}, {**known, **given}
        for node in nodes:
            again = Call(node, _resolved(node.args, inner), call.numbers, [], call.makers, values)
            values[node.name] = inner[node.name] = _step(again)
        return values

    for found in together(call, run):
        result = narrowed(result, found)
    return result


def _step(call: Call) -> Result:
    packet = call.node.packet
    if call.node.operator == "_operator.getitem":
        picked: Result | None = call.args["a"][call.args["b"]]
        return call.nothing_known() if picked is None else picked
    if not any(value.varies.any() for value in call.values) and not is_known(packet):
        return call.nothing_known()
    dtype = call.args.get("dtype")
    if isinstance(dtype, str) and not dtype.startswith(("float", "bfloat")):
        return call.nothing_known()  # conversion to integers jumps
    if (rule := RULES.get(packet)) is not None:
        return rule(call)
    if (atom := atom_of(call)) is not None:
        return applied_atom(call, atom, call.values[0])
    return call.nothing_known()


def atom_of(call: Call) -> Atom | None:
    """Find the atom of an elementwise operator of one tensor."""
    described = ATOMS.get(call.node.packet)
    if described is None or len(call.values) != 1 or call.node.shape != call.values[0].shape:
        return None
    if isinstance(described, Atom):
        return described
    plain = {key: v for key, v in call.args.items() if not isinstance(v, Value) and v is not None}
    return described(plain)


def call_of(analysis: Analysis, node: Node) -> Call:
    """Build the call of a node again, for explanations."""
    known = {
        name: analysis.program.constants[name]
        if name in analysis.program.constants and analysis.program.constants[name].dtype.kind != "f"
        else analysis.values[name]
        for name in node.inputs
    }
    return Call(node, _resolved(node.args, known), analysis.program.constants)


def _resolved(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, Name):
        return known[value.name]
    if isinstance(value, Mapping):
        return {key: _resolved(entry, known) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolved(entry, known) for entry in value]
    return value


def breaks(analysis: Analysis, node: Node) -> bool:
    """Whether the argument breaks at a node: it may bend both ways although nothing that it reads does."""
    result = analysis.values[node.name]
    parts = [result] if isinstance(result, Value) else [v for v in result if v is not None]
    broken = any(bool(np.any(is_unknown(part))) for part in parts)
    return broken and not any(bool(np.any(is_unknown(v))) for v in analysis.arguments(node))
