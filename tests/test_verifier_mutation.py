"""Altered certificates: refused, unless what they claim is still proved; never read once they are damaged."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import pytest
from attack import ATTEMPTS, DAMAGES, Sample, samples

from jensen.verifier import Proof

RICH = (36, 46, 50, 53, 65, 101, 104, 124, 138, 188, 214, 218, 226)
"""Cases whose certificates hold trees with leaves of every kind."""
RAW = {"a bit flipped", "bytes overwritten", "torn", "white space"}
"""Damage that leaves no other certificate behind."""


@cache
def pool() -> list[Sample]:
    return [sample for index in RICH for sample in samples(5, index, index + 1)]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_alteration_makes_a_false_claim_pass(name: str, tmp_path: Path) -> None:
    rng, answers = Random(name), list[str]()
    for _ in range(400):
        outcome = ATTEMPTS[name](rng, rng.choice(pool()), tmp_path / "altered.json")
        if outcome is not None:
            answers.append(outcome.answer)
            assert outcome.answer != "FALSE", outcome.detail
        if len(answers) == 30:
            break
    assert len(answers) >= 10
    if name in RAW:
        assert set(answers) == {"file"}
    elif name not in DAMAGES:
        assert {"logic", "file"} & set(answers) or name == "a leaf's scale"


def test_the_pool_has_leaves_of_every_kind() -> None:
    kinds = {
        type(node).__name__
        for sample in pool()
        if isinstance(sample.certificate.proof, Proof)
        for tree in sample.certificate.proof.trees.values()
        for node in tree
    }
    assert kinds == {"tuple", "Multipliers", "Thin", "Bends", "Uncrossed"}
    assert {sample.certificate.verdict for sample in pool()} == {"convex", "not_convex"}
