"""Convex functions that are hard for ICNNs, in 10 and 30 inputs: what a proof of convexity costs.

For each target and architecture (input skips to every layer) three networks are trained on 50 000 points, by
Adam with one cycle of the learning rate, for the same processor time: unconstrained; ICNN; and certified by
`jensen.training.fit_convex`, whose time counts all in all, checks and repairs included. Every certificate is
replayed by `jensen.verify`. Errors are on 20 000 fresh points, as a share of the target's variance.
Run `python -m experiments.beyond_icnn`; about half an hour on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import mean
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn

import jensen
from experiments.convex_targets import TARGETS, draw
from jensen.nn import FICNN, SkipMLP
from jensen.training import FitResult, fit_convex

SHAPES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (10, (20, 20)),
    (10, (64, 64)),
    (30, (20, 20)),
    (30, (64, 64)),
)
TRAINING, FRESH = 50_000, 20_000
BOX = jensen.Box(-1.0, 1.0)
BATCH, RATE = 256, 3e-2

Data = tuple[Tensor, Tensor]


def train(net: nn.Module, data: Data, seconds: float, seed: int) -> int:
    """Train for some processor time; return the number of steps."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    # The cycle runs by time: a tick is a thousandth of it.
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=1000)
    x, y = data
    begin, steps, tick = process_time(), 0, 0
    while (share := (process_time() - begin) / seconds) < 1:
        chosen = torch.randint(len(x), (BATCH,), generator=generator)
        loss = (net(x[chosen]) - y[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for _ in range(min(int(1000 * share), 998) - tick):
            cycle.step()
            tick += 1
        steps += 1
    return steps


def certified(net: nn.Module, data: Data, steps: int, seed: int) -> FitResult:
    """Train with a certificate at the end, and have it replayed."""
    result = fit_convex(net, data, BOX, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    certificate = result.verdict.certificate
    if certificate is None:
        raise RuntimeError("fit_convex returned a verdict without a certificate")
    jensen.verify(certificate, net)
    return result


def negative(net: nn.Module) -> float:
    """Share of negative weights between hidden layers."""
    layers = jensen.as_network(net).network.layers[1:]
    weights = [np.asarray(w).ravel() for layer in layers for k, w in layer.weights.items() if k > 0]
    return float((np.concatenate(weights) < 0).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10_000, help="of certified training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shapes", type=int, nargs="*", default=range(len(SHAPES)), help="which of the four")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| inputs | widths | target | ICNN | certified | unconstrained | gap closed | negative | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for d, widths in (SHAPES[i] for i in options.shapes):
        for name in TARGETS:
            errors: dict[str, list[float]] = {"ICNN": [], "certified": [], "unconstrained": []}
            share, seconds = [], []
            for seed in range(options.seeds):
                parts = [
                    tuple(torch.tensor(v, dtype=torch.float32) for v in part)
                    for part in draw(name, d, (TRAINING, FRESH), seed)
                ]
                data, (fresh, truth) = (parts[0][0], parts[0][1]), parts[1]
                nets: dict[str, nn.Module] = {}
                for kind in ("certified", "unconstrained", "ICNN"):
                    torch.manual_seed(seed)
                    nets[kind] = FICNN(d, widths) if kind == "ICNN" else SkipMLP(d, widths)
                begin = process_time()
                certified(nets["certified"], data, options.steps, seed)
                seconds.append(process_time() - begin)
                for kind in ("unconstrained", "ICNN"):
                    train(nets[kind], data, seconds[-1], seed)
                share.append(negative(nets["certified"]))
                with torch.no_grad():
                    for kind, net in nets.items():
                        errors[kind].append(float((net(fresh) - truth).square().mean()))
            icnn, ours, free = (mean(errors[k]) for k in ("ICNN", "certified", "unconstrained"))
            closed = f"{(icnn - ours) / (icnn - free):.0%}" if icnn > free else "no gap"
            print(
                f"| {d} | {widths} | {name} | {icnn:.4f} | {ours:.4f} | {free:.4f} | {closed} | "
                f"{mean(share):.0%} | {mean(seconds):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
