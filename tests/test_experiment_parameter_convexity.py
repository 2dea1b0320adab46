"""The document's questions: every verdict, each with a proof."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.parameter_convexity import GeometricClassifier, Question, answered, questions, trained
from jensen.errors import CertificateError

NOT_CONVEX = {
    "f(g), f = x^2 falls on a part of the range of g = x^2 - 1",
    "w1 w2 x >= 0, jointly in both weights",
    "output of a nonnegative network, in both layers",
    "log(1 + exp([1, -1] . y)) of a nonnegative network, in both layers",
    "log(1 + exp([1, -1] . y)) of a free network, in the first layer",
    "log(1 + exp([1, -1] . y)) of a free network, in both layers",
    "log(1 + exp([1, -1] . y)) with weights exp(theta), jointly",
    "log(1 + y0 / y1), both outputs posynomials, jointly",
}


@pytest.mark.parametrize("question", questions(), ids=lambda q: f"({q.label}) {q.text}")
def test_verdicts(question: Question) -> None:
    reply = answered(question)
    expected = "NOT CONVEX" if question.text in NOT_CONVEX else "CONVEX"
    assert reply.kind == expected, str(reply)
    assert (reply.witness is not None) == (expected == "NOT CONVEX")
    if reply.witness is None:
        return
    # The witness violates Jensen's inequality in the function itself too.
    with torch.no_grad():
        x, y = (
            [torch.from_numpy(np.asarray(v)) for v in ends.values()]
            for ends in (reply.witness.x, reply.witness.y)
        )
        for position, (a, b) in enumerate(zip(x, y, strict=True)):
            assert position in question.wrt or torch.equal(a, b)
            assert position not in question.nonnegative or bool((torch.minimum(a, b) >= 0).all())
        middle = [(a + b) / 2 for a, b in zip(x, y, strict=True)]
        fx, fy, fm = (float(question.function(*point)) for point in (x, y, middle))
    assert fm - (fx + fy) / 2 == pytest.approx(float(reply.witness.violation), rel=1e-6)


def test_the_loss_on_a_table() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    classes = (z[:, 0] + z[:, 1] > 0).long()
    for terms, kind in ((1, "CONVEX"), (2, "NOT CONVEX")):
        question = Question("f", "", GeometricClassifier(z, classes, terms), (), ["theta"])
        assert answered(question).kind == kind
    losses = [trained(GeometricClassifier(z, classes, 1, seed))[0] for seed in range(3)]
    assert max(losses) - min(losses) < 1e-6


def test_what_cannot_be_enclosed_says_so() -> None:
    question = Question("", "", lambda x: torch.special.bessel_j1(x).sum(), (torch.ones(1),), [0])
    with pytest.raises(CertificateError, match="bessel"):
        answered(question)
