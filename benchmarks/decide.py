"""Verdicts on networks that are convex without being ICNNs: jensen beside plain HiGHS, in one process.

Both run single-threaded on the same network, jensen first, and the table gives the CPU seconds of each, both
verdicts and the ratio. Where the baseline runs out of time its seconds and the ratio are lower bounds.
Run `python -m benchmarks.decide --help` for the choice of networks, factors and limits; OMP_NUM_THREADS=1
keeps numpy to one thread as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import jensen
from benchmarks import baseline
from benchmarks.networks import FACTORS, load, names

COLUMNS = (
    "network",
    "negative weights x",
    "neurons",
    "jensen",
    "seconds",
    "baseline",
    "baseline seconds",
    "ratio",
)


def row(name: str, factor: float, limit: float, baseline_limit: float) -> tuple[list[str], bool]:
    """Decide one network with both; returns the table's cells and whether the verdicts contradict."""
    network, box = load(name, factor)
    start = time.process_time()
    verdict = jensen.check(network, box, time_limit=limit, n_jobs=1)
    seconds = time.process_time() - start
    cells = [name, f"{factor:g}", str(network.n_neurons), verdict.kind, f"{seconds:.3f}"]
    if not baseline_limit:
        return [*cells, "", "", ""], False
    peer = baseline.decide(network, box, baseline_limit)
    contradict = {verdict.kind, peer.kind} == {"convex", "not_convex"}
    more, told = "", str(peer.kind)
    if peer.kind == "unknown":
        more = ">"
        told += f" ({sum(n.status == 'open' for n in peer.neurons)} neurons open)"
    ratio = f"{more}{peer.seconds / seconds:.3g}" if verdict.kind != "unknown" else ""
    told += " **CONTRADICTION**" if contradict else ""
    return [*cells, told, f"{more}{peer.seconds:.2f}", ratio], contradict


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 if a pair of verdicts contradicts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=names(), metavar="network", help=", ".join(names()))
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS))
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for jensen, per network")
    parser.add_argument("--baseline-limit", type=float, default=120.0, help="the same; 0 skips the baseline")
    options = parser.parse_args(arguments)
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * len(COLUMNS)}")
    jensen.check(jensen.from_arrays([[[1.0], [-1.0]], [[1.0, -1.0]]]))  # imports are not timed
    jensen.regions([[[1.0], [2.0]], [[1.0, 1.0]]])  # load compiled code before the clock runs
    contradictions = 0
    for name in options.names:
        for factor in options.factors:
            cells, contradict = row(name, factor, options.time_limit, options.baseline_limit)
            contradictions += contradict
            print(f"| {' | '.join(cells)} |", flush=True)
    return int(contradictions > 0)


if __name__ == "__main__":
    raise SystemExit(main())
