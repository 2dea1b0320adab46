"""What a bad input was answered with, and whether that answer is right.

An answer is right if it is one of jensen's own errors with a message, an UNKNOWN, or a verdict that the
brute-force oracle shares wherever the network is small enough to ask it. Anything else is bad.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

import numpy as np
from oracle import oracle_is_convex, witness_complaint
from oracle._lp import polyhedron
from oracle._weights import domain_rows

import jensen
from jensen import cli
from jensen.errors import DomainError, JensenError
from jensen.network import Domain, FloatArray, ReLUNetwork

TIME_LIMIT = 3.0
"""Seconds that a check is given where the case itself names no limit."""
ORACLE_SECONDS = 4.0
MOST_NEURONS, MOST_INPUTS = 10, 5
EXIT_ERROR = 3

Kind = Literal["convex", "not_convex", "unknown", "error", "bad"]
KINDS: dict[str, Kind] = {
    "convex": "convex",
    "convex_float": "convex",
    "not_convex": "not_convex",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class Question:
    """A call of `jensen.check`; building the model and the domain are part of what is tried.

    Attributes
    ----------
    note : str
        What is odd about it.
    model, domain : callables
        Build the arguments; they may raise jensen's errors.
    options : mapping
        Further arguments of `jensen.check`.
    replay : callable, optional
        Evaluates the model by a program that is not jensen's; None where that cannot.
    """

    note: str
    model: Callable[[], Any]
    domain: Callable[[], Any] = lambda: None
    options: Mapping[str, Any] = field(default_factory=dict)
    replay: Callable[[FloatArray], FloatArray | None] | None = None


@dataclass(frozen=True)
class Command:
    """A call of the `jensen` command, and the same question to `jensen.check` to compare it with."""

    note: str
    arguments: Sequence[str]
    question: Question | None = None


@dataclass(frozen=True)
class Outcome:
    """How a case was answered.

    Attributes
    ----------
    kind : str
        "convex", "not_convex", "unknown", "error" (one of jensen's own) or "bad".
    compared : bool
        Whether the oracle was asked, and agreed.
    error : str
        Type of the error.
    message : str
        Its message; for "bad", what is wrong.
    """

    kind: Kind
    compared: bool = False
    error: str = ""
    message: str = ""


class _OutOfTimeError(Exception):
    """The oracle takes too long."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(case: Question | Command) -> Outcome:
    """Ask jensen and judge the answer; only exceptions that are not jensen's come through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _ask(case) if isinstance(case, Question) else _run(case)


def _ask(question: Question) -> Outcome:
    domain = None
    network = None
    try:
        model = question.model()
        network = model if isinstance(model, ReLUNetwork) else None
        domain = question.domain()
        options = {"time_limit": TIME_LIMIT, **question.options}
        verdict = jensen.check(model, domain, **options)
    except JensenError as error:
        return _judge_error(error, network, domain)
    wrt = verdict.wrt
    if verdict.kind == "unknown":
        return Outcome("unknown", message=verdict.reason)
    json.dumps(verdict.to_dict(), allow_nan=False)
    if not str(verdict):
        return Outcome("bad", message="the verdict prints as nothing")
    complaint, compared = _compare(verdict.network, domain, wrt, verdict)
    complaint = complaint or _deviation(verdict.network, question)
    if complaint:
        return Outcome("bad", message=f"WRONG VERDICT: {complaint}")
    return Outcome(KINDS[verdict.kind], compared)


def _compare(
    network: ReLUNetwork, domain: Domain | None, wrt: tuple[int, ...] | None, verdict: jensen.Verdict
) -> tuple[str, bool]:
    """What is wrong with a verdict, and whether the oracle was asked."""
    if network.n_neurons > MOST_NEURONS or network.input_size > MOST_INPUTS:
        return "", False
    witness = verdict.witness
    try:
        with _alarm(ORACLE_SECONDS):
            if witness is not None:
                complaint = witness_complaint(network, domain, wrt, (witness.x, witness.y, witness.t))
                if complaint:
                    return complaint, True
            answer = oracle_is_convex(network, domain, wrt)
    except _OutOfTimeError:
        return "", False
    except ValueError as error:
        return f"check says {verdict.kind}, the oracle: {error}", True
    expected = "convex" if answer.convex else "not_convex"
    if KINDS[verdict.kind] != expected:
        return f"check says {verdict.kind}, the oracle {expected}: {answer.witness}", True
    return "", True


def _deviation(network: ReLUNetwork, question: Question) -> str:
    """How far a lowered network is from its model, where that is too far."""
    if question.replay is None:
        return ""
    points = np.random.default_rng(1).standard_normal((7, network.input_size))
    expected = question.replay(points)
    if expected is None or not np.isfinite(expected).all():
        return ""
    found = network(points)
    gap = float(np.abs(found - expected).max())
    allowed = 1e-3 * (1 + float(np.abs(expected).max()))
    return "" if gap <= allowed else f"the network is {gap:.3g} from its model: {found} for {expected}"


def _judge_error(error: JensenError, network: ReLUNetwork | None, domain: Any) -> Outcome:
    message = str(error)
    if len(message) < 10:
        return Outcome("bad", message=f"{type(error).__name__} says only {message!r}")
    if "Traceback" in message:
        return Outcome("bad", message=f"an internal message: {type(error).__name__}: {message}")
    compared = False
    if (
        isinstance(error, DomainError)
        and ("domain is empty" in message or "box is empty" in message)
        and isinstance(domain, Domain)
        and network is not None
    ):
        d = network.input_size
        if polyhedron(d, domain_rows(domain, d)) is not None:
            return Outcome("bad", message=f"WRONG: the oracle finds points in the domain: {message}")
        compared = True
    return Outcome("error", compared, type(error).__name__, message)


def _run(command: Command) -> Outcome:
    """Run the command; an answer must be that of `jensen.check`, an error one line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(command.arguments))
    said = err.getvalue().strip()
    if code == EXIT_ERROR:
        if not said.startswith("error: ") or "\n" in said or len(said) < 17:
            return Outcome("bad", message=f"exit 3 and this on stderr: {said!r}")
        if "--json" in command.arguments and set(json.loads(out.getvalue())) != {"error", "kind"}:
            return Outcome("bad", message=f"exit 3 and this on stdout: {out.getvalue()!r}")
        return Outcome("error", error="exit 3", message=said)
    kinds: dict[int, Kind] = {0: "convex", 1: "not_convex", 2: "unknown"}
    if code not in kinds:
        return Outcome("bad", message=f"exit {code}: {said}")
    if "--json" in command.arguments and json.loads(out.getvalue())["verdict"] != kinds[code]:
        return Outcome("bad", message=f"exit {code} and {out.getvalue()!r}")
    if command.question is None or code == 2:
        return Outcome(kinds[code])
    asked = _ask(command.question)
    if asked.kind not in (kinds[code], "unknown"):
        return Outcome("bad", message=f"exit {code}, but check: {asked}")
    return Outcome(kinds[code], asked.compared)


ODD_FLOATS = (
    float("nan"), float("inf"), float("-inf"), 5e-324, -5e-324, 1e-310, 1e300, -1e300, 1.7e308, -1.7e308,
    1e-200, -0.0, 0.0, 2.0**1023, 2.0**-1074, 1e16, 0.1,
)  # fmt: skip
"""Numbers that arithmetic stumbles over."""


def network_case(rng: Any) -> tuple[ReLUNetwork, Domain | None]:
    """Draw a small network and a domain, of any of the oracle's kinds."""
    from oracle import case

    drawn = case(rng.randrange(1 << 30), rng.randrange(20))
    return drawn.network, drawn.domain


def pick_entry(rng: Any, array: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """Draw an index into an array; None if it has no entry."""
    return None if not array.size else tuple(rng.randrange(n) for n in array.shape)
