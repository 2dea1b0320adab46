"""Verdicts about programs that are no ReLU networks: smooth ones, and those with several inputs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from jensen.certify._arguments import check_wrt
from jensen.certify._progress import Callback, Progress
from jensen.certify._segments import find_violation
from jensen.certify._verdict import Kind, StageReport, Verdict
from jensen.errors import ArgumentError, CertificateError, JensenError, UnsupportedOperatorError
from jensen.network import Domain
from jensen.program import Program
from jensen.verifier import Certificate, Enclosed, Rules, Violation, replay_rules

if TYPE_CHECKING:
    from jensen.calculus import Answer


@dataclass(frozen=True)
class Asked:
    """What is asked of a program; see `jensen.check` for each."""

    domain: Domain
    wrt: Sequence[int] | None
    output: int | None
    argument: int | Sequence[int] | None
    input_shape: Any
    exact: bool | None
    seed: int
    seconds: float
    progress: Callback | None


def is_no_network(model: Any, input_shape: Any) -> bool:
    """Whether a model in memory takes several tensors, and so is judged as a program from the start."""
    if "torch" not in sys.modules:
        return False
    from jensen.program import takes_several

    return takes_several(model, input_shape)


def read_refused(model: Any, input_shape: Any, refusal: JensenError) -> Program:
    """Read a model that cannot be lowered to a ReLU network as a program.

    Raises
    ------
    JensenError
        The refusal, if the model is no torch program that is smooth, too large to be lowered, or takes
        several inputs.
    """
    torch = sys.modules.get("torch")
    if isinstance(model, (str, Path)):
        readable = Path(model).suffix.lower() in (".pt2", ".pt", ".pth")
    else:
        readable = torch is not None and isinstance(model, (torch.nn.Module, torch.export.ExportedProgram))
    if not readable:
        raise refusal
    from jensen.network.lowering._size import TooManyWeightsError
    from jensen.program import read_program

    try:
        program = read_program(model, input_shape)
    except JensenError:
        raise refusal from None
    judged = isinstance(refusal, (UnsupportedOperatorError, TooManyWeightsError))
    if not judged and len(program.inputs) < 2:
        raise refusal
    return program


def check_program(
    model: Any, program: Program, asked: Asked, refusal: UnsupportedOperatorError | None = None
) -> Verdict:
    """Decide by rules whether a program is convex.

    Parameters
    ----------
    model : Any
        What the program was read from, which may tell in which argument it is meant to be convex.
    program : Program
    asked : Asked
    refusal : UnsupportedOperatorError, optional
        Why the program could not be lowered to a ReLU network.

    Returns
    -------
    Verdict
        Of kind "convex", "convex_rules", "not_convex" or "unknown".

    Raises
    ------
    UnsupportedOperatorError
        If the rules break at an operator that they do not know.
    NetworkError
        If the output is not one number, or samples of a batch are mixed.
    DomainError, ArgumentError
        If the domain, `wrt` or `argument` does not fit.
    """
    from jensen.calculus import decide

    began = perf_counter()
    arguments = _arguments(model, program, asked.argument)
    wrt = check_wrt(asked.wrt, sum(program.inputs[i].size for i in arguments))
    if asked.progress is not None:
        asked.progress(Progress("rules", 0, len(program.nodes), nan, 0.0))
    answer = decide(program, arguments, asked.domain, wrt, asked.output)
    if answer.broken is not None and not answer.broken.known:
        raise refusal or UnsupportedOperatorError(
            answer.broken.operator, answer.broken.place, answer.broken.reason
        )
    kind: Kind = "unknown"
    reason = _why_unknown(answer)
    certificate, witness = None, None
    if answer.convex:
        certificate, reason = _certificate(program, arguments, asked, wrt, answer)
        kind = "convex" if certificate is not None else "unknown" if asked.exact else "convex_rules"
    settled = len(program.nodes) if answer.convex else _settled(program, answer)
    left = len(program.nodes) - settled
    stages = [StageReport("rules", perf_counter() - began, settled, left, {"curvature": answer.kind})]
    if not answer.convex:
        left_seconds = max(asked.seconds - (perf_counter() - began), 0.0)
        began = perf_counter()
        try:
            found = find_violation(
                program, arguments, asked.domain, wrt, answer.output, asked.seed, left_seconds
            )
            witness = found.witness
            reason = "; ".join(part for part in (reason, found.evidence) if part)
        except KeyboardInterrupt:
            reason = "interrupted"
        stages.append(StageReport("falsify", perf_counter() - began, 0, left))
    if witness is not None:
        kind, reason = "not_convex", ""
        points = Violation(witness.x, witness.y, witness.t)
        proof = Enclosed(arguments, answer.output, points)
        certificate = Certificate(program.digest, asked.domain, wrt, "not_convex", proof)
    return Verdict(
        kind,
        program,
        asked.domain,
        wrt,
        witness,
        nan,
        (),
        tuple(stages),
        reason,
        None,
        certificate,
        arguments,
    )


def _arguments(model: Any, program: Program, argument: int | Sequence[int] | None) -> tuple[int, ...]:
    from jensen.program import convex_arguments

    count = len(program.inputs)
    if argument is None:
        return convex_arguments(model, count)
    chosen = (argument,) if isinstance(argument, int) else tuple(argument)
    fits = all(type(i) is int and 0 <= i < count for i in chosen)
    if not chosen or len(set(chosen)) != len(chosen) or not fits:
        raise ArgumentError(f"argument must name inputs of the model, 0..{count - 1}, got {argument!r:.80}")
    return chosen


def _why_unknown(answer: Answer) -> str:
    if answer.broken is not None:
        return f"the rules break at {answer.broken}"
    if answer.kind == "concave":
        return "the rules prove it concave, and not that it is affine"
    return "; ".join(f"the rules need that {condition}" for condition in answer.conditions)


def _settled(program: Program, answer: Answer) -> int:
    """Count the operators before the one at which the rules break."""
    if answer.broken is None:
        return len(program.nodes)
    return next(i for i, node in enumerate(program.nodes) if node.name == answer.broken.node)


def _certificate(
    program: Program, arguments: tuple[int, ...], asked: Asked, wrt: tuple[int, ...] | None, answer: Answer
) -> tuple[Certificate | None, str]:
    """Make a certificate that the verifier accepts, or say why there is none."""
    if answer.registered:
        return None, f"it rests on registered rules for {', '.join(answer.registered)}"
    if asked.exact is False:
        return None, "none was asked for"
    try:
        replay_rules(program, asked.domain, arguments, wrt, answer.output)
    except CertificateError as error:
        return None, f"no certificate: {error}"
    rules = Rules(arguments, answer.output)
    return Certificate(program.digest, asked.domain, wrt, "convex", rules), ""
