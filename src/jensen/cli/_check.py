"""`jensen check`: from a model file to a verdict on the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jensen.cli._arguments import (
    check_jobs,
    check_picture,
    check_seconds,
    choose_domain,
    parse_inputs,
    parse_shape,
)
from jensen.cli._progress import progress_bar

if TYPE_CHECKING:
    from jensen.certify import Verdict

EXIT_CODES = {"convex": 0, "not_convex": 1, "unknown": 2}


class LateError(Exception):
    """Something failed after the verdict was printed; the cause says what."""


# Each line is a paragraph of its own to typer, which joins the lines within one.
EPILOG = "\n\n".join(
    (
        "[bold]Examples[/bold]",
        "  jensen check model.onnx",
        "  jensen check model.pt2 --box -1 1 --time-limit 60",
        "  jensen check model.onnx --domain box.json --wrt 0,2,5-7 --json",
        "  jensen check model.onnx --plot verdict.png",
        "[bold]Exit codes[/bold]",
        "  0 convex, 1 not convex, 2 unknown",
        "  3 usage or bad input, 4 interrupted before an answer, 5 internal error",
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
    """Decide whether a ReLU network is convex: CONVEX, NOT CONVEX with a witness, or UNKNOWN.

    Ctrl-C stops the search and prints what was established until then.
    """
    del debug  # read by main, which sees the errors
    moving = parse_inputs(wrt)
    shape = parse_shape(input_shape)
    where = choose_domain(box, domain)
    with progress_bar(f"reading {model.name}", quiet) as progress:
        from jensen import check as decide

        verdict = decide(
            model,
            where,
            moving,
            time_limit,
            output=output,
            input_shape=shape,
            n_jobs=jobs,
            seed=seed,
            method=method,
            progress=progress,
        )
    _print(verdict, as_json, quiet)
    if plot is not None:
        _draw(verdict, plot)
        if not (as_json or quiet):
            typer.echo(f"\nPicture written to {plot}")
    return EXIT_CODES[verdict.kind]


def _draw(verdict: Verdict, file: Path) -> None:
    from jensen.plot import plot_verdict

    try:
        plot_verdict(verdict, file)
    except (Exception, KeyboardInterrupt) as error:
        raise LateError(f"the picture was not written: {error}") from error


def _print(verdict: Verdict, as_json: bool, quiet: bool) -> None:
    """Print the verdict before anything else is done with it, so that no later error can lose it."""
    if as_json:
        from jensen.certify._render import verdict_to_dict

        typer.echo(json.dumps(verdict_to_dict(verdict), allow_nan=False))
    elif not quiet:
        from jensen.certify._report import report, report_text

        if sys.stdout.isatty():
            from rich.console import Console

            Console(markup=False, highlight=False).print(report(verdict))
        else:
            typer.echo(report_text(verdict), nl=False)
    sys.stdout.flush()
