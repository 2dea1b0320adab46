"""Enumerate all regions of He-initialised networks on the whole space, beside published times.

    python benchmarks/enumeration.py [--large]

Weights are N(0, 2 / fan_in), biases 0.5 N(0, 1), drawn layer by layer, weights before biases, from
``numpy.random.default_rng(0)``. The published figures are CPU seconds, single-threaded, of the fastest
published enumerator, inside a box, and of the convexity check built on it. Ours are CPU seconds too, without
the compilation that happens once per installation; its time is printed first.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jensen.geometry import regions, scan
from jensen.network import ReLUNetwork, from_arrays

T = TypeVar("T")

PUBLISHED: list[tuple[tuple[int, ...], float, float]] = [
    ((2, 20, 20), 0.03, 0.06),
    ((3, 16, 16), 0.03, 0.13),
    ((4, 16, 16), 0.26, 1.2),
    ((5, 10, 10), 0.16, 1.2),
    ((6, 10, 10), 0.48, 3.0),
    ((5, 16, 16), 1.7, 9.3),
    ((6, 16, 16), 22.0, 122.0),
    ((2, 128, 128), 2.4, 2.9),
    ((2, 256, 256), 71.0, 76.0),
]
LARGE: list[tuple[tuple[int, ...], float, float]] = [((9, 10, 10), 64.0, 182.0), ((10, 8, 8), 33.0, 80.0)]
STORED_UP_TO = 500_000
"""Regions up to which the table that stores them all is timed as well."""


def he_network(sizes: tuple[int, ...], seed: int = 0) -> ReLUNetwork:
    rng = np.random.default_rng(seed)
    weights, biases = [], []
    for fan_in, fan_out in zip(sizes, [*sizes[1:], 1], strict=True):
        weights.append(rng.normal(size=(fan_out, fan_in)) * np.sqrt(2 / fan_in))
        biases.append(0.5 * rng.normal(size=fan_out))
    return from_arrays(weights, biases)


def cpu_seconds(action: Callable[[], T]) -> tuple[T, float]:
    """Best of several runs for short actions, a single run for long ones."""
    best, begin = float("inf"), time.process_time()
    while True:
        start = time.process_time()
        result = action()
        best = min(best, time.process_time() - start)
        if time.process_time() - begin > 0.5:
            return result, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also 9 and 10 inputs")
    parser.add_argument("--only", help="one row, for instance 5,16,16")
    options = parser.parse_args()
    tiny = he_network((2, 3, 3))
    start = time.process_time()
    scan(tiny, stop=False)
    regions(tiny)
    print(f"first call (compiles, or loads what was compiled): {time.process_time() - start:.2f} s")
    header = (
        "network",
        "regions",
        "frontiers",
        "enumerate",
        "theirs",
        "ratio",
        "check",
        "theirs",
        "ratio",
        "store",
    )
    print(" ".join(f"{title:>13}" for title in header), "exact MB")
    for sizes, enumeration, check in PUBLISHED + (LARGE if options.large else []):
        if options.only and options.only != ",".join(map(str, sizes)):
            continue
        network = he_network(sizes)
        counted, count_time = cpu_seconds(lambda net=network: scan(net, check=False))  # type: ignore[misc]
        _, check_time = cpu_seconds(lambda net=network: scan(net, stop=False))  # type: ignore[misc]
        stored = float("nan")
        if counted.n_regions <= STORED_UP_TO:
            _, stored = cpu_seconds(lambda net=network: regions(net))  # type: ignore[misc]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = [
            f"{sizes[0]}:" + ",".join(map(str, sizes[1:])),
            f"{counted.n_regions:,}",
            f"{counted.n_frontiers:,}",
            f"{count_time:.4f}",
            f"{enumeration:g}",
            f"{enumeration / count_time:.1f}",
            f"{check_time:.4f}",
            f"{check:g}",
            f"{check / check_time:.1f}",
            f"{stored:.3f}",
        ]
        print(" ".join(f"{cell:>13}" for cell in cells), counted.exact_nodes, f"{memory:.0f}", flush=True)


if __name__ == "__main__":
    main()
