"""Why the argument breaks where it does."""

from __future__ import annotations

from dataclasses import dataclass

from jensen.calculus._analysis import Analysis, atom_of, breaks, call_of
from jensen.calculus._atom import Atom
from jensen.calculus._elementary import power
from jensen.calculus._table import RULES, is_known
from jensen.calculus._value import DOWN, UP, Value, has
from jensen.program import Node


@dataclass(frozen=True)
class Break:
    """The first node at which the rules can no longer tell how a value bends.

    Attributes
    ----------
    node : str
        Name of its value.
    operator : str
    place : str
        The module or the line of code that it comes from.
    reason : str
    known : bool
        Whether the calculus knows the operator at all.
    """

    node: str
    operator: str
    place: str
    reason: str
    known: bool = True

    def __str__(self) -> str:
        return f"{self.operator} at {self.place}: {self.reason}"


def first_break(analysis: Analysis) -> Break | None:
    """Find the first node at which the argument breaks, in the order of evaluation."""
    node = next((node for node in analysis.program.nodes if breaks(analysis, node)), None)
    if node is None:
        return None
    reason, known = _reason(analysis, node)
    return Break(node.name, node.operator, node.place, reason, known)


_STEPS = ("aten.gt", "aten.ge", "aten.lt", "aten.le", "aten.eq", "aten.ne", "aten.sign", "aten.argmax")
_ADDING = ("aten.add", "aten.sub", "aten.rsub", "aten.addmm", "aten.addcmul", "aten.subtract")
_WEIGHING = (
    "aten.linear",
    "aten.mul",
    "aten.matmul",
    "aten.mm",
    "aten.addmm",
    "aten.bmm",
    "aten.convolution",
)
_REDUCING = ("aten.sum", "aten.mean", "aten.cumsum", "aten.trace")


def _reason(analysis: Analysis, node: Node) -> tuple[str, bool]:
    call = call_of(analysis, node)
    arguments = [value for value in call.values if value.varies.any()]
    if node.packet == "aten.pow" and (exponent := call.number("exponent")) is not None and exponent.size == 1:
        return _of_atom(power(float(exponent.reshape(()))), call.value()), True
    if node.packet in RULES:
        return _of_rule(node, arguments), True
    if (atom := atom_of(call)) is not None:
        return _of_atom(atom, call.values[0]), True
    if is_known(node.packet):
        return "nothing is known of it with these arguments", True
    return "no rule is known for this operator; teach it with jensen.register_atom", False


def _of_atom(atom: Atom, value: Value) -> str:
    seen: dict[str, None] = {}
    for sign in sorted({int(s) for s in value.sign.ravel()}):
        seen[str(atom.shape_on(sign))] = None
    where = "" if value.sign_name() == "unknown" else f" where its argument is {value.sign_name()}"
    return f"{atom.name} is {', or '.join(seen)}{where}, and its argument is {value.kind()}"


def _of_rule(node: Node, arguments: list[Value]) -> str:
    kinds = [value.kind() for value in arguments]
    if node.packet in _STEPS:
        return "it jumps where its argument changes, and so neither bends up nor down"
    if node.packet in _ADDING and len(arguments) == 2:
        return f"it adds a term that is {kinds[0]} and one that is {kinds[1]} (with their signs)"
    if len(arguments) == 2 and node.packet not in ("aten.maximum", "aten.minimum"):
        return "both of its factors depend on the variables"
    if len(arguments) == 1:
        value = arguments[0]
        bends = [word for word, bit in (("convex", UP), ("concave", DOWN)) if has(value.curvature, bit).any()]
        if len(bends) == 2 or node.packet in _REDUCING:
            return "it mixes entries that are convex with entries that are concave"
        if bends and (node.packet in _WEIGHING or node.packet.startswith("aten.conv")):
            return f"its argument is {bends[0]}, and some coefficients that it meets are negative"
        if bends:
            return f"its argument is {bends[0]}, and meets a wrong sign or a bend the other way"
        return "it may bend both ways"
    return f"arguments that are {', '.join(kinds)} do not fit together"
