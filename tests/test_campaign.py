"""`jensen.check` against the brute-force oracle on random and purpose-built networks."""

from __future__ import annotations

import pytest
from oracle import Method, case, compare, describe

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
@pytest.mark.parametrize("chunk", range(6, 80))
def test_check_agrees_with_the_oracle_at_length(chunk: int) -> None:
    _run(range(CHUNK * chunk, CHUNK * (chunk + 1)), "auto")
