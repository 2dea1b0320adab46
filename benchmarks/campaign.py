"""The campaign: `jensen.check` against the brute-force oracle on many networks, as a table.

    python benchmarks/campaign.py --networks 20000 --method auto

Exits with 1 if any answer is wrong or UNKNOWN, and prints such networks as Python.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from oracle import Comparison, Method, case, compare, describe

CHUNK = 100
COLUMNS = (
    "generator",
    "networks",
    "convex",
    "non-ICNN",
    "not convex",
    "wrong",
    "unknown",
    "oracle s",
    "check s",
)


def run(seed: int, method: Method, start: int, stop: int) -> list[tuple[int, str, Comparison]]:
    """Compare on the cases start..stop - 1."""
    results = []
    for index in range(start, stop):
        question = case(seed, index)
        results.append((index, question.generator, compare(question, method)))
    return results


def table(results: list[tuple[int, str, Comparison]]) -> list[tuple[str, ...]]:
    """One row per generator, and their sum."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, generator, outcome in results:
        for name in (generator, "all"):
            row = counts[name]
            row["networks"] += 1
            row["convex"] += outcome.convex
            row["non-ICNN"] += outcome.convex and not outcome.icnn
            row["not convex"] += not outcome.convex
            row["unknown"] += outcome.kind == "unknown"
            row["wrong"] += bool(outcome.complaint) and outcome.kind != "unknown"
            row["oracle us"] += round(1e6 * outcome.oracle_seconds)
            row["check us"] += round(1e6 * outcome.check_seconds)
    lines: list[tuple[str, ...]] = [COLUMNS]
    for name in [*sorted(set(counts) - {"all"}), "all"]:
        row = counts[name]
        numbers = [str(row[column]) for column in COLUMNS[1:7]]
        lines.append((name, *numbers, f"{row['oracle us'] / 1e6:.1f}", f"{row['check us'] / 1e6:.1f}"))
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
    results: list[tuple[int, str, Comparison]] = []
    began = time.perf_counter()
    with ProcessPoolExecutor(args.processes) as pool:
        for part in pool.map(partial(run, args.seed, args.method), starts, stops):
            results.extend(part)
            for index, _, outcome in part:
                if outcome.complaint:
                    print(f"case({args.seed}, {index}): {outcome.complaint}")
                    print(describe(case(args.seed, index)), end="\n\n")
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {args.networks}", end="", file=sys.stderr)
    lines = table(results)
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        print(
            line[0].ljust(widths[0]),
            *(v.rjust(w) for v, w in zip(line[1:], widths[1:], strict=True)),
            sep="  ",
        )
    elapsed = time.perf_counter() - began
    slowest = max(results, key=lambda result: result[2].check_seconds)
    print(f"method {args.method}, seed {args.seed}: {elapsed:.0f} s on {args.processes} processes;")
    print(f"slowest check {slowest[2].check_seconds:.2f} s, of case({args.seed}, {slowest[0]})")
    return int(any(outcome.complaint for _, _, outcome in results))


if __name__ == "__main__":
    sys.exit(main())
