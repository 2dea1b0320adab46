"""How sound and how complete `jensen.curvature` is, on random programs, beside cvxpy's rules: as tables.

    python -m benchmarks.curvature --programs 5000 --trials 100000

Whether a program is convex is not decided by trials: "survives" means that no violation of Jensen's
inequality was found by so many random trials, nor along the eigenvectors of second derivatives at random
points. The number of survivors is an upper bound on the number of truly convex or concave programs. Every
refutation is proved by enclosures of the three values. Exits with 1 if one refutes what the calculus claims.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cvxpy as cp
import torch

from benchmarks.curvature_expression import SIGNS, WIDTH, Expression
from benchmarks.curvature_programs import random_program
from benchmarks.curvature_trials import Tester, Trials, analysed, is_below
from jensen.calculus import Analysis
from jensen.calculus._value import Value

LISTED = 5
KINDS = {"convex": {"convex"}, "concave": {"concave"}, "affine": {"convex", "concave"},
         "constant": {"convex", "concave"}}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One program, what was claimed of it, and what came of its trials.

    Attributes
    ----------
    index : int
    text : str
    size : int
    kind : str
        The calculus's word.
    dcp, dgp : set of str or None
        What cvxpy's rules prove ("convex", "concave"); None where it cannot express the program.
    trials : Trials
    """

    index: int
    text: str
    size: int
    kind: str
    dcp: frozenset[str] | None
    dgp: frozenset[str] | None
    trials: Trials

    @property
    def ours(self) -> frozenset[str]:
        """What the calculus proves."""
        return frozenset(KINDS.get(self.kind, ()))

    @property
    def survives(self) -> frozenset[str]:
        """What no trial refuted; nothing for programs that never vary, or are hardly ever defined."""
        if not self.trials.varies or self.trials.used < 0.01 * self.trials.drawn:
            return frozenset()
        return frozenset(word for word in ("convex", "concave") if getattr(self.trials, word))

    def refuted(self, claims: Iterable[str]) -> bool:
        """Whether a claim is refuted."""
        return any(not getattr(self.trials, word) for word in claims)

    def proved(self, claims: Iterable[str] | None) -> bool:
        """Whether claims say that it bends one way, as it does."""
        return bool(self.survives & frozenset(claims or ()))

    @property
    def peers(self) -> bool:
        """Whether cvxpy proves that it bends one way."""
        return self.proved(self.dcp) or self.proved(self.dgp)


def judged(seed: int, index: int, trials: int) -> Case:
    """Draw a program, ask the calculus and cvxpy, and try."""
    expression, geometric = random_program(seed, index)
    analysis = analysed(expression)
    _, required = expression.program(1)
    found = Tester(expression, analysis, [seed, index, 1]).run(trials)
    # Cvxpy's reciprocal is that of positive numbers.
    same = not any(sign == "divisor" and _below(analysis, name) for name, sign in required)
    return Case(
        index, str(expression), expression.size, analysis.outputs[-1].kind(),
        _disciplined(expression) if same else None, _geometric(expression) if geometric else None, found,
    )  # fmt: skip


def _below(analysis: Analysis, name: str) -> bool:
    known = analysis.values[name]
    return isinstance(known, Value) and is_below(known)


def _variable(name: str) -> Any:
    return cp.Variable(WIDTH, nonneg=SIGNS[name] == "nonnegative", pos=SIGNS[name] == "positive")


def _disciplined(expression: Expression) -> frozenset[str] | None:
    """Prove by disciplined convex programming."""
    found = expression.cvx({name: _variable(name) for name in SIGNS})
    if found is None:
        return None
    return frozenset(
        word for word, holds in (("convex", found.is_convex()), ("concave", found.is_concave())) if holds
    )


def _geometric(expression: Expression) -> frozenset[str] | None:
    """Prove by disciplined geometric programming: what is log-log-convex in exp(x) is convex in x."""
    found = expression.cvx({}, {name: cp.Variable(WIDTH, pos=True) for name in SIGNS})
    if found is None:
        return None
    return frozenset({"convex"} if found.is_log_log_convex() else ())


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join([_row(columns), _row(["---"] * len(columns)), *map(_row, rows)])


def soundness(cases: Sequence[Case]) -> str:
    """Tell of claims, trials and refutations."""
    rows = []
    for name, claims_of in (("calculus", _ours), ("DCP", _dcp), ("DGP", _dgp)):
        claimed = [case for case in cases if claims_of(case)]
        kinds = Counter(frozenset(claims_of(case)) for case in claimed)
        rows.append((
            name, len(claimed), kinds[frozenset({"convex"})], kinds[frozenset({"concave"})],
            kinds[frozenset({"convex", "concave"})], f"{sum(case.trials.used for case in claimed):,}",
            sum(case.refuted(claims_of(case)) for case in claimed),
        ))  # fmt: skip
    return _table(("rules", "claims", "convex", "concave", "affine", "trials", "refuted"), rows)


def _ours(case: Case) -> frozenset[str]:
    return case.ours


def _dcp(case: Case) -> frozenset[str]:
    return case.dcp or frozenset()


def _dgp(case: Case) -> frozenset[str]:
    return case.dgp or frozenset()


def completeness(cases: Sequence[Case]) -> str:
    """Tell which of the survivors are proved by whom."""
    rows = []
    groups = {
        "all": cases,
        "that cvxpy can express": [case for case in cases if case.dcp is not None],
        "geometric": [case for case in cases if case.dgp is not None],
    }
    for name, group in groups.items():
        alive = [case for case in group if case.survives]
        ours, dcp, dgp = ([case.proved(f(case)) for case in alive] for f in (_ours, _dcp, _dgp))
        either = [any(three) for three in zip(ours, dcp, dgp, strict=True)]
        counts = [f"{sum(v)} ({100 * sum(v) / max(len(alive), 1):.1f} %)" for v in (ours, dcp, dgp, either)]
        rows.append((name, len(group), len(alive), *counts))
    return _table(("programs", "drawn", "survive", "calculus", "DCP", "DGP", "any"), rows)


def smallest(cases: Sequence[Case], title: str) -> str:
    """List the smallest of some programs."""
    shown = sorted(cases, key=lambda case: (case.size, len(case.text), case.index))[:LISTED]
    lines = [
        f"- `{case.text}` {' and '.join(sorted(case.survives))} (program {case.index})" for case in shown
    ]
    return "\n".join([f"{title}: {len(cases)}", *lines])


def report(cases: Sequence[Case]) -> str:
    """Write everything."""
    alive = [case for case in cases if case.survives]
    never = sum(not case.trials.varies or case.trials.used < 0.01 * case.trials.drawn for case in cases)
    parts = [
        "Soundness", soundness(cases),
        f"Completeness: an upper bound of the truly convex or concave; {never} programs that never vary, or "
        "are defined at less than 1 % of the points, are left out", completeness(cases),
        smallest(
            [c for c in alive if c.peers and not c.proved(c.ours)],
            "Proved by DCP or DGP, not by the calculus",
        ),
        smallest(
            [c for c in alive if c.proved(c.ours) and c.dcp is not None and not c.peers],
            "Proved by the calculus, not by DCP nor DGP, although cvxpy can express it",
        ),
        smallest(
            [c for c in alive if not (c.proved(c.ours) or c.peers)],
            "Survives, and is proved by none",
        ),
    ]  # fmt: skip
    for case in cases:
        for name, claims in (("calculus", _ours(case)), ("DCP", _dcp(case)), ("DGP", _dgp(case))):
            for word in claims:
                if not getattr(case.trials, word):
                    parts.append(f"REFUTED {name}, program {case.index}: {case.text} is not {word}: {case.trials.witness[word]}")  # fmt: skip # noqa: E501
    return "\n\n".join(parts)


def main() -> int:
    """Print the tables; the exit code is 1 if a claim of the calculus is refuted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=5_000)
    parser.add_argument("--trials", type=int, default=100_000, help="of Jensen's inequality, per program")
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="cvxpy")
    cases: list[Case] = []
    began = time.perf_counter()
    try:
        for index in range(args.programs):
            cases.append(judged(args.seed, index, args.trials))
            if sys.stderr.isatty():
                print(f"\r{index + 1} of {args.programs}", end="", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"interrupted after {len(cases)} programs", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(report(cases))
    used = sum(case.trials.used for case in cases)
    dismissed = sum(case.trials.dismissed for case in cases)
    print(
        f"\nseed {args.seed}, {len(cases)} programs, {used:,} trials in all, {dismissed} suspects dismissed "
        f"by exact arithmetic, {time.perf_counter() - began:.0f} s"
    )
    return int(any(case.refuted(case.ours) for case in cases))


if __name__ == "__main__":
    sys.exit(main())
