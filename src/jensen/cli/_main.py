"""The command's face: subcommands, exit codes, and how errors are told."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from jensen.cli._check import EPILOG, check
from jensen.cli._exit import ExitCode, LateError
from jensen.cli._verify import EPILOG as VERIFY_EPILOG
from jensen.cli._verify import verify
from jensen.errors import JensenError

app = typer.Typer(
    name="jensen",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EPILOG)(check)
app.command(epilog=VERIFY_EPILOG)(verify)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"jensen {version('jensen')}")
        raise typer.Exit


@app.callback()
def jensen(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Is this neural network convex? Exact verdicts, with proof."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `jensen` command.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit code. Of check: 0 convex, 1 not convex, 2 unknown; of verify: 0 the certificate proves its
        verdict, 1 it does not; of both: 3 usage or bad input, 4 interrupted before there was anything to
        say, 5 an internal error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    try:
        code = app(words, prog_name="jensen", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        command = next((f"{word} " for word in words if word in _COMMANDS), "")
        return _fail(f"{message} (see jensen {command}--help)", "UsageError", as_json)
    except JensenError as error:
        return _fail(str(error), type(error).__name__, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", "KeyboardInterrupt", as_json, ExitCode.INTERRUPTED)
    except LateError as error:
        # Standard output holds the answer already, so that an error object would be one object too many.
        if "--debug" in words:
            traceback.print_exc()
        return _fail(str(error), "", False, _code_of(error.__cause__))
    except Exception as error:  # noqa: BLE001 - an uncaught exception would exit with 1, which is an answer
        if "--debug" in words:
            traceback.print_exc()
        message = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
        return _fail(message, type(error).__name__, as_json, ExitCode.INTERNAL)
    if code == _TYPER_INTERRUPTED:
        return _fail("interrupted", "KeyboardInterrupt", as_json, ExitCode.INTERRUPTED)
    return int(code or 0)


_COMMANDS = ("check", "verify")
_TYPER_INTERRUPTED = 130
"""What typer returns instead of letting a KeyboardInterrupt through."""


def _code_of(cause: BaseException | None) -> ExitCode:
    if isinstance(cause, JensenError):
        return ExitCode.BAD_INPUT
    return ExitCode.INTERRUPTED if isinstance(cause, KeyboardInterrupt) else ExitCode.INTERNAL


def _fail(message: str, kind: str, as_json: bool, code: ExitCode = ExitCode.BAD_INPUT) -> int:
    """Tell an error in one line on standard error and, for programs, as an object on standard output."""
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": line, "kind": kind}))
    return int(code)
