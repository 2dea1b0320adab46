"""`jensen.check` with a certificate against the oracle on one question, and the certificate replayed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import jensen
from jensen.certify import Verdict
from jensen.errors import CertificateError
from jensen.network import Domain, ReLUNetwork, WholeSpace
from oracle._networks import Case
from oracle._oracle import Answer, oracle_is_convex, violates
from oracle._weights import domain_rows, is_icnn, read_network, value

Method: TypeAlias = Literal["auto", "branch", "enumerate"]
"""The stage of `jensen.check` that is to decide; "auto" leaves the choice to it."""

TIME_LIMIT = 120.0
"""Seconds for one check, so that a search without end shows as an UNKNOWN."""


@dataclass(frozen=True)
class Replayed:
    """How a certificate fared between its file and `jensen.verify`.

    Attributes
    ----------
    refusal : str
        Why it was refused; empty if it was not.
    trees, leaves, size : int
        Case trees replayed, their leaves, and the bytes of the file.
    save_seconds, verify_seconds : float
        Writing it; reading and replaying it.
    """

    refusal: str
    trees: int
    leaves: int
    size: int
    save_seconds: float
    verify_seconds: float


@dataclass(frozen=True)
class Comparison:
    """What both said, what the certificate proved, and how long everything took.

    Attributes
    ----------
    convex : bool
        The oracle's answer.
    kind : str
        The answer of `jensen.check`.
    icnn : bool
        Whether the signs of the weights alone show convexity.
    complaint : str
        What is wrong with the answer of `jensen.check` or its certificate; empty if nothing is.
    replayed : Replayed or None
        None if there is no certificate.
    oracle_seconds, check_seconds : float
    """

    convex: bool
    kind: str
    icnn: bool
    complaint: str
    replayed: Replayed | None
    oracle_seconds: float
    check_seconds: float

    @property
    def certified(self) -> bool:
        """Whether a certificate was written, read back and accepted."""
        return self.replayed is not None and not self.replayed.refusal


def compare(question: Case, method: Method = "auto") -> Comparison:
    """Ask both, and replay the certificate of the verdict from its file."""
    network, domain, wrt = question.network, question.domain, question.wrt
    start = time.perf_counter()
    answer = oracle_is_convex(network, domain, wrt)
    middle = time.perf_counter()
    verdict = jensen.check(network, domain, wrt, time_limit=TIME_LIMIT, method=method, exact=True)
    end = time.perf_counter()
    replayed = None if verdict.certificate is None else replay(verdict, network, domain, wrt)
    return Comparison(
        answer.convex,
        verdict.kind,
        is_icnn(read_network(network)),
        _verdict_complaint(question, verdict, answer) or _certificate_complaint(replayed),
        replayed,
        middle - start,
        end - middle,
    )


def replay(
    verdict: Verdict, network: ReLUNetwork, domain: Domain | None, wrt: Sequence[int] | None
) -> Replayed:
    """Write a verdict's certificate to a file, and verify that file against what was asked."""
    # Without a domain or `wrt`, `verify` takes any; here they must be those of the question.
    asked = domain or WholeSpace(), range(network.input_size) if wrt is None else wrt
    with TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.json"
        start = time.perf_counter()
        verdict.save(file)
        middle = time.perf_counter()
        refusal, trees, leaves = "", 0, 0
        try:
            found = jensen.verify(file, network, *asked)
            trees, leaves = found.trees, found.leaves
            if found.verdict != verdict.kind:
                refusal = f"it proves {found.verdict}, the verdict is {verdict.kind}"
        except CertificateError as error:
            refusal = f"{type(error).__name__}: {error}"
        end = time.perf_counter()
        return Replayed(refusal, trees, leaves, file.stat().st_size, middle - start, end - middle)


def _verdict_complaint(question: Case, verdict: Verdict, answer: Answer) -> str:
    expected = "convex" if answer.convex else "not_convex"
    if verdict.kind != expected:
        return f"check says {verdict.kind} ({verdict.reason}), the oracle {expected}: {answer.witness}"
    found = verdict.witness
    if answer.convex:
        return "" if found is None else "a convex verdict with a witness"
    if found is None:
        return "no witness"
    return witness_complaint(question.network, question.domain, question.wrt, (found.x, found.y, found.t))


def _certificate_complaint(replayed: Replayed | None) -> str:
    if replayed is None:
        return "no certificate"
    return f"the certificate is refused: {replayed.refusal}" if replayed.refusal else ""


def witness_complaint(
    network: ReLUNetwork,
    domain: Domain | None,
    wrt: Sequence[int] | None,
    witness: tuple[Sequence[Fraction], Sequence[Fraction], Fraction],
) -> str:
    """Say what is wrong with a witness, by the oracle's own forward pass and domain; empty if nothing is."""
    x, y, t = tuple(witness[0]), tuple(witness[1]), witness[2]
    rows = domain_rows(domain, network.input_size)
    if any(value(row, point) < 0 for row in rows for point in (x, y)):
        return f"the witness leaves the domain: {x}, {y}"
    if wrt is not None and any(x[i] != y[i] for i in range(network.input_size) if i not in set(wrt)):
        return f"the witness moves a fixed input: {x}, {y}"
    if not violates(read_network(network), x, y, t):
        return f"the witness violates nothing: {x}, {y}, {t}"
    return ""
