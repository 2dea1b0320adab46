"""The campaign: `jensen.check` with certificates against the brute-force oracle on many networks, as a table.

    python benchmarks/campaign.py --networks 20000 --method auto

Every verdict must be exact: its certificate is written to a file, read back and replayed against the network,
domain and inputs that were asked. Exits with 1 if any answer is wrong, UNKNOWN or without a certificate that
is accepted, and prints such networks as Python.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from oracle import Comparison, Method, case, compare, describe

CHUNK = 100
COUNTS = (
    "networks",
    "convex",
    "non-ICNN",
    "not convex",
    "wrong",
    "unknown",
    "certified",
    "trees",
    "leaves",
)
SECONDS = ("oracle s", "check s", "save s", "verify s")
COLUMNS = ("generator", *COUNTS, "bytes (mean)", *SECONDS)
EXTREMES: dict[str, Callable[[Comparison], float]] = {
    "slowest check, s": lambda outcome: outcome.check_seconds,
    "slowest verification, s": lambda outcome: outcome.replayed.verify_seconds if outcome.replayed else 0.0,
    "largest certificate, bytes": lambda outcome: float(outcome.replayed.size if outcome.replayed else 0),
}
Result = tuple[int, str, Comparison]
"""The number of a case, its generator, and what came of it."""


def run(seed: int, method: Method, start: int, stop: int) -> list[Result]:
    """Compare on the cases start..stop - 1."""
    results = []
    for index in range(start, stop):
        question = case(seed, index)
        try:
            results.append((index, question.generator, compare(question, method)))
        except Exception as error:
            error.add_note(f"This was case({seed}, {index}).")
            raise
    return results


class Tally:
    """Sums over generators and the extremes, so that nothing is kept of a case once it is counted."""

    def __init__(self) -> None:
        self.sums: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(SECONDS, 0.0))
        self.extremes = dict.fromkeys(EXTREMES, (-1.0, 0))
        self.complaints = 0

    def add(self, results: Iterable[Result]) -> None:
        """Count some results."""
        for index, generator, outcome in results:
            for name in (generator, "all"):
                self._count(name, outcome)
            for name, measure in EXTREMES.items():
                self.extremes[name] = max(self.extremes[name], (measure(outcome), index))
            self.complaints += bool(outcome.complaint)

    def _count(self, name: str, outcome: Comparison) -> None:
        counts, seconds, replayed = self.sums[name], self.seconds[name], outcome.replayed
        counts["networks"] += 1
        counts["convex"] += outcome.convex
        counts["non-ICNN"] += outcome.convex and not outcome.icnn
        counts["not convex"] += not outcome.convex
        counts["unknown"] += outcome.kind == "unknown"
        counts["wrong"] += bool(outcome.complaint) and outcome.kind != "unknown"
        counts["certified"] += outcome.certified
        seconds["oracle s"] += outcome.oracle_seconds
        seconds["check s"] += outcome.check_seconds
        if replayed is not None:
            counts["trees"] += replayed.trees
            counts["leaves"] += replayed.leaves
            counts["files"] += 1
            counts["bytes"] += replayed.size
            seconds["save s"] += replayed.save_seconds
            seconds["verify s"] += replayed.verify_seconds

    def table(self) -> list[tuple[str, ...]]:
        """One row per generator, and their sum."""
        lines: list[tuple[str, ...]] = [COLUMNS]
        for name in [*sorted(set(self.sums) - {"all"}), "all"]:
            counts = self.sums[name]
            numbers = [str(counts[column]) for column in COUNTS]
            mean = counts["bytes"] / max(counts["files"], 1)
            seconds = [f"{self.seconds[name][column]:.1f}" for column in SECONDS]
            lines.append((name, *numbers, f"{mean:.0f}", *seconds))
        return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=20_000)
    parser.add_argument("--method", choices=["auto", "enumerate", "branch"], default="auto")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    starts = range(0, args.networks, CHUNK)
    stops = [min(start + CHUNK, args.networks) for start in starts]
    tally = Tally()
    began = time.perf_counter()
    with ProcessPoolExecutor(args.processes) as pool:
        for part in pool.map(partial(run, args.seed, args.method), starts, stops):
            tally.add(part)
            for index, _, outcome in part:
                if outcome.complaint:
                    print(f"case({args.seed}, {index}): {outcome.complaint}")
                    print(describe(case(args.seed, index)), end="\n\n", flush=True)
            if sys.stderr.isatty():
                print(f"\r{tally.sums['all']['networks']} of {args.networks}", end="", file=sys.stderr)
    elapsed = time.perf_counter() - began
    lines = tally.table()
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        print(
            line[0].ljust(widths[0]),
            *(v.rjust(w) for v, w in zip(line[1:], widths[1:], strict=True)),
            sep="  ",
        )
    print(f"method {args.method}, seed {args.seed}: {elapsed:.0f} s on {args.processes} processes")
    for name, (value, index) in tally.extremes.items():
        print(f"{name}: {value:.3g}, of case({args.seed}, {index})")
    return int(tally.complaints > 0)


if __name__ == "__main__":
    sys.exit(main())
