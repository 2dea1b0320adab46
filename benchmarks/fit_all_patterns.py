"""Training over all activation patterns beside Adam on the same objective.

`100x10` and `1000x50` are synthetic (X standard normal, a planted network, see
`fit_fixed`), `diabetes` and `cancer` scikit-learn's with standardised columns, all with the squared loss; the
tables of a folder of CSV files (`--uci`; the target is last, letters become indicators, columns are
standardised, a column of ones is added), with the squared loss and a standardised target or the logistic loss
and two classes; 10,000 digits (`--mnist`, a folder with the usual test half; pixels in [0, 1] and a column of
ones), even against odd, and with `--digits` each digit against the rest. lambda is a share of the least one
for which the best network is zero.

Ours is one run of `fit_network` without proof, to `--tolerance`, within the case's limit. Adam trains 20
networks of `--width` neurons at once, full batch, in float32, with weight decay in the objective: four step
sizes, five seeds each, every step size falling to 0 along a cosine as the budget is spent. Two budgets: all
20 runs together get the seconds that ours took ("equal"), and each run gets as many (20 times; "each", up to
`--each` seconds; a star says that this cut it). Every network is evaluated in float64, with norms balanced,
and the best of the 20 is shown. Seconds are of the processor, one thread; compilation and reading are not
counted.

`OMP_NUM_THREADS=1 python -m benchmarks.fit_all_patterns --uci FOLDER --mnist FOLDER`
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch

from benchmarks.fit_fixed import load
from jensen.fit import Problem, fit_network, make_problem
from jensen.fit._losses import Floats
from jensen.fit._price_search import search_price

RUNS = 20
STEPS = (3e-3, 1e-2, 3e-2, 1e-1)
"""Step sizes of Adam, each for as many runs."""
CLASSES = {
    "banknote_authentication": {"1"},
    "german": {"1"},
    "glass": {"1", "2", "3"},
    "ionosphere": {"g"},
    "pima-indians-diabetes": {"1"},
    "sonar": {"M"},
    "wheat-seeds": {"1"},
}
"""Targets that make the class 1, in tables of classes; other tables are regressions."""


@dataclass(frozen=True)
class Case:
    """A problem with lambda = 1, the share of its critical lambda, our seconds at most."""

    name: str
    make: Callable[[], Problem]
    share: float
    limit: float


def named(name: str) -> Problem:
    return make_problem(*load(name), 1.0)


def table(path: Path) -> Problem:
    """Read a table with its target in the last column."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    columns: list[Floats] = []
    *features, target = zip(*rows, strict=True)
    for values in features:
        try:
            columns.append(np.array(values, dtype=float))
        except ValueError:
            columns += [np.array([v == kind for v in values], dtype=float) for kind in sorted(set(values))]
    x = np.stack(columns, axis=1)
    x = x[:, x.std(0) > 0]
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    if path.stem in CLASSES:
        return make_problem(x, [1.0 if t in CLASSES[path.stem] else -1.0 for t in target], 1.0, "logistic")
    y = np.array(target, dtype=float)
    return make_problem(x, (y - y.mean()) / y.std(), 1.0)


def digits(folder: Path) -> tuple[Floats, Floats]:
    """Images as rows, with a column of ones, and labels."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784) / 255
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    return np.column_stack([x[:, x.any(0)], np.ones(len(x))]), labels.astype(float)


def even(folder: Path) -> Problem:
    x, labels = digits(folder)
    return make_problem(x, np.where(labels % 2 == 0, 1.0, -1.0), 1.0)


def one(folder: Path, digit: int) -> Problem:
    x, labels = digits(folder)
    return make_problem(x, np.where(labels == digit, 1.0, -1.0), 1.0)


def cases(options: argparse.Namespace) -> list[Case]:
    """List the cases that the options leave."""
    limit = 8.0
    found = [
        Case("100x10", partial(named, "100x10"), 0.1, limit),
        Case("100x10", partial(named, "100x10"), 0.01, limit),
        Case("diabetes", partial(named, "diabetes"), 0.01, limit),
        Case("cancer", partial(named, "cancer"), 0.01, limit),
        Case("1000x50", partial(named, "1000x50"), 0.1, limit),
    ]
    if options.uci:
        for path in sorted(options.uci.glob("*.csv")):
            found.append(Case(path.stem, partial(table, path), 0.01, limit))
    if options.mnist:
        found.append(Case("mnist", partial(even, options.mnist), 0.01, 20.0))
        if options.digits:
            found += [Case(f"digit-{k}", partial(one, options.mnist, k), 0.01, 20.0) for k in range(10)]
    return [case for case in found if not options.case or case.name in options.case]


def critical(problem: Problem) -> float:
    """Least lambda for which the zero network is optimal, by local search."""
    zero = problem.pull(problem.loss.slope(np.zeros(len(problem.y)), problem.y))
    rng = np.random.default_rng(0)
    found = search_price(problem.x, zero, starts=16, rng=rng, count=1)
    return float(np.abs(zero @ np.maximum(problem.x @ found.T, 0)).max())


def adam(problem: Problem, budget: float, width: int) -> tuple[Floats, int]:
    """Train all runs at once until the seconds are spent; their objectives, in float64, and the steps."""
    begin = process_time()
    n, d = problem.x.shape
    random = torch.Generator().manual_seed(0)
    x, y = torch.from_numpy(problem.x).float(), torch.from_numpy(problem.y).float()[:, None]
    # Outputs at the start are about as large as the data are scaled.
    hidden = torch.randn(d, RUNS, width, generator=random) / d**0.5
    output = torch.randn(RUNS, width, generator=random) / width**0.5
    parameters = [hidden, output]
    sizes = torch.tensor(STEPS).repeat_interleave(RUNS // len(STEPS))[:, None]
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    step, spent, squared = 0, 0.0, problem.loss.name == "squared"
    while spent < budget:
        step += 1
        before = (x @ hidden.reshape(d, -1)).reshape(n, RUNS, width)
        active = before.clamp(min=0)
        outputs = torch.einsum("nrw,rw->nr", active, output)
        slopes = (outputs - y if squared else -y * torch.sigmoid(-y * outputs)) / n
        back = (before > 0) * slopes[:, :, None] * output
        gradients = [
            (x.T @ back.reshape(n, -1)).reshape(d, RUNS, width),
            torch.einsum("nrw,nr->rw", active, slopes),
        ]
        rate = (1 + math.cos(math.pi * min(spent / budget, 1.0))) / 2
        for k, p in enumerate(parameters):
            gradient = gradients[k].add_(p, alpha=problem.regularisation)
            first[k].mul_(0.9).add_(gradient, alpha=0.1)
            second[k].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            root = (second[k] / (1 - 0.999**step)).sqrt_().add_(1e-8)
            p.sub_(rate * sizes * (first[k] / (1 - 0.9**step)) / root)
        spent = process_time() - begin
    return evaluate(problem, hidden.double().numpy(), output.double().numpy()), step


def evaluate(problem: Problem, hidden: Floats, output: Floats) -> Floats:
    """Objectives of runs: hidden (d, runs, width), output (runs, width)."""
    values = []
    for k in range(len(output)):
        w, a = hidden[:, k], output[k]
        fitted = np.maximum(problem.x @ w, 0) @ a
        values.append(problem.primal(fitted, float(np.linalg.norm(w, axis=0) @ np.abs(a))))
    return np.array(values)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uci", type=Path, metavar="FOLDER", help="folder of tables")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder of the digits")
    parser.add_argument("--digits", action="store_true", help="with --mnist: ten problems, one a digit")
    parser.add_argument("--case", action="append", metavar="NAME", help="a case's name; all by default")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--each", type=float, default=30.0, help="most seconds for the 20-fold budget")
    parser.add_argument("--limit", type=float, help="our seconds, instead of the cases' own")
    parser.add_argument("--verbose", action="store_true", help="show our rounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    small = replace(named("20x3"), regularisation=0.01)
    fit_network(small, certify=False)  # compiles
    adam(small, 0.1, options.width)
    print(
        f"{'data':24}{'lambda':>7} {'n':>6} {'d':>4} {'ours':>10} {'neurons':>7} {'time':>8} {'status':>11} "
        f"{'bound':>8} {'Adam equal':>10} {'steps':>6} {'Adam each':>10} {'steps':>6}"
    )
    for case in cases(options):
        problem = case.make()
        problem = replace(problem, regularisation=case.share * critical(problem))
        begin = process_time()
        fit = fit_network(
            problem,
            certify=False,
            tolerance=options.tolerance,
            time_limit=options.limit or case.limit,
            progress=print if options.verbose else None,
        )
        seconds = process_time() - begin
        equal, few = adam(problem, seconds, options.width)
        print(
            f"{case.name:24}{case.share:7g} {problem.x.shape[0]:6} {problem.x.shape[1]:4} "
            f"{fit.objective:10.6f} {fit.n_neurons:7} {seconds:7.2f}s {fit.status:>11} "
            f"{fit.lower_bound:8.5f} {equal.min():10.6f} {few:6}",
            end="",
            flush=True,
        )
        if options.each:
            each, many = adam(problem, min(RUNS * seconds, options.each), options.width)
            cut = "*" if RUNS * seconds > options.each else ""
            print(f" {each.min():10.6f} {many:6}{cut}", flush=True)
        else:
            print(flush=True)


if __name__ == "__main__":
    main()
