"""Cost of a training step with the sampled convexity penalty, as a multiple of one without.

One step of Adam on a batch: median of several, with and without `SampledConvexityPenalty` at its defaults.
Run `python -m benchmarks.penalty_cost`; half a minute on one core, some minutes with `--full`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

import torch
from torch import nn

from jensen import Box
from jensen.nn import SkipMLP
from jensen.training import SampledConvexityPenalty

ROUNDS = 10


def conv(channels: int) -> nn.Module:
    """Build a convolutional network on 28 x 28 images with about 1500 * channels neurons."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(7),
        nn.Flatten(),
        nn.Linear(16 * channels, 1),
    )


def neurons(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the hidden neurons."""
    total = 0

    def count(part: nn.Module, args: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out[0].numel()

    parts = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None]
    handles = [m.register_forward_hook(count) for m in parts]
    module(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total - 1


def seconds(steps: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Return the median processor time of each step, taken in turns, so that all see the same machine."""
    times: list[list[float]] = [[] for _ in steps]
    rounds = min(repeats, ROUNDS)
    for _ in range(rounds):
        for step, taken in zip(steps, times, strict=True):
            step()  # the first of a kind finds the caches cold
            for _ in range(repeats // rounds):
                begin = process_time()
                step()
                taken.append(process_time() - begin)
    return [median(taken) for taken in times]


def cost(module: nn.Module, shape: tuple[int, ...], batch: int, repeats: int) -> tuple[float, float]:
    """Return the time of a plain step, and of one with the penalty."""
    x, y = torch.rand(batch, *shape), torch.rand(batch)
    optimiser = torch.optim.Adam(module.parameters(), 1e-4)
    penalty = SampledConvexityPenalty(module, Box(0.0, 1.0), input_shape=shape)

    def step(weight: float) -> None:
        optimiser.zero_grad()
        loss = (module(x).reshape(-1) - y).square().mean()
        (loss + weight * penalty() if weight else loss).backward()
        optimiser.step()

    plain, penalised = seconds([lambda: step(0.0), lambda: step(1.0)], repeats)
    return plain, penalised


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--full", action="store_true", help="convolutional network with 10^5 neurons too")
    options = parser.parse_args()
    rows: list[tuple[str, nn.Module, tuple[int, ...], int]] = [
        ("(20, 20), 2 inputs", SkipMLP(2, (20, 20)), (2,), options.repeats),
        ("(20, 20), 10 inputs", SkipMLP(10, (20, 20)), (10,), options.repeats),
        ("(64, 64), 30 inputs", SkipMLP(30, (64, 64)), (30,), options.repeats),
        ("(512, 512), 100 inputs", SkipMLP(100, (512, 512)), (100,), max(1, options.repeats // 10)),
        ("convolutional", conv(4), (1, 28, 28), max(1, options.repeats // 20)),
    ]
    if options.full:
        rows.append(("convolutional", conv(64), (1, 28, 28), max(1, options.repeats // 100)))
    print(f"| network | neurons | batch | plain step (ms) | with the penalty | ratio |\n{'| --- ' * 6}|")
    for name, module, shape, repeats in rows:
        count = neurons(module, shape)
        for batch in options.batch:
            plain, penalised = cost(module, shape, batch, repeats)
            print(
                f"| {name} | {count} | {batch} | {1e3 * plain:.1f} | {1e3 * penalised:.1f} | "
                f"{penalised / plain:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
