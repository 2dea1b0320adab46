"""Batched minimisation: bundle entropy, a convolutional network, and the backward pass of an argmin layer.

Run ``python -m benchmarks.minimise_batched``; one thread. The figure of the published code was measured on
another network of the same shape, on a machine like this one: the ratio to it is indicative, since the number
of steps depends on how many pieces of a network meet at its minimum.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch

from jensen import Box
from jensen.minimize.batched._minimize_batch import minimize_batch
from jensen.minimize.batched._minimize_entropy import minimize_entropy
from jensen.minimize.layer._layer import ArgminLayer
from jensen.minimize.layer._regularised import Regulariser
from jensen.nn import FICNN, PICNN, ConvICNN

PUBLISHED_MS = 3.6
"""The published bundle entropy code, a problem of 159 variables and widths 600-159."""


def best_of(repeats: int, run: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def entropy(batch: int, repeats: int) -> None:
    n, widths = 159, (600, 159)
    print(f"bundle entropy, n = {n}, widths {widths}, batch {batch}, gap 1e-9, float64")
    cases: tuple[tuple[Literal["principled", "torch"], float], ...] = (("principled", 1.0), ("torch", 0.1))
    for initialisation, size in cases:
        torch.manual_seed(0)
        net = FICNN(n, widths, initialisation=initialisation).double()
        slope = size * torch.randn(batch, n, dtype=torch.double)
        few = slope[:16]
        per = best_of(repeats, partial(minimize_entropy, net, linear=slope)) / batch * 1e3
        one = best_of(repeats, partial(one_by_one, net, few)) / len(few) * 1e3
        found = minimize_entropy(net, linear=slope)
        relative = (found.gap / found.value.abs().clamp_min(1)).max().item()
        print(
            f"  FICNN, {initialisation} initialisation: {per:.3f} ms a problem, "
            f"{PUBLISHED_MS / per:.1f} times the throughput of {PUBLISHED_MS} ms; one at a time {one:.2f} ms"
            f"\n    evaluations: mean {found.iterations.double().mean():.1f}, most {found.iterations.max()}; "
            f"largest gap / max(1, |value|) {relative:.1e}; finished {bool(found.converged.all())}"
        )


def one_by_one(net: FICNN, slopes: torch.Tensor) -> None:
    for slope in slopes:
        minimize_entropy(net, linear=slope[None])


def convolutional(repeats: int) -> None:
    print("convolutional ICNN, 64 x 64 image, ReLU, over the unit box, certified relative gap 1e-3")
    cases: tuple[
        tuple[Literal["principled", "torch"], tuple[int, ...], tuple[int, ...], float, float], ...
    ] = (
        ("principled", (8, 8), (2, 2), 1.0, 0.3),
        ("torch", (8, 8), (2, 2), 1.0, 0.02),
        ("torch", (8, 16, 16), (2, 2, 1), 2.0, 0.02),
    )
    for initialisation, channels, strides, factor, size in cases:
        torch.manual_seed(0)
        net = ConvICNN((1, 64, 64), channels, stride=strides, initialisation=initialisation).double()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(factor)
        slope = size * torch.randn(1, 1, 64, 64, dtype=torch.double)
        solve = partial(minimize_batch, net, Box(0.0, 1.0), linear=slope, tolerance=1e-3, max_iterations=2000)
        began = time.perf_counter()
        found = solve()
        seconds = time.perf_counter() - began
        if seconds < 2:
            seconds = best_of(repeats, solve)
        print(
            f"  channels {channels}, {initialisation} initialisation, weights times {factor:g}: "
            f"{seconds:.2f} s, {found.iterations.item()} evaluations, gap "
            f"{(found.gap / found.value.abs()).item():.1e} of the value"
        )


def backward(repeats: int) -> None:
    print("ArgminLayer, PICNN, batch 64: backward over forward (goal: at most 2)")
    torch.manual_seed(0)
    cases: tuple[tuple[Regulariser, str], ...] = (
        ("entropy", "relu"),
        ("quadratic", "relu"),
        ("entropy", "softplus"),
    )
    for regulariser, activation in cases:
        net = PICNN(50, 20, (100, 50), activation=activation, initialisation="torch").double()
        layer = ArgminLayer(net, None, regulariser)
        x = torch.randn(64, 50, dtype=torch.double, requires_grad=True)
        forward = best_of(repeats, partial(layer, x))
        times = []
        for _ in range(repeats):
            value = layer(x).square().sum()
            began = time.perf_counter()
            torch.autograd.grad(value, [x, *net.parameters()], allow_unused=True)
            times.append(time.perf_counter() - began)
        print(
            f"  {regulariser}, {activation}: forward {forward * 1e3:.1f} ms, backward "
            f"{min(times) * 1e3:.1f} ms, ratio {min(times) / forward:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    entropy(options.batch, options.repeats)
    backward(options.repeats)
    convolutional(options.repeats)


if __name__ == "__main__":
    main()
