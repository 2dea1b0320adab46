"""Large networks: an ICNN judged by the signs of its weights, and networks that are not convex.

Three tables: an ICNN of 10^7 weights, read from its file, lowered and judged, with the seconds of each; a
convolutional network of 10^5 hidden units, with the seconds to a witness; and He-initialised perceptrons
of growing size, with the time to a verdict on the whole space. Run `python -m benchmarks.large` with
OMP_NUM_THREADS=1 for single-threaded figures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

import jensen
from jensen.network import ReLUNetwork, from_torch, load_model

T = TypeVar("T")
ICNN_WIDTHS = (2700, 2000, 1500, 1000)
MLP_WIDTHS = ((10, 10), (32, 32), (100, 100), (316, 316), (1000, 1000), (256, 256, 256, 256), (3000, 1000))


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """Return an action's result and the seconds that it took."""
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def large_icnn(inputs: int = 100) -> nn.Sequential:
    """Build a perceptron whose weights after the first layer are nonnegative; about 10^7 weights."""
    torch.manual_seed(0)
    sizes = [inputs, *ICNN_WIDTHS, 1]
    layers: list[nn.Module] = []
    for position, (a, b) in enumerate(pairwise(sizes)):
        linear = nn.Linear(a, b)
        if position:
            nn.init.uniform_(linear.weight, 0, 2 / a)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def large_convolution() -> nn.Sequential:
    """Build a convolutional network for 3 x 64 x 64 images: 114,688 hidden units, initialised by PyTorch."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 16, 1),
    ).eval()


def random_perceptron(inputs: int, widths: Sequence[int], seed: int = 0) -> ReLUNetwork:
    """Draw a He-initialised perceptron with biases 0.5 N(0, 1)."""
    random = np.random.default_rng(seed)
    sizes = [inputs, *widths, 1]
    weights = [random.standard_normal((b, a)) * np.sqrt(2 / a) for a, b in pairwise(sizes)]
    return jensen.from_arrays(weights, [0.5 * random.standard_normal(b) for b in sizes[1:]])


def icnn_table() -> None:
    """Read, lower and judge the large ICNN."""
    model = large_icnn()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "icnn.pt2"
        torch.export.save(torch.export.export(model, (torch.zeros(2, 100),)), file)
        lowered, read = timed(lambda: load_model(file))
    verdict, seconds = timed(lambda: jensen.check(lowered.network, time_limit=600))
    weights = lowered.network.n_weights
    print("| ICNN weights | seconds to read and lower | seconds to judge | verdict | stages |")
    print("| --- | --- | --- | --- | --- |")
    stages = ", ".join(stage.name for stage in verdict.stages)
    print(f"| {weights:,} | {read:.2f} | {seconds:.2f} | {verdict.kind} | {stages} |\n", flush=True)


def convolution_table() -> None:
    """Lower the large convolutional network and find its witness."""
    model = large_convolution()
    lowered, read = timed(lambda: from_torch(model, (3, 64, 64)))
    verdict, seconds = timed(lambda: jensen.check(lowered.network, time_limit=600))
    print("| conv hidden units | weights | seconds to lower | seconds to verdict | verdict | violation |")
    print("| --- | --- | --- | --- | --- | --- |")
    violation = f"{float(verdict.witness.violation):.3g}" if verdict.witness else ""
    network = lowered.network
    print(
        f"| {network.n_neurons:,} | {network.n_weights:,} | {read:.2f} | {seconds:.2f} | {verdict.kind} | "
        f"{violation} |\n",
        flush=True,
    )


def perceptron_table() -> None:
    """Judge random perceptrons of growing size."""
    print("| inputs | widths | weights | verdict | milliseconds |")
    print("| --- | --- | --- | --- | --- |")
    jensen.check(random_perceptron(2, (4, 4)))  # what is compiled or imported on first use is not timed
    for widths in MLP_WIDTHS:
        for inputs in (2, 10, 100):
            network = random_perceptron(inputs, widths)
            verdict, seconds = timed(lambda network=network: jensen.check(network, time_limit=60))  # type: ignore[misc]
            print(
                f"| {inputs} | {'-'.join(map(str, widths))} | {network.n_weights:,} | {verdict.kind} | "
                f"{1000 * seconds:.1f} |",
                flush=True,
            )


TABLES = {"icnn": icnn_table, "convolution": convolution_table, "perceptrons": perceptron_table}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the chosen tables, or all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=", ".join(TABLES))
    for name in parser.parse_args(arguments).tables:
        TABLES[name]()


if __name__ == "__main__":
    main()
