"""The tutorials' ICNN: convex as constructed, not convex after training; both verdicts replay."""

from __future__ import annotations

import jensen
from experiments.tutorial_icnn import fitted


def test_convex_as_constructed_and_not_after_training() -> None:
    for steps, kind in ((0, "convex"), (200, "not_convex")):
        model = fitted(steps)
        verdict = jensen.check(model)
        assert verdict.kind == kind, verdict.reason
        assert verdict.certificate is not None
        assert jensen.verify(verdict.certificate, model).verdict == kind
        assert (verdict.witness is not None) == (kind == "not_convex")
