"""Fixed activation patterns: our solver beside Clarabel, adelie and scnn.

Squared loss, 1/(2n) |o - y|^2 + lambda sum |u_g|, lambda as a share of the least one for which all is
zero, the patterns of Gaussian directions: P of them, with both signs and cone constraints ("relu"), or
without constraints ("gated"). `n x d` is synthetic: X standard normal, y from five planted neurons (Gaussian,
scaled by 1 / sqrt(d)) plus noise of standard deviation 0.1, seed 0; `diabetes` and `cancer` are
scikit-learn's, with standardised columns and, for diabetes, standardised target, for cancer -1 and 1.

Peers run in their own environments, on problems exchanged as .npz, each with several tolerances; one row a
run, until a run reaches a gap of 1e-6. Times are of the processor, in seconds, one thread, the best of
`--repeats`; imports, compilation and reading are not counted, building a solver's own structures is. Gaps are
ours to judge: every peer's coefficients are projected on their cones first, and the objective there is
compared with the best lower bound of any of our solves. The violation is that before projection, relative to
|x_j| |u_g|, of the groups that are longer than a millionth of the longest.

`OMP_NUM_THREADS=1 python -m benchmarks.fit_fixed --adelie PYTHON --scnn PYTHON --clarabel`; a minute without
peers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from jensen.fit._cones import Cones
from jensen.fit._fixed import solve_gated, solve_relu
from jensen.fit._losses import Floats
from jensen.fit._path import critical_regularisation
from jensen.fit._problem import Problem, make_problem
from jensen.fit._solution import Groups

CASES = [
    ("100x10", 0.1, "relu", 100),
    ("diabetes", 0.01, "relu", 100),
    ("cancer", 0.01, "relu", 100),
    ("1000x50", 0.1, "relu", 100),
    ("cancer", 0.01, "gated", 500),
    ("1000x50", 0.01, "gated", 500),
]
"""Data, share of the critical lambda, kind, number of patterns."""

WANTED = 1e-6
PEERS = Path(__file__).with_name("fit_fixed_peers.py")


@dataclass(frozen=True)
class Case:
    """A problem, and the directions that gave its gates."""

    name: str
    problem: Problem
    groups: Groups
    directions: Floats
    cones: bool


@dataclass(frozen=True)
class Row:
    """A run: seconds, coefficients, what it was asked for."""

    solver: str
    asked: str
    seconds: float
    coefficients: Floats


def load(name: str) -> tuple[Floats, Floats]:
    """Return data and targets."""
    if "x" in name:
        n, d = map(int, name.split("x"))
        rng = np.random.default_rng(0)
        x = rng.standard_normal((n, d))
        weights, outputs = rng.standard_normal((d, 5)) / d**0.5, rng.standard_normal(5)
        return x, np.maximum(x @ weights, 0) @ outputs + 0.1 * rng.standard_normal(n)
    from sklearn import datasets

    x, y = getattr(datasets, {"diabetes": "load_diabetes", "cancer": "load_breast_cancer"}[name])(
        return_X_y=True
    )
    y = 2.0 * y - 1 if name == "cancer" else (y - y.mean()) / y.std()
    return (x - x.mean(0)) / x.std(0), y


def make_case(name: str, share: float, kind: str, count: int) -> Case:
    """Build a problem."""
    x, y = load(name)
    directions = np.random.default_rng(0).standard_normal((count, x.shape[1]))
    gates = directions @ x.T > 0
    cones = kind == "relu"
    groups = Groups.both_signs(gates) if cones else Groups(gates, np.ones(count, dtype=np.int8))
    problem = make_problem(x, y, 1.0)
    problem = replace(problem, regularisation=share * critical_regularisation(problem, groups, cones))
    return Case(f"{name} {share:g} {kind} P={count}", problem, groups, directions, cones)


def ours(case: Case, repeats: int) -> tuple[Row, float]:
    """Time our solver; also the best lower bound, from a solve to 1e-10."""
    solve = solve_relu if case.cones else solve_gated
    seconds = np.inf
    for _ in range(repeats):
        begin = process_time()
        found = solve(case.problem, case.groups, tolerance=WANTED)
        seconds = min(seconds, process_time() - begin)
    sharp = solve(case.problem, case.groups, tolerance=1e-10)
    return Row("jensen", f"{WANTED:g}", seconds, found.coefficients), max(
        found.lower_bound, sharp.lower_bound
    )


def clarabel(case: Case) -> Row:
    """CVXPY with Clarabel, default tolerances; writing the programme down counts, as it does for users."""
    import cvxpy

    cp: Any = cvxpy
    problem, groups = case.problem, case.groups
    begin = process_time()
    u = cp.Variable((len(groups), problem.x.shape[1]))
    masks = groups.gates * groups.signs[:, None]
    products = problem.x @ u.T
    fitted = cp.sum(cp.multiply(masks.T, products), axis=1)
    flips = np.where(groups.gates, 1.0, -1.0)
    programme = cp.Problem(
        cp.Minimize(
            cp.sum_squares(fitted - problem.y) / (2 * len(problem.y))
            + problem.regularisation * cp.sum(cp.norm(u, axis=1))
        ),
        [cp.multiply(flips.T, products) >= 0] if case.cones else [],
    )
    programme.solve(solver=cp.CLARABEL)
    return Row("clarabel", "default", process_time() - begin, np.asarray(u.value))


def peer(case: Case, solver: str, python: str, repeats: int, limit: float) -> list[Row]:
    """Run a peer in its environment; the rows that it finished within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        given, rows = Path(folder) / "given.npz", []
        np.savez(
            given,
            x=case.problem.x,
            y=case.problem.y,
            gates=case.groups.gates[: len(case.directions)],
            directions=case.directions,
            regularisation=case.problem.regularisation,
            cones=case.cones,
        )
        command = [python, str(PEERS), solver, str(given), folder, str(repeats)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            subprocess.run(command, check=True, env=environment, timeout=limit, capture_output=True)
        except subprocess.TimeoutExpired:
            print(f"{case.name}: {solver} was stopped after {limit:g} s of wall clock")
        for path in sorted(Path(folder).glob("run*.npz")):
            with np.load(path) as found:
                rows.append(Row(solver, str(found["asked"]), float(found["seconds"]), found["coefficients"]))
    return rows


def judge(case: Case, row: Row, bound: float) -> tuple[float, float]:
    """Relative gap after a projection on the cones, and the violation before it."""
    u, violation = row.coefficients, 0.0
    if case.cones:
        cones = Cones(case.problem.x, case.groups.gates)
        sizes = np.linalg.norm(u, axis=1)
        violation = float(cones.violation(u)[sizes > 1e-6 * sizes.max()].max(initial=0.0))
        u = cones.project(u)[0]
    signs = case.groups.signs[:, None]
    fitted = (case.groups.gates * signs * (u @ case.problem.x.T)).sum(0)
    value = case.problem.primal(fitted, float(np.linalg.norm(u, axis=1).sum()))
    return (value - bound) / value, violation


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adelie", metavar="PYTHON", help="interpreter of an environment with adelie")
    parser.add_argument("--scnn", metavar="PYTHON", help="interpreter of an environment with pyscnn")
    parser.add_argument("--clarabel", action="store_true", help="CVXPY and Clarabel, slow")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, help="wall clock for a peer's runs on a case")
    parser.add_argument("--case", type=int, action="append", help="number of a case, from 0; all by default")
    options = parser.parse_args(arguments)
    warm = make_case("20x3", 0.1, "relu", 5)
    for cones in (True, False):  # compiles
        ours(replace(warm, cones=cones), 1)
    print(f"{'problem':28} {'solver':9} {'asked':>16} {'time':>9} {'ratio':>7} {'gap':>9} {'violation':>10}")
    for number in options.case or range(len(CASES)):
        case = make_case(*CASES[number])
        first, bound = ours(case, options.repeats)
        rows = [first]
        if options.adelie:
            rows += peer(case, "adelie", options.adelie, options.repeats, options.limit)
        if options.scnn:
            rows += peer(case, "scnn", options.scnn, 1, options.limit)
        if options.clarabel:
            rows.append(clarabel(case))
        reached: set[str] = set()
        for row in rows:
            if row.solver in reached:
                continue
            gap, violation = judge(case, row, bound)
            if gap <= WANTED:
                reached.add(row.solver)
            print(
                f"{case.name:28} {row.solver:9} {row.asked:>16} {row.seconds:8.3f}s "
                f"{row.seconds / first.seconds:7.1f} {gap:9.1e} {violation:10.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
