"""Tells which values of a program are truth values or integers, which torch adds unlike real numbers.

Of truth values a sum is "or", integers wrap around, and what is written among them is rounded.
"""

from __future__ import annotations

from typing import Any

from jensen.errors import CertificateError
from jensen.program import Node, Program, substituted
from jensen.verifier.enclosures._moving import MOVES

_COMPARISONS = "gt ge lt le eq ne greater greater_equal less less_equal"
_SAMES = "contiguous clone alias detach"
_KEEPING = frozenset(f"aten.{name}" for names in (_COMPARISONS, MOVES, _SAMES) for name in names.split())
"""Operators whose results are right as numbers, of whatever type they are."""


def check_kinds(program: Program) -> None:
    """Refuse programs that compute with truth values or integers as if they were numbers.

    Allowed are comparisons, moving their results around, and's (as products) and counts; and all that makes
    floating-point numbers of them.

    Raises
    ------
    CertificateError
        If an operator is none of these, or does not fit its arguments.
    """
    import torch

    from jensen.program._evaluate import applied

    values: dict[str, Any] = {
        name: torch.empty(numbers.shape, dtype=torch.tensor(numbers.flat[:0]).dtype, device="meta")
        for name, numbers in program.constants.items()
    }
    for leaf in program.leaves:
        values[leaf.name] = torch.empty(leaf.shape, dtype=torch.float64, device="meta")
    for node in program.nodes:
        try:
            with torch.no_grad():
                values[node.name] = applied(node, substituted(node.args, values))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CertificateError(f"{node.operator} at {node.place} does not fit its arguments") from error
        result = values[node.name]
        if isinstance(result, torch.Tensor) and not result.is_floating_point():
            given = [v for name in node.inputs if isinstance(v := values[name], torch.Tensor)]
            if not _is_kept(node, result.dtype == torch.bool, all(v.dtype == torch.bool for v in given)):
                raise CertificateError(
                    f"{node.operator} at {node.place} cannot be enclosed: it computes with integers or "
                    "truth values"
                )


def _is_kept(node: Node, truth: bool, of_truths: bool) -> bool:
    if node.operator == "_operator.getitem" or node.packet in _KEEPING:
        return True
    return (node.packet == "aten.mul" and truth) or (node.packet == "aten.sum" and of_truths)
