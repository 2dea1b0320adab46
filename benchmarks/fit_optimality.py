"""Global optimality put to the test: brute force over all patterns, and descent beside a proved bound.

First, small random problems, many of them degenerate, are solved with every activation pattern: each
of the 2^n sign vectors is kept unless a combination of the signed rows with positive weights vanishes
(Gordan's alternative, decided by nonnegative least squares), and CVXPY with Clarabel minimises over networks
that have all these patterns, with both output signs. Cones are closed, so that patterns of their faces are
among them. Its optimum has to equal the objective of `fit_network`, and lie above its lower bound.

Second, Adam (torch, float64, objective with weight decay) trains networks on other problems: 25 runs on each,
five step sizes falling to 0 along a cosine, with different widths, scales of the start and seeds; one run in
five starts at the optimal network, perturbed. No run may end below the lower bound.

`OMP_NUM_THREADS=1 python -m benchmarks.fit_optimality`
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.optimize import nnls
from torch import Tensor

from benchmarks.fit_all_patterns import critical
from jensen.fit import Fit, Huber, Loss, Problem, fit_network, make_problem
from jensen.fit._losses import Floats

LOSSES: tuple[str | Loss, ...] = ("squared", Huber(0.5), "logistic", "hinge")
KINDS = ("plain", "repeated", "collinear", "integer", "zeros", "bias", "wide", "opposite")
SHARES = (0.3, 0.1, 0.03, 0.01)
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
EACH = 5
"""Runs of Adam for each step size."""
WIDTH = 30
WANTED = 1e-6
_VANISHES = 1e-12


def draw(number: int, *, most: int = 12) -> tuple[str, Problem]:
    """Draw a problem: data of one of the kinds, one of the losses, a share of the critical lambda."""
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    d = int(rng.integers(1, 4))
    n = int(rng.integers(max(2, most // 3), most + 1))
    if kind == "wide":
        n, d = 2, 3
    x = rng.standard_normal((n, d))
    if kind == "repeated":
        x[n // 2 :] = x[rng.integers(0, n // 2, n - n // 2)]
    elif kind == "collinear":
        x = np.column_stack([x[:, :1], 2 * x[:, :1], x[:, 1:2]])
    elif kind == "integer":
        x = rng.integers(-2, 3, (n, d)).astype(float)
    elif kind == "zeros":
        x[rng.integers(0, n, 2)] = 0
    elif kind == "bias":
        x[:, -1] = 1
    elif kind == "opposite":
        x[n // 2 :] = -2 * x[: n - n // 2]
    if not x.any():
        x[0] = 1
    loss = LOSSES[number // len(KINDS) % len(LOSSES)]
    real = loss == "squared" or isinstance(loss, Huber)
    y = rng.standard_normal(n) if real else rng.choice([-1.0, 1.0], n)
    problem = make_problem(x, y, 1.0, loss)
    share = SHARES[int(rng.integers(len(SHARES)))]
    return kind, replace(problem, regularisation=share * critical(problem))


def patterns(x: Floats) -> NDArray[np.bool_]:
    """Find all patterns of open cones by testing every sign vector; rows of zeros are inactive."""
    rows = x[x.any(1)]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    one = np.append(np.zeros(x.shape[1]), 1.0)
    found = []
    for signs in product((1.0, -1.0), repeat=len(rows)):
        signed = np.array(signs)[:, None] * rows
        if nnls(np.vstack([signed.T, np.ones(len(rows))]), one)[1] > _VANISHES:
            found.append([s > 0 for s in signs])
    gates = np.zeros((len(found), len(x)), dtype=bool)
    gates[:, x.any(1)] = found
    return gates


def brute_force(problem: Problem) -> float:
    """Minimise over all patterns and both signs by an interior-point method."""
    import cvxpy

    cp: Any = cvxpy
    x, y, gates = problem.x, problem.y, patterns(problem.x)
    d = x.shape[1]
    plus, minus = cp.Variable((len(gates), d)), cp.Variable((len(gates), d))
    masked = np.concatenate([gate[:, None] * x for gate in gates], axis=1)
    cones = block_diag(*[np.where(gate, 1.0, -1.0)[:, None] * x for gate in gates])
    both = [cp.reshape(part, (len(gates) * d,), order="C") for part in (plus, minus)]
    output = masked @ (both[0] - both[1])
    losses = {
        "squared": lambda: cp.square(output - y) / 2,
        "huber": lambda: cp.huber(output - y, 0.5) / 2,
        "logistic": lambda: cp.logistic(-cp.multiply(y, output)),
        "hinge": lambda: cp.pos(1 - cp.multiply(y, output)),
    }
    norms = cp.sum(cp.norm(plus, axis=1)) + cp.sum(cp.norm(minus, axis=1))
    programme = cp.Problem(
        cp.Minimize(problem.weights @ losses[problem.loss.name]() + problem.regularisation * norms),
        [cones @ part >= 0 for part in both],
    )
    with warnings.catch_warnings():
        # Where the last digits are out of reach; the comparison judges those that were reached.
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        programme.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return float(programme.value)


@dataclass(frozen=True)
class Comparison:
    """The optimum by brute force beside ours, relative to it."""

    optimum: float
    difference: float
    fit: Fit

    @property
    def holds(self) -> bool:
        """Whether both agree, a proof was found and the bound is one."""
        exceeded = self.fit.lower_bound - self.optimum > 1e-8 * self.optimum + 1e-10
        return abs(self.difference) <= WANTED and self.fit.gap <= WANTED and not exceeded


def compare(problem: Problem) -> Comparison:
    """Solve a problem in both ways."""
    optimum, fit = brute_force(problem), fit_network(problem, tolerance=0.5 * WANTED)
    return Comparison(optimum, (fit.objective - optimum) / max(optimum, 1e-12), fit)


def loss_of(problem: Problem, outputs: Tensor) -> Tensor:
    """Loss of each run, from outputs (runs, n)."""
    y, name = torch.from_numpy(problem.y), problem.loss.name
    if name == "squared":
        values = (outputs - y) ** 2 / 2
    elif isinstance(problem.loss, Huber):
        width = problem.loss.width
        values = torch.nn.functional.huber_loss(outputs, y.expand_as(outputs), reduction="none", delta=width)
    elif name == "logistic":
        values = torch.nn.functional.softplus(-y * outputs)
    else:
        values = (1 - y * outputs).clamp(min=0)
    return values @ torch.from_numpy(problem.weights)


def starts(problem: Problem, fit: Fit, seed: int) -> tuple[Tensor, Tensor]:
    """Draw networks (runs, d, width), (runs, width) of many widths and scales, the last near the optimum."""
    rng = np.random.default_rng(seed)
    d, width = problem.x.shape[1], max(WIDTH, fit.n_neurons)
    hidden = rng.standard_normal((EACH, d, width)) * 10 ** rng.uniform(-2, 0.5, (EACH, 1, 1))
    output = rng.standard_normal((EACH, width)) * 10 ** rng.uniform(-2, 0.5, (EACH, 1))
    for k in range(EACH - 1):
        used = int(rng.integers(1, width + 1))
        hidden[k, :, used:], output[k, used:] = 0, 0
    noise = 10 ** rng.uniform(-4, -1)
    hidden[-1] *= noise
    output[-1] *= noise
    hidden[-1, :, : fit.n_neurons] += fit.weights.T
    output[-1, : fit.n_neurons] += fit.outputs
    return torch.from_numpy(hidden), torch.from_numpy(output)


def adam(problem: Problem, fit: Fit, *, steps: int, seed: int = 0) -> Floats:
    """Train 25 networks; their objectives, evaluated with balanced norms."""
    x = torch.from_numpy(problem.x)
    groups = [starts(problem, fit, EACH * len(RATES) * seed + k) for k in range(len(RATES))]
    hiddens = [hidden.requires_grad_() for hidden, _ in groups]
    outputs = [output.requires_grad_() for _, output in groups]
    optimizer = torch.optim.Adam(
        [{"params": [h, a], "lr": rate} for h, a, rate in zip(hiddens, outputs, RATES, strict=True)]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2
    )
    for _ in range(steps):
        optimizer.zero_grad()
        hidden, output = torch.cat(hiddens), torch.cat(outputs)
        fitted = torch.einsum("rnw,rw->rn", (x @ hidden).relu(), output)
        decay = (hidden**2).sum() + (output**2).sum()
        objective = loss_of(problem, fitted).sum() + problem.regularisation / 2 * decay
        objective.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    weights = torch.cat(hiddens).detach().numpy()
    signs = torch.cat(outputs).detach().numpy()
    reached = []
    for w, a in zip(weights, signs, strict=True):
        fitted = np.maximum(problem.x @ w, 0) @ a
        reached.append(problem.primal(fitted, float(np.linalg.norm(w, axis=0) @ np.abs(a))))
    return np.array(reached)


def first_part(count: int) -> None:
    print(f"{'kind':10} {'problems':>8} {'largest difference':>18} {'largest gap':>11} {'failures':>8}")
    rows: dict[str, list[Comparison]] = {kind: [] for kind in KINDS}
    for number in range(count):
        kind, problem = draw(number)
        rows[kind].append(compare(problem))
        if not rows[kind][-1].holds:
            print(f"problem {number} ({kind}, {problem.loss.name}): {rows[kind][-1]}", flush=True)
    rows["all"] = [row for kind in KINDS for row in rows[kind]]
    for kind, found in rows.items():
        if found:
            print(
                f"{kind:10} {len(found):8} {max(abs(row.difference) for row in found):18.1e} "
                f"{max(row.fit.gap for row in found):11.1e} {sum(not row.holds for row in found):8}",
                flush=True,
            )


def second_part(count: int, steps: int) -> None:
    print(f"{'loss':10} {'problems':>8} {'runs':>6} {'closest':>9} {'median':>9} {'below the bound':>15}")
    rows: dict[str, list[Floats]] = {}
    for number in range(count):
        _, problem = draw(10_000 + 7 * number, most=30)
        fit = fit_network(problem, tolerance=WANTED)
        above = (adam(problem, fit, steps=steps, seed=number) - fit.lower_bound) / fit.lower_bound
        rows.setdefault(problem.loss.name, []).append(above)
    rows["all"] = [row for found in rows.values() for row in found]
    for name, found in rows.items():
        all_runs = np.concatenate(found)
        print(
            f"{name:10} {len(found):8} {len(all_runs):6} {all_runs.min():9.1e} {np.median(all_runs):9.1e} "
            f"{(all_runs < 0).sum():15}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=("brute", "adam"), help="one of the two parts; both by default")
    parser.add_argument("--problems", type=int, default=200, help="solved by brute force")
    parser.add_argument("--trained", type=int, default=40, help="problems with 25 runs of Adam each")
    parser.add_argument("--steps", type=int, default=1000, help="of Adam")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begin = process_time()
    if options.case != "adam":
        first_part(options.problems)
    if options.case != "brute":
        second_part(options.trained, options.steps)
    print(f"{process_time() - begin:.0f} s of the processor")


if __name__ == "__main__":
    main()
