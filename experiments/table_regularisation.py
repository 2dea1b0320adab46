"""Approximation of a convex function by networks of one architecture, with and without convexity.

After table 1 of Gagneux, Massias, Soubies and Gribonval, "How to improve the expressivity of convex ReLU
networks": a random convex piecewise-linear target on [-10, 10]^2, hidden layers (4, 8) without skips, l1
loss, 10 initialisations shared by all. The published target is not known; here it is the maximum of 12
random affine functions. Rows: unconstrained; ICNN, from the shared weights and from its own
initialisation, the latter also with three times the steps, because certified training takes more than twice
the time; the published regulariser with all frontiers enumerated; certified training. For each the mean
squared error on 20 000 points and the number of runs that `jensen.check` proves convex.
Run `python -m experiments.table_regularisation`; about five minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

import jensen
from jensen.nn import FICNN, SkipMLP
from jensen.training import ExactConvexityPenalty, fit_convex

SIDE, WIDTHS = 10.0, (4, 8)
RATE = 1e-2
BOX = jensen.Box(-SIDE, SIDE)
OWN, LONGER = "ICNN, own initialisation", "ICNN, own initialisation, three times the steps"
PUBLISHED = {"unconstrained": "0.90 ± 0.53", "ICNN": "1.71 ± 0.90", "regularised": "0.84 ± 0.73"}

Data = tuple[Tensor, Tensor]


def target(seed: int) -> Callable[[Tensor], Tensor]:
    """Draw the maximum of 12 affine functions, whose pieces lie all over the square."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(12, 2, generator=generator)
    offsets = torch.randn(12, generator=generator) * SIDE / 2
    return lambda x: (x @ slopes.T + offsets).amax(1)


def points(count: int, seed: int) -> Tensor:
    """Draw uniform points of the square."""
    return SIDE * (2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 1)


def train(net: nn.Module, data: Data, steps: int, seed: int, penalty: Callable[[], Tensor] | None) -> None:
    """Train with Adam on the l1 loss, plus a penalty."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    x, y = data
    for _ in range(steps):
        chosen = torch.randint(len(x), (256,), generator=generator)
        loss = (net(x[chosen]) - y[chosen]).abs().mean()
        if penalty is not None:
            loss = loss + penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def shared(seed: int) -> SkipMLP:
    """Build the network with the weights that all runs of a seed start from."""
    torch.manual_seed(seed)
    return SkipMLP(2, WIDTHS, skips=False)


def icnn(seed: int) -> FICNN:
    """Build an ICNN from the shared weights, the inner ones replaced by their absolute values."""
    net = FICNN(2, WIDTHS, constraint="abs", skips=False)
    state = shared(seed).state_dict()
    inner = [k for k in state if k.startswith("hidden") and k.endswith("weight")]
    net.load_state_dict({k: v.abs() if k in inner else v for k, v in state.items()})
    return net


def run(kind: str, data: Data, steps: int, weight: float, seed: int) -> nn.Module:
    """Train one network."""
    net: nn.Module
    if kind in (OWN, LONGER):
        torch.manual_seed(seed)
        net = FICNN(2, WIDTHS, skips=False)
    else:
        net = icnn(seed) if kind == "ICNN" else shared(seed)
    if kind == "certified":
        fit_convex(net, data, BOX, loss="l1", steps=steps, rate=RATE, seed=seed)
        return net
    penalty = None
    if kind == "regularised":
        exact = ExactConvexityPenalty(net, BOX, refresh=5)
        penalty = lambda: weight * exact()  # noqa: E731
    train(net, data, 3 * steps if kind == LONGER else steps, seed, penalty)
    return net


def picture(path: Path, function: Callable[[Tensor], Tensor], nets: dict[str, nn.Module]) -> None:
    """Draw the target and the functions learnt from one initialisation, with a cut through each."""
    import matplotlib.pyplot as plt

    axis = torch.linspace(-SIDE, SIDE, 121)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        values = {"target": function(grid), **{name: net(grid) for name, net in nets.items()}}
    levels = np.linspace(float(values["target"].min()), float(values["target"].max()), 16)
    figure, axes = plt.subplots(1, len(values), figsize=(2.2 * len(values), 2.5), layout="constrained")
    for plot, (name, value) in zip(axes, values.items(), strict=True):
        plot.contour(axis, axis, value.reshape(121, 121).numpy(), levels=levels, linewidths=0.8)
        error = float((value - values["target"]).square().mean())
        plot.set_title(name if name == "target" else f"{name}\nMSE {error:.2f}", fontsize=8)
        plot.set_aspect("equal")
        plot.set_xticks([])
        plot.set_yticks([])
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and, if asked, draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--weight", type=float, default=0.3, help="of the published regulariser")
    parser.add_argument("--target", type=int, default=0, help="seed of the target")
    parser.add_argument("--picture", type=Path, help="file for the functions learnt in the first run")
    options = parser.parse_args(arguments)
    function = target(options.target)
    x, fresh = points(4000, 1), points(20_000, 2)
    data, truth = (x, function(x)), function(fresh)
    kinds = ("unconstrained", "ICNN", OWN, LONGER, "regularised", "certified")
    first: dict[str, nn.Module] = {}
    print("| network | MSE, mean ± std | median | provably convex | seconds a run | published MSE |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in kinds:
        errors, proved, begin = [], 0, process_time()
        for seed in range(options.runs):
            net = run(kind, data, options.steps, options.weight, seed)
            if kind != LONGER:
                first.setdefault(kind, net)
            with torch.no_grad():
                errors.append(float((net(fresh) - truth).square().mean()))
            proved += jensen.check(net, BOX, exact=True, time_limit=60.0).kind == "convex"
        taken = (process_time() - begin) / options.runs
        print(
            f"| {kind} | {mean(errors):.2f} ± {stdev(errors):.2f} | {median(errors):.2f} | "
            f"{proved} of {options.runs} | {taken:.0f} | {PUBLISHED.get(kind, '')} |",
            flush=True,
        )
    if options.picture is not None:
        picture(options.picture, function, first)


if __name__ == "__main__":
    main()
