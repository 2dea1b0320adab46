"""Batched minimisation: entropies, smooth networks, polytopes, convolutions, backward passes of layers.

Run ``python -m benchmarks.minimise_batched``; one thread, some minutes; ``--tiny`` shows that it runs. The
figure of the published code was measured on another network of the same shape, on a machine like this one:
the ratio to it is indicative, since the number of steps depends on how many pieces of a network meet at its
minimum.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch

from jensen import Box, Domain, Polytope
from jensen.minimize.batched._minimize_batch import minimize_batch
from jensen.minimize.batched._minimize_entropy import minimize_entropy
from jensen.minimize.layer._layer import ArgminLayer
from jensen.minimize.layer._regularised import Regulariser
from jensen.nn import FICNN, PICNN, ConvICNN

Method: TypeAlias = Literal["auto", "newton", "lbfgs", "bundle"]

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


def compare(net: FICNN, domain: Domain, batch: int, methods: Iterable[Method], most: int) -> None:
    """Print what methods make of one batch of problems at gap 1e-6."""
    torch.manual_seed(1)
    slope = torch.randn(batch, net.in_features, dtype=torch.double)
    for method in methods:
        minimize_batch(net, domain, linear=slope[:1], method=method, max_iterations=1)  # loads what it needs
        began = time.process_time()
        found = minimize_batch(net, domain, linear=slope, method=method, max_iterations=most)
        seconds = time.process_time() - began
        relative = (found.gap / found.value.abs().clamp_min(1)).max().item()
        print(
            f"  n = {net.in_features}, {method}: {seconds / batch * 1e3:.2f} ms a problem, at most "
            f"{found.iterations.max()} evaluations, largest gap {relative:.1e}, finished "
            f"{int(found.converged.sum())} of {batch}"
        )


def smooth(sizes: Iterable[int], batch: int) -> None:
    print(f"softplus FICNN, widths n-n, over a box, batch {batch}, gap 1e-6: Newton, L-BFGS and bundle")
    for n in sizes:
        torch.manual_seed(0)
        net = FICNN(n, (n, n), "softplus").double()
        compare(net, Box(-1.0, 1.0), batch, ("newton", "lbfgs", "bundle"), 500)


def polytopes(sizes: Iterable[int], batch: int) -> None:
    print(f"FICNN, widths n-n, n / 2 rows and a box, batch {batch}, gap 1e-6: interior points (newton),")
    print("multipliers (lbfgs) and bundle")
    methods: dict[str, tuple[Method, ...]] = {
        "softplus": ("newton", "lbfgs", "bundle"),
        "relu": ("lbfgs", "bundle"),
    }
    for activation, suitable in methods.items():
        print(f"  {activation}")
        for n in sizes:
            torch.manual_seed(0)
            net = FICNN(n, (n, n), activation).double()
            rows = np.random.default_rng(0).normal(size=(n // 2, n))
            A = np.vstack([rows, np.eye(n), -np.eye(n)])
            compare(net, Polytope(A, np.ones(len(A))), batch, suitable, 1000)


def convolutional(side: int, repeats: int) -> None:
    print(f"convolutional ICNN, {side} x {side} image, ReLU, unit box, certified relative gap 1e-3")
    cases: tuple[
        tuple[Literal["principled", "torch"], tuple[int, ...], tuple[int, ...], float, float, Method], ...
    ] = (
        ("principled", (8, 8), (2, 2), 1.0, 0.3, "auto"),
        ("torch", (8, 8), (2, 2), 1.0, 0.02, "auto"),
        ("torch", (8, 8), (2, 2), 1.0, 0.02, "bundle"),
        ("torch", (8, 16, 16), (2, 2, 1), 2.0, 0.02, "lbfgs"),
        ("torch", (8, 16, 16), (2, 2, 1), 2.0, 0.02, "bundle"),
    )
    for initialisation, channels, strides, factor, size, method in cases:
        torch.manual_seed(0)
        net = ConvICNN((1, side, side), channels, stride=strides, initialisation=initialisation).double()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(factor)
        slope = size * torch.randn(1, 1, side, side, dtype=torch.double)
        solve = partial(
            minimize_batch,
            net,
            Box(0.0, 1.0),
            linear=slope,
            method=method,
            tolerance=1e-3,
            max_iterations=2000,
        )
        began = time.perf_counter()
        found = solve()
        seconds = time.perf_counter() - began
        if seconds < 2:
            seconds = best_of(repeats, solve)
        print(
            f"  channels {channels}, {initialisation} initialisation, weights times {factor:g}, {method}: "
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
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see whether all of it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tiny: bool = options.tiny
    batch, repeats = (2, 1) if tiny else (options.batch, options.repeats)
    entropy(batch, repeats)
    backward(repeats)
    smooth((4, 6) if tiny else (20, 100, 500), 2 if tiny else 32)
    polytopes((4, 6) if tiny else (20, 100), 2 if tiny else 8)
    convolutional(8 if tiny else 64, repeats)


if __name__ == "__main__":
    main()
