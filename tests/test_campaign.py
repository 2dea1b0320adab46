"""`jensen.check` against the brute-force oracle on many networks, and its certificates replayed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from oracle import Case, Method, beyond_icnn, case, compare, describe
from oracle._compare import replay

import jensen

CHUNK = 250
SEED = 2026


def _run(indices: range, method: Method) -> None:
    wrong = []
    for index in indices:
        question = case(SEED, index)
        outcome = compare(question, method)
        if outcome.complaint:
            wrong.append(f"case({SEED}, {index}), {method}: {outcome.complaint}\n{describe(question)}")
    assert not wrong, f"{len(wrong)} of {len(indices)} wrong:\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("chunk", range(6))
def test_check_agrees_with_the_oracle(chunk: int) -> None:
    _run(range(CHUNK * chunk, CHUNK * (chunk + 1)), "auto")


@pytest.mark.parametrize("method", ["enumerate", "branch"])
@pytest.mark.parametrize("chunk", range(2))
def test_each_deciding_stage_agrees_with_the_oracle(chunk: int, method: Method) -> None:
    _run(range(CHUNK * chunk, CHUNK * chunk + 150), method)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(6, 12))
def test_check_agrees_with_the_oracle_at_length(chunk: int) -> None:
    _run(range(CHUNK * chunk, CHUNK * (chunk + 1)), "auto")


ABS = jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 1.0]]])


def test_a_verdict_without_a_certificate_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Case("by hand", beyond_icnn(), None, None)
    assert not compare(question).complaint
    check: Any = jensen.check
    monkeypatch.setattr(jensen, "check", lambda *a, **k: check(*a, **{**k, "exact": False}))
    assert "check says convex_float" in compare(question).complaint
    monkeypatch.setattr(jensen, "check", lambda *a, **k: check(*a, **{**k, "time_limit": 0.0}))
    assert "check says unknown" in compare(question).complaint


def test_a_certificate_of_another_question_is_refused() -> None:
    certified = partial(replay, jensen.check(ABS, jensen.Box(-1.0, 1.0), exact=True))
    assert not certified(ABS, jensen.Box(-1.0, 1.0), None).refusal
    assert "another domain" in certified(ABS, None, None).refusal
    other = jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 0.5]]])
    assert "another network" in certified(other, jensen.Box(-1.0, 1.0), None).refusal
    flat = jensen.from_arrays([[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 1.0]]])
    assert "other inputs" in replay(jensen.check(flat, wrt=[0], exact=True), flat, None, None).refusal
