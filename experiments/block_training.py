"""Training by convex problems, in all parameters at once or block by block, beside Adam.

A network with one hidden layer on a real table: scikit-learn's diabetes data, or a csv file without header
whose last column is the target. First `jensen.blocks.convex_blocks` tells in which parameters the training
loss is convex: verdict and proof for each, and the maximal blocks. Then the network is trained from the same
starts by the schemes of `train_blocks` and by Adam. "linearised" solves the convex problem that is left when
outputs are linearised in all parameters; "alternating" solves the last layer, and holds the ReLUs of the
first while that moves; "reduced" goes down in the first layer with the last one solved at every point, by
L-BFGS; it needs a smooth loss. Adam takes all rows at once, at three rates, of which the best at the end is
shown. Time is processor time of one core, tracing included; everything is warmed up before. A quarter of the
rows is held out. Run `python -m experiments.block_training`; about four minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jensen.blocks import LOSSES, BlockVisit, convex_blocks, train_blocks

RATES = (0.003, 0.01, 0.03)
TASKS = {"squared": 0.0, "absolute": 0.0, "logistic": 1e-3}
"""Losses, and the decay that all methods add: the logistic loss of separable rows has no minimum without."""
MARKS = (0.1, 0.3, 1.0, 3.0)
_WARM = 0.05
"""Seconds of each method before any is measured: what torch loads on its first use is not counted."""
COLOURS = {"linearised": "#6a4c93", "alternating": "#0b6fa4", "reduced": "#3a9a5c", "Adam": "#c4572e"}

Data = tuple[Tensor, Tensor]
Scheme = Literal["linearise", "alternate", "reduce"]


@dataclass(frozen=True)
class Run:
    """Losses with the seconds at which they were reached, and the loss on held-out rows at the end."""

    seconds: NDArray[np.float64]
    losses: NDArray[np.float64]
    held_out: float

    def at(self, second: float) -> float:
        """Return the lowest loss reached by then."""
        return float(self.losses[self.seconds <= second].min(initial=self.losses[0]))


def table(path: Path | None) -> tuple[Data, Data]:
    """Standardised features and targets, of training and held-out rows."""
    if path is None:
        from sklearn.datasets import load_diabetes

        data = load_diabetes()
        columns = np.column_stack([data.data, data.target])
    else:
        columns = np.loadtxt(path, delimiter=",")
    columns = columns[np.random.default_rng(0).permutation(len(columns))]
    columns = columns[:, columns.std(0) > 0]
    columns = (columns - columns.mean(0)) / columns.std(0)
    x, y = torch.from_numpy(columns[:, :-1].copy()), torch.from_numpy(columns[:, -1].copy())
    cut = len(x) * 3 // 4
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def targets(loss: str, data: Data) -> Data:
    """Turn targets into classes -1 and 1, above and below the mean, where the loss asks for them."""
    x, y = data
    return (x, torch.where(y > 0, 1.0, -1.0).double()) if loss in ("hinge", "logistic") else data


def network(inputs: int, hidden: int, seed: int) -> nn.Sequential:
    """Draw a network with one hidden layer."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1)).double()


def objective(model: nn.Module, loss: str, data: Data) -> Tensor:
    """Compute the loss that all methods minimise."""
    value = LOSSES[loss](model(data[0]), data[1])
    if decay := TASKS[loss]:
        value = value + decay / 2 * sum(p.square().sum() for p in model.parameters())
    return value


def evaluated(model: nn.Module, loss: str, data: Data) -> float:
    """Compute the loss alone."""
    with torch.no_grad():
        return LOSSES[loss](model(data[0]), data[1]).item()


def by_blocks(model: nn.Module, loss: str, data: Data, held_out: Data, seconds: float, scheme: Scheme) -> Run:
    """Train by a scheme of `train_blocks`."""
    times, losses = [0.0], [objective(model, loss, data).item()]
    began = process_time()

    def record(visit: BlockVisit) -> bool:
        times.append(process_time() - began)
        losses.append(visit.loss)
        return times[-1] > seconds

    train_blocks(
        model,
        loss,
        data,
        scheme=scheme,
        sweeps=10**6,
        decay=TASKS[loss],
        tolerance=0.0,
        callback=record,
    )
    return Run(np.array(times), np.array(losses), evaluated(model, loss, held_out))


def by_adam(model: nn.Module, loss: str, data: Data, held_out: Data, seconds: float, rate: float) -> Run:
    """Train all parameters at once."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    times, losses = [0.0], [objective(model, loss, data).item()]
    began = process_time()
    while times[-1] < seconds:
        for _ in range(10):
            optimiser.zero_grad()
            value = objective(model, loss, data)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        times.append(process_time() - began)
        losses.append(value.item())
    return Run(np.array(times), np.array(losses), evaluated(model, loss, held_out))


def compared(
    loss: str, data: Data, held_out: Data, hidden: int, seeds: int, seconds: float
) -> dict[str, list[Run]]:
    """Train from several starts by all methods; of Adam the rate that is best at the end, by the median."""
    starts = [network(data[0].shape[1], hidden, seed) for seed in range(seeds)]
    schemes: dict[str, Scheme] = {"linearised": "linearise", "alternating": "alternate", "reduced": "reduce"}
    if loss == "absolute":
        del schemes["reduced"]
    for scheme in schemes.values():
        by_blocks(copy.deepcopy(starts[0]), loss, data, held_out, _WARM, scheme)
    by_adam(copy.deepcopy(starts[0]), loss, data, held_out, _WARM, RATES[0])
    found = {
        name: [by_blocks(copy.deepcopy(m), loss, data, held_out, seconds, scheme) for m in starts]
        for name, scheme in schemes.items()
    }
    tried = {
        rate: [by_adam(copy.deepcopy(m), loss, data, held_out, seconds, rate) for m in starts]
        for rate in RATES
    }
    best = min(RATES, key=lambda rate: median(run.at(seconds) for run in tried[rate]))
    return {**found, f"Adam, rate {best:g}": tried[best]}


def picture(found: dict[str, dict[str, list[Run]]], seconds: float, path: Path) -> None:
    """Draw loss against time, one panel for each loss and one line for each start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(found), 3.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (loss, methods) in zip(panels, found.items(), strict=True):
        for method, runs in methods.items():
            colour = COLOURS[method.partition(",")[0]]
            for number, run in enumerate(runs):
                label = method if number == 0 else None
                best = np.minimum.accumulate(run.losses)
                panel.step(run.seconds[1:], best[1:], where="post", color=colour, linewidth=1.1, label=label)
        panel.set(xscale="log", yscale="log", xlim=(0.01, seconds), title=f"{loss} loss", xlabel="seconds")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
        panel.tick_params(which="both", labelsize=8)
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("training loss")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print verdicts and losses against time, and draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, help="csv file of numbers; the last column is the target")
    parser.add_argument("--losses", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each run")
    parser.add_argument("--picture", type=Path, help="where to draw")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    training, testing = table(options.table)
    features = training[0].shape[1]
    print(f"{len(training[0])} rows, {features} features, {options.hidden} hidden neurons")
    found: dict[str, dict[str, list[Run]]] = {}
    for loss in options.losses:
        data, held_out = targets(loss, training), targets(loss, testing)
        print(
            f"\n{loss} loss\n{convex_blocks(network(features, options.hidden, 0), loss, data)}\n", flush=True
        )
        found[loss] = compared(loss, data, held_out, options.hidden, options.starts, options.seconds)
        marks = [mark for mark in MARKS if mark <= options.seconds]
        print("| method | " + " | ".join(f"{mark:g} s" for mark in marks) + " | end | held out |")
        print("| --- |" + " --- |" * (len(marks) + 2))
        for method, runs in found[loss].items():
            cells = [f"{median(run.at(mark) for run in runs):.4f}" for mark in (*marks, options.seconds)]
            print(
                f"| {method} | {' | '.join(cells)} | {median(run.held_out for run in runs):.4f} |", flush=True
            )
    if options.picture is not None:
        picture(found, options.seconds, options.picture)


if __name__ == "__main__":
    main()
