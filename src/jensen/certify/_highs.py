"""How jensen asks HiGHS: one thread, silent, simplex, no presolve (so that bases stay warm)."""

from __future__ import annotations

import highspy


def quiet_highs() -> highspy.Highs:
    """Return a HiGHS instance set up for many small, similar linear programmes."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("presolve", "off")
    highs.setOptionValue("solver", "simplex")
    return highs
