"""Exact pricing of neurons at the optimum, where the price equals lambda at several of them.

    python benchmarks/fit_price.py [--time-limit SECONDS] [--large]

A network is trained with proof; its dual point, a hair inside, is priced against lambda. Data are planted
(five ReLUs, Gaussian inputs, noise of a tenth) or the diabetes table of scikit-learn; lambda is a part of the
value at which the optimal network is 0. CPU seconds of one thread;
the excess is the bound of the price divided by lambda, minus 1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes

from jensen.fit import bound_price, fit_network, make_problem

Floats = NDArray[np.float64]

CASES = [
    ("planted", 100, 4),
    ("planted", 300, 4),
    ("diabetes", 442, 4),
    ("planted", 100, 5),
    ("planted", 60, 6),
]
LARGE = [("planted", 100, 6), ("planted", 100, 8), ("planted", 100, 10), ("diabetes", 442, 10)]
TOLERANCES = (1e-2, 1e-3, 1e-6)


def data(kind: str, n: int, d: int) -> tuple[Floats, Floats]:
    if kind == "diabetes":
        x, y = load_diabetes(return_X_y=True)
        x, y = x[:n, :d], y[:n]
        return x / x.std(0), (y - y.mean()) / y.std()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    y = np.maximum(x @ rng.normal(size=(d, 5)), 0) @ rng.normal(size=5)
    return x, y + 0.1 * y.std() * rng.normal(size=n)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time-limit", type=float, default=30.0)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    print(f"{'data':9}{'n':>5}{'d':>4}{'lambda':>8}{'tolerance':>11}{'nodes':>10}{'CPU s':>8}  excess")
    for kind, n, d in CASES + LARGE * options.large:
        x, y = data(kind, n, d)
        top = bound_price(x, y / n, count=0, tolerance=1e-3, time_limit=5.0).lower
        for part in (0.1, 0.01):
            problem = make_problem(x, y, part * top)
            fit = fit_network(problem, tolerance=1e-7, time_limit=options.time_limit)
            signal = problem.pull(fit.slopes) / (1 + 1e-7)
            for tolerance in TOLERANCES:
                start = time.process_time()
                price = bound_price(
                    x, signal, threshold=part * top, tolerance=tolerance, time_limit=options.time_limit
                )
                seconds = time.process_time() - start
                print(
                    f"{kind:9}{n:5}{d:4}{part:8}{tolerance:11.0e}{price.nodes:10}{seconds:8.3f}"
                    f"  {price.upper / (part * top) - 1:.1e} {price.status}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
