"""Exact minimisation of input convex networks, as ratios to the epigraph's linear programme on HiGHS.

The conjugate sup s . y - f(y) of a trained FICNN with 10 inputs; the minimum of networks with 159 inputs over
a box; and that of a convex network with negative weights. Every method starts afresh for every problem unless
its row says warm. HiGHS has its defaults, on one thread. Times are of the processor, medians over problems.
`OMP_NUM_THREADS=1 python -m benchmarks.minimise`; a minute on one core, more with `--full`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

import highspy
import numpy as np
import torch

import jensen
from jensen.minimize.exact._cuts import Cuts
from jensen.minimize.exact._lp import Epigraph, EpigraphLP, linear_program
from jensen.minimize.posed._oracle import NetworkOracle
from jensen.minimize.posed._polyhedron import Polyhedron, polyhedron
from jensen.minimize.walk._walker import Walker
from jensen.network import FloatArray, ReLUNetwork
from jensen.nn import FICNN
from jensen.nn._relay import RelayICNN

Solver = Callable[[FloatArray], tuple[float, int]]
"""Minimises net + slope; returns value and iterations."""


def trained(n: int, widths: tuple[int, ...], steps: int, corner: bool) -> ReLUNetwork:
    """Fit a FICNN to a convex function, whose minimum over the unit box is inside or mostly at corners."""
    torch.manual_seed(0)
    net, mixing = FICNN(n, widths), torch.randn(n, n) / n**0.5
    weights = torch.randn(n) * (3.0 if corner else 0.0)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        x = torch.randn(256, n) * 1.5
        target = 0.5 * ((x @ mixing) ** 2).sum(1) / n**0.5 + torch.logsumexp(x[:, : n // 2], 1) + x @ weights
        loss = ((net(x) - target) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return jensen.as_network(net).network


def cold_highs(net: ReLUNetwork, inside: Polyhedron) -> Solver:
    """HiGHS as it comes, from no basis; writing the programme down is not counted."""
    program = linear_program(Epigraph(net), inside)
    base = np.array(program.col_cost_)

    def solve(slope: FloatArray) -> tuple[float, int]:
        cost = base.copy()
        cost[: len(slope)] += slope
        program.col_cost_ = cost
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        highs.passModel(program)
        highs.run()
        info = highs.getInfo()
        return float(info.objective_function_value), int(info.simplex_iteration_count)

    return solve


def ours(engine: Walker | EpigraphLP | Cuts, start: FloatArray | None) -> Solver:
    """Turn one of our methods into a solver; without a start it goes on from its last solution."""

    def solve(slope: FloatArray) -> tuple[float, int]:
        found = engine.solve(slope, start=start)
        if found.status != "optimal":
            raise RuntimeError(f"{found.method} ends with {found.status}, gap {found.gap:g}")
        return found.value, found.iterations

    return solve


def fresh_cuts(net: ReLUNetwork, inside: Polyhedron, start: FloatArray, scout: bool) -> Solver:
    """Cuts that forget those of the problem before."""
    walker = Walker(net, inside, scout=True) if scout else None

    def solve(slope: FloatArray) -> tuple[float, int]:
        return ours(Cuts(NetworkOracle(net), inside, walker), start)(slope)

    return solve


def table(title: str, solvers: dict[str, Solver], slopes: FloatArray) -> None:
    """Print times and ratios, and check that all agree."""
    print(f"\n{title}, {len(slopes)} problems\n")
    print("| method | median | times faster than the first | iterations | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    base, truth = 0.0, np.zeros(len(slopes))
    for name, solve in solvers.items():
        solve(slopes[0])
        seconds, values, counts = [], [], []
        for slope in slopes:
            began = process_time()
            value, count = solve(slope)
            seconds.append(process_time() - began)
            values.append(value)
            counts.append(count)
        if not base:
            base, truth = median(seconds), np.array(values)
        worst = float((np.abs(np.array(values) - truth) / np.maximum(1.0, np.abs(truth))).max())
        print(
            f"| {name} | {1e3 * median(seconds):.2f} ms | {base / median(seconds):.1f} "
            f"| {median(counts):.0f} | {worst:.0e} |",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more problems, and cuts on the large network")
    full = parser.parse_args(arguments).full
    rng = np.random.default_rng(0)

    net = trained(10, (100, 100), 400, corner=False)
    inside, zero = polyhedron(jensen.WholeSpace(), 10), np.zeros(10)
    slopes = -np.array(
        [net.gradient(rng.normal(size=(5, 10))).mean(axis=0) for _ in range(200 if full else 40)]
    )
    solvers = {
        "epigraph on HiGHS, cold": cold_highs(net, inside),
        "`lp`, warm": ours(EpigraphLP(net, inside), None),
        "`walk`": ours(Walker(net, inside), zero),
        "`walk`, warm": ours(Walker(net, inside), None),
        "`cuts`": fresh_cuts(net, inside, zero, scout=False),
        "`cuts`, those of all problems before": ours(Cuts(NetworkOracle(net), inside), zero),
    }
    table("Conjugate of a trained FICNN, 10 inputs, widths 100-100", solvers, slopes)

    for corner in (False, True):
        net = trained(159, (600, 159), 150, corner)
        inside, middle = polyhedron(jensen.Box(0, 1), 159), np.full(159, 0.5)
        slopes = 0.1 * rng.normal(size=(20 if full else 5, 159))
        solvers = {
            "epigraph on HiGHS, cold": cold_highs(net, inside),
            "`lp`, warm": ours(EpigraphLP(net, inside), None),
            "`walk`": ours(Walker(net, inside), middle),
            "`walk`, warm": ours(Walker(net, inside), None),
        }
        if full or corner:
            solvers["`cuts`"] = fresh_cuts(net, inside, middle, scout=False)
        found = Walker(net, inside).solve(slopes[0], start=middle).point
        free = int(((found > 0) & (found < 1)).sum())
        table(
            f"Minimum over the unit box, 159 inputs, widths 600-159, {free} free at the first minimum",
            solvers,
            slopes,
        )

    torch.manual_seed(0)
    net = jensen.as_network(RelayICNN(40, (120, 60))).network
    inside, zero = polyhedron(jensen.Box(-2, 2), 40), np.zeros(40)
    slopes = -np.array(
        [net.gradient(rng.normal(size=(5, 40))).mean(axis=0) for _ in range(20 if full else 5)]
    )
    solvers = {
        "`cuts`": fresh_cuts(net, inside, zero, scout=False),
        "walk, then `cuts` (auto)": fresh_cuts(net, inside, zero, scout=True),
    }
    table("Minimum of a convex network with negative weights, 40 inputs, widths 120-60", solvers, slopes)


if __name__ == "__main__":
    main()
