"""`jensen verify`: from a certificate and a model to what is proved, or to why nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jensen.cli._arguments import choose_domain, parse_inputs, parse_shape
from jensen.cli._output import print_answer
from jensen.cli._progress import replay_bar
from jensen.program import Program

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jensen.network import Lowered
    from jensen.verifier import Verification

EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "  jensen verify proof.json model.onnx",
        "  jensen verify proof.json model.onnx --box -1 1",
        "  jensen verify proof.json model.onnx --domain box.json --wrt 0,2,5-7 --json",
        "[bold]Exit codes[/bold]",
        "  0 the certificate proves its verdict (CONVEX or NOT CONVEX: the report and --json tell which)",
        "  1 it does not, or is about another network, another domain or other inputs",
        "  3 usage, or a certificate or model that cannot be read",
        "  4 interrupted, 5 internal error",
    )
)


@dataclass(frozen=True)
class Replayed:
    """What came of a replay.

    Attributes
    ----------
    found : Verification or None
        None where the certificate proves nothing.
    reason : str
        Why not.
    subject : Lowered or Program
        What was read from the model.
    seconds : float
        Reading the certificate and replaying it.
    """

    found: Verification | None
    reason: str
    subject: Lowered | Program
    seconds: float


def verify(
    certificate: Annotated[
        Path,
        typer.Argument(
            metavar="CERTIFICATE", help="What jensen check --certificate, or verdict.save, has written."
        ),
    ],
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model that it is about: .onnx, .pt2 or .npz.")
    ],
    *,
    box: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--box",
            metavar="LO HI",
            help="Demand that it is about the box [LO, HI] in every input; -inf inf is the whole space. "
            "By default any domain is accepted, and named.",
        ),
    ] = None,
    domain: Annotated[
        Path | None,
        typer.Option("--domain", metavar="FILE", help="Demand that it is about the domain in this file."),
    ] = None,
    wrt: Annotated[
        str | None,
        typer.Option("--wrt", metavar="INPUTS", help="Demand that it is about these inputs, e.g. 0,2,5-7."),
    ] = None,
    output: Annotated[
        int | None,
        typer.Option("--output", metavar="K", min=0, help="Which output, where the model has several."),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option("--input-shape", metavar="SHAPE", help="Shape of one input, e.g. 1,28,28."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No report and no progress: the exit code is the answer.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an internal error came from.")] = False,
) -> int:
    """Replay a certificate in exact rational arithmetic, and tell what it proves about the model.

    The replay knows the model's weights and nothing of the search that found the proof.
    """
    del debug  # read by main, which sees the errors
    moving = parse_inputs(wrt)
    shape = parse_shape(input_shape)
    where = choose_domain(box, domain)
    with replay_bar(f"reading {certificate.name}", quiet) as progress:
        from jensen.errors import CertificateError
        from jensen.network import as_network
        from jensen.verifier import Certificate, Enclosed, Rules
        from jensen.verifier import verify as replay

        began = perf_counter()
        claim = Certificate.load(certificate)
        read = perf_counter() - began
        subject: Lowered | Program
        if isinstance(claim.proof, Rules | Enclosed):
            from jensen.program import read_program

            subject = read_program(model, shape)
            chosen = [leaf for i, leaf in enumerate(subject.inputs) if i in claim.proof.arguments]
            d = sum(leaf.size for leaf in chosen)
            replayed: Any = subject
        else:
            subject = as_network(model, output=output, input_shape=shape)
            d, replayed = subject.network.input_size, subject.network
        if moving is not None and moving[-1] >= d:
            raise typer.BadParameter(f"the model has inputs 0..{d - 1} only", param_hint="'--wrt'")
        if where is not None:
            where.bounds(d)  # a domain that does not fit the model is the caller's mistake
        found, reason = None, ""
        began = perf_counter()
        try:
            asked = output if isinstance(claim.proof, Rules | Enclosed) else None
            found = replay(claim, replayed, where, moving, output=asked, progress=progress)
        except CertificateError as error:
            reason = str(error)
    result = Replayed(found, reason, subject, read + perf_counter() - began)
    print_answer(lambda: _report(result), lambda: _data(result), as_json, quiet)
    return 1 if found is None else 0


def _report(result: Replayed) -> RenderableType:
    """Lay out the answer: what is proved of what, and how; or why nothing is."""
    from rich.console import Group
    from rich.text import Text

    from jensen.certify._report import (
        HEADLINES,
        describe_arguments,
        describe_lowering,
        describe_network,
        describe_program,
        describe_question,
        facts,
        number,
    )

    found, subject = result.found, result.subject
    lowered = None if isinstance(subject, Program) else subject
    if isinstance(subject, Program):
        rows = [("program", describe_program(subject)), ("digest", subject.digest)]
    else:
        rows = [("network", describe_network(subject.network)), ("digest", subject.network.digest)]
    if found is None:
        headline = Text.assemble(("NOT PROVED", "bold red"), f": {result.reason}")
    else:
        words = describe_question(found.domain, found.wrt, found.input_size)
        if isinstance(subject, Program):
            words += describe_arguments(subject, found.arguments)
        headline = Text.assemble(("PROVED", "bold green"), f": {HEADLINES[found.verdict]} {words}")
        if lowered is not None:
            rows.append(("model", describe_lowering(lowered.deviation)))
        rows.append(("proof", _describe_proof(found)))
    rows.append(("time", f"{number(result.seconds)} s"))
    return Group(headline, Text(), facts(rows))


def _describe_proof(found: Verification) -> str:
    from jensen.certify._report import count

    if isinstance(found.subject, Program) and found.verdict == "not_convex":
        return "three points at which enclosures of the values violate Jensen's inequality"
    if isinstance(found.subject, Program):
        return f"rules on signs and curvature, for {count(len(found.subject.nodes), 'operator')}"
    if found.verdict == "not_convex":
        return "three points at which the exact values violate Jensen's inequality"
    neurons = count(found.neurons, "neuron")
    if found.by_signs == found.neurons:
        return f"signs of weights alone, for {neurons}"
    signs = f"{found.by_signs:,} of {neurons} by signs of weights, the rest by bounds"
    if not found.trees:
        return signs
    return f"{signs} and {count(found.trees, 'case tree')} with {count(found.leaves, 'leaf', 'leaves')}"


def _data(result: Replayed) -> dict[str, Any]:
    """Describe the answer as plain data; what is not proved is None."""
    from importlib.metadata import version

    from jensen.certify._render import network_to_dict, plain, program_to_dict

    found, subject = result.found, result.subject
    described: dict[str, Any]
    if isinstance(subject, Program):
        asked = () if found is None else found.arguments
        described = {
            "network": None,
            "program": {**program_to_dict(subject, asked), "digest": subject.digest},
            "lowering_error": None,
        }
    else:
        described = {
            "network": {**network_to_dict(subject.network), "digest": subject.network.digest},
            "program": None,
            "lowering_error": plain(subject.deviation),
        }
    return {
        "proved": found is not None,
        "reason": result.reason,
        "verdict": found and found.verdict,
        "domain": found and plain(found.domain.to_dict()),
        "wrt": None if found is None or found.wrt is None else list(found.wrt),
        "proof": found
        and {
            "neurons": found.neurons,
            "by_signs": found.by_signs,
            "trees": found.trees,
            "leaves": found.leaves,
        },
        **described,
        "seconds": result.seconds,
        "version": version("jensen"),
    }
