"""Replays the claim that rules on signs and curvature prove a traced program convex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jensen.errors import CertificateError
from jensen.network import Domain
from jensen.program import Node, Program
from jensen.verifier.rules import _elementwise, _forms, _linear, _moving, _several
from jensen.verifier.rules._call import Call, Rule, Several
from jensen.verifier.rules._known import Known, constant, held, variable

RULES: dict[str, Rule] = {
    **_elementwise.RULES,
    **_linear.RULES,
    **_moving.RULES,
    **_several.RULES,
    **_forms.RULES,
}
"""Rules by names of operators, without overloads."""


def replay_rules(
    program: Program,
    domain: Domain,
    arguments: Sequence[int],
    wrt: Sequence[int] | None,
    output: int,
) -> None:
    """Confirm that an output is convex in the chosen entries of the first sample of the chosen inputs.

    Parameters
    ----------
    program : Program
    domain : Domain
        Of the entries of one sample of the chosen inputs, one input after the other.
    arguments : sequence of int
        The chosen inputs; the others, and other samples, are held at any value.
    wrt : sequence of int or None
        Which of the entries move; all by default.
    output : int
        Which entry of the flattened outputs of one sample.

    Raises
    ------
    CertificateError
        If the rules do not prove it.
    """
    inputs = program.inputs
    if len(inputs) != len(program.leaves) or not arguments or len(set(arguments)) != len(arguments):
        raise CertificateError("the certificate does not name inputs of the program")
    if not all(0 <= i < len(inputs) for i in arguments):
        raise CertificateError(f"the certificate names an input beyond the program's {len(inputs)}")
    values: dict[str, Known | Several] = {name: constant(array) for name, array in program.constants.items()}
    values.update({leaf.name: held(leaf.shape) for leaf in inputs})
    sizes = [inputs[i].size for i in arguments]
    lo, hi = domain.bounds(sum(sizes))
    chosen = np.isin(np.arange(sum(sizes)), range(sum(sizes)) if wrt is None else wrt)
    start = 0
    for i, size in zip(arguments, sizes, strict=True):
        leaf, part = inputs[i], slice(start, start + size)
        moves = np.zeros(leaf.shape, dtype=bool)
        moves[(0,) if leaf.batched else ()] = chosen[part].reshape(leaf.sample_shape)
        low, high = (np.broadcast_to(v[part].reshape(leaf.sample_shape), leaf.shape) for v in (lo, hi))
        values[leaf.name] = variable(low < 0, (low <= 0) & (high >= 0), high > 0, moves)
        start += size
    makers: dict[str, Node] = {}
    for node in program.nodes:
        values[node.name] = _applied(Call(node, values, makers, program), values)
        makers[node.name] = node
    batch = {leaf.shape[0] for leaf in inputs if leaf.batched}
    results = [_value(values[name]) for name in program.outputs]
    if batch and any({*result.shape[:1]} != batch for result in results):
        raise CertificateError("an output of the program has no batch as its first axis")
    if batch and any(result.moves[1:].any() for result in results):
        raise CertificateError("the program mixes the samples of a batch, or is not known to keep them apart")
    flat = np.concatenate([np.ravel(result.down[0] if batch else result.down) for result in results])
    if not 0 <= output < flat.size:
        raise CertificateError(f"the certificate names output {output} of {flat.size}")
    if flat[output]:
        raise CertificateError("the rules do not prove that the output never bends down")


def _value(found: Known | Several) -> Known:
    if isinstance(found, Known):
        return found
    raise CertificateError("an output of the program is several values")


def _applied(call: Call, values: Mapping[str, Known | Several]) -> Known | Several:
    node = call.node
    dtype = node.args.get("dtype")
    real = dtype is None or (isinstance(dtype, str) and dtype.startswith(("float", "bfloat")))
    rule = RULES.get(node.packet)
    if rule is not None and real:  # conversion to integers jumps
        try:
            result = rule(call)
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise call.refused(f"it does not fit its arguments: {error}") from error
        if result is not None:
            if isinstance(result, Known) and result.shape != node.shape:
                raise call.refused("it has another shape than the program says")
            return result
    for name in node.inputs:
        found = values[name]
        parts = found if isinstance(found, tuple) else (found,)
        if any(part.moves.any() for part in parts):
            raise CertificateError(
                f"the verifier has no rule for {node.operator} at {node.place}, as it stands there"
            )
    # What does not move stays what it is, whatever the operator.
    shape: Any = node.shape
    if all(isinstance(n, int) for n in shape):
        return held(shape)
    return tuple(held(part) for part in shape if part is not None)
