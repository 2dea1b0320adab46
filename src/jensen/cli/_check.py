"""`jensen check`: from a model file to a verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jensen.cli._arguments import (
    check_jobs,
    check_seconds,
    choose_domain,
    parse_inputs,
    parse_shape,
)
from jensen.cli._exit import ExitCode, late
from jensen.cli._files import check_picture, check_spared, check_target
from jensen.cli._output import print_answer
from jensen.cli._progress import check_bar

if TYPE_CHECKING:
    from jensen.certify import Verdict

EXIT_CODES = {"convex": 0, "convex_float": 0, "convex_rules": 0, "not_convex": 1, "unknown": 2}

# Each line is a paragraph of its own to typer, which joins the lines within one.
EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "  jensen check model.onnx",
        "  jensen check model.pt2 --box -1 1 --time-limit 60",
        "  jensen check model.onnx --domain box.json --wrt 0,2,5-7 --json",
        "  jensen check model.onnx --plot verdict.png",
        "  jensen check model.onnx --certificate proof.json --resume progress.jsonl",
        "[bold]Exit codes[/bold]",
        "  0 convex, 1 not convex, 2 unknown",
        "  3 usage or bad input, or a picture or certificate that was asked for was not written",
        "  4 interrupted before an answer, 5 internal error",
    )
)


def check(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model file: .onnx, .pt2 (torch.export.save) or .npz (jensen.network.save_network).",
        ),
    ],
    *,
    box: Annotated[
        tuple[float, float] | None,
        typer.Option("--box", metavar="LO HI", help="Ask on the box [LO, HI] in every input."),
    ] = None,
    domain: Annotated[
        Path | None,
        typer.Option(
            "--domain",
            metavar="FILE",
            help='Ask on the box {"lo", "hi"} or the polytope {"A", "b"} (A x <= b) in a JSON or .npz file.',
        ),
    ] = None,
    wrt: Annotated[
        str | None,
        typer.Option("--wrt", metavar="INPUTS", help="Ask for convexity in these inputs only, e.g. 0,2,5-7."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit", metavar="S", callback=check_seconds, help="Stop with UNKNOWN after S seconds."
        ),
    ] = None,
    output: Annotated[
        int | None,
        typer.Option("--output", metavar="K", min=0, help="Which output, where the model has several."),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option("--input-shape", metavar="SHAPE", help="Shape of one input, e.g. 1,28,28."),
    ] = None,
    argument: Annotated[
        int | None,
        typer.Option(
            "--argument",
            metavar="N",
            min=0,
            help="Ask for convexity in input N of a model with several, the others held at any value.",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", metavar="N", callback=check_jobs, help="Workers; -1 is all cores."),
    ] = 1,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of the search for a violation.")
    ] = 0,
    method: Annotated[
        Literal["auto", "branch", "enumerate"],
        typer.Option("--method", help="Complete stage to use where the cheap ones do not decide."),
    ] = "auto",
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--no-exact",
            help="Answer CONVEX only with a certificate, however long it takes, or make none. By default "
            "one is made unless that takes longer than the search.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            callback=check_target,
            help="Write what proves the verdict, for jensen verify; implies --exact.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            callback=check_target,
            help="Take down what is proved in FILE, and go on from it: after a time limit, Ctrl-C, a crash.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", callback=check_picture, help="Draw the verdict: .png, .svg or .pdf."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No report and no progress: the exit code is the answer.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an internal error came from.")] = False,
) -> int:
    """Decide whether a neural network is convex: CONVEX, NOT CONVEX with a witness, or UNKNOWN.

    ReLU networks are decided, given time; smooth ones and those with several inputs (.pt2) by rules.
    Ctrl-C stops the search and prints what was established until then.
    """
    del debug  # read by main, which sees the errors
    moving = parse_inputs(wrt)
    shape = parse_shape(input_shape)
    where = choose_domain(box, domain)
    named = {"model": model, "domain": domain, "picture": plot}
    check_spared(certificate, "--certificate", named)
    check_spared(resume, "--resume", {**named, "certificate": certificate})
    with check_bar(f"reading {model.name}", quiet) as progress:
        from jensen import check as decide
        from jensen.certify._report import report

        verdict = decide(
            model,
            where,
            moving,
            time_limit,
            output=output,
            input_shape=shape,
            argument=argument,
            n_jobs=jobs,
            seed=seed,
            method=method,
            exact=True if exact is None and certificate is not None else exact,
            resume=resume,
            progress=progress,
        )
    print_answer(lambda: report(verdict), verdict.to_dict, as_json, quiet)
    code = EXIT_CODES[verdict.kind]
    if certificate is not None:
        code = _certify(verdict, certificate, as_json or quiet, code)
    if plot is not None:
        _draw(verdict, plot, as_json or quiet)
    return code


def _certify(verdict: Verdict, file: Path, silent: bool, code: int) -> int:
    """Write the certificate; where there is none, say so and return a code that is neither 0 nor 1."""
    if verdict.certificate is None:
        hint = "; leave out --no-exact" if verdict.kind in ("convex_float", "convex_rules") else ""
        typer.echo(f"error: no certificate was written, for nothing is proved exactly{hint}", err=True)
        return code if verdict.kind == "unknown" else ExitCode.BAD_INPUT
    with late("the certificate was not written"):
        verdict.save(file)
    if not silent:
        typer.echo(f"\nCertificate written to {file}")
    return code


def _draw(verdict: Verdict, file: Path, silent: bool) -> None:
    from jensen.plot import plot_verdict

    with late("the picture was not written"):
        plot_verdict(verdict, file)
    if not silent:
        typer.echo(f"\nPicture written to {file}")
