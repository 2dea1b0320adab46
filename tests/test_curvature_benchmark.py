"""The benchmark of the calculus: a program is one function for torch, for cvxpy and as an enclosure."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from flint import arb

from benchmarks.curvature import judged, report
from benchmarks.curvature_expression import SIGNS
from benchmarks.curvature_programs import random_program

cp = importlib.import_module("cvxpy")
POINT = {
    "x": np.array([0.3, -0.7, 1.1]), "y": np.array([0.5, 0.2, 2.0]), "z": np.array([0.1, 1.5, 0.8]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_three_ways_to_write_a_program_agree() -> None:
    variables = {
        name: cp.Variable(3, nonneg=sign == "nonnegative", pos=sign == "positive")
        for name, sign in SIGNS.items()
    }
    for name, variable in variables.items():
        variable.value = POINT[name]
    compared = 0
    for index in range(150):
        expression, _ = random_program(5, index)
        program, _ = expression.program(1)
        with np.errstate(all="ignore"):
            value = float(program.evaluate(*(v[None] for v in POINT.values()))[-1][0, 0])
        if not np.isfinite(value) or abs(value) > 1e6:
            continue
        ball = float(expression.ball({k: [arb(float(u)) for u in v] for k, v in POINT.items()}).mid())
        assert ball == pytest.approx(value, rel=1e-9, abs=1e-9) or np.isnan(ball), str(expression)
        written = expression.cvx(variables)
        if written is not None and written.value is not None and np.isfinite(written.value).all():
            assert float(np.ravel(written.value)[0]) == pytest.approx(value, rel=1e-6, abs=1e-6), str(
                expression
            )
            compared += 1
    assert compared > 80


@pytest.mark.filterwarnings("ignore")
def test_no_claim_is_refuted_and_what_is_refuted_has_a_witness() -> None:
    cases = [judged(5, index, 500) for index in range(40)]
    assert not any(case.refuted(case.ours) for case in cases)
    assert sum(bool(case.ours) for case in cases) > 10
    for case in cases:
        for word in ("convex", "concave"):
            assert getattr(case.trials, word) or "between" in case.trials.witness[word]
    text = report(cases)
    assert "| calculus |" in text
    assert "Survives, and is proved by none" in text
