"""`jensen.check` against the oracle on one question."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import jensen
from jensen.network import Domain, ReLUNetwork
from oracle._networks import Case
from oracle._oracle import oracle_is_convex, violates
from oracle._weights import domain_rows, is_icnn, read_network, value

Method: TypeAlias = Literal["auto", "branch", "enumerate"]
"""The stage of `jensen.check` that is to decide; "auto" leaves the choice to it."""

TIME_LIMIT = 120.0
"""Seconds for one check, so that a search without end shows as an UNKNOWN."""


@dataclass(frozen=True)
class Comparison:
    """What both said, and how long they took.

    Attributes
    ----------
    convex : bool
        The oracle's answer.
    kind : str
        The answer of `jensen.check`.
    icnn : bool
        Whether the signs of the weights alone show convexity.
    complaint : str
        What is wrong with the answer of `jensen.check`; empty if nothing is.
    oracle_seconds, check_seconds : float
    """

    convex: bool
    kind: str
    icnn: bool
    complaint: str
    oracle_seconds: float
    check_seconds: float


def compare(question: Case, method: Method = "auto") -> Comparison:
    """Ask both, and replay the witness of a not convex verdict."""
    network, domain, wrt = question.network, question.domain, question.wrt
    start = time.perf_counter()
    answer = oracle_is_convex(network, domain, wrt)
    middle = time.perf_counter()
    verdict = jensen.check(network, domain=domain, wrt=wrt, time_limit=TIME_LIMIT, method=method)
    end = time.perf_counter()
    expected = "convex" if answer.convex else "not_convex"
    if verdict.kind != expected:
        complaint = f"check says {verdict.kind} ({verdict.reason}), the oracle {expected}: {answer.witness}"
    elif verdict.kind == "not_convex":
        found = verdict.witness
        complaint = (
            "no witness"
            if found is None
            else witness_complaint(network, domain, wrt, (found.x, found.y, found.t))
        )
    else:
        complaint = "" if verdict.witness is None else "a convex verdict with a witness"
    icnn = is_icnn(read_network(network))
    return Comparison(answer.convex, verdict.kind, icnn, complaint, middle - start, end - middle)


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
