"""The networks that the benchmarks decide: penalty-trained, convex or nearly so, and none of them an ICNN.

Each is an ordinary ReLU multilayer perceptron fitted on the box [-1, 1]^d to a maximum of 30 random affine
functions, with a penalty on sampled frontiers that bend down. A third or more of the hidden weights after the
first layer are negative. `load(name, factor)` multiplies the negative ones by the factor: 1 is the network as
trained, 0 an ICNN, and in between lie both verdicts. Below 1 negative output weights are dropped, for
training leaves them only at neurons that never switch, and shrunk they could switch and decide everything.
``NAME-repaired`` is a network whose offending neurons alone were weakened, by `benchmarks/repair.py`.

The weights lie in `benchmarks/data` as float32 arrays; `python -m benchmarks.networks` trains them afresh
(five minutes on one core) and prints what training reached.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jensen.network import Box, FloatArray, ReLUNetwork, from_arrays
from models.penalty import Recipe, SkipMLP, fit, max_affine

DATA = Path(__file__).parent / "data"
FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
PIECES = 30
REPAIRED = "-repaired"


@dataclass(frozen=True)
class Spec:
    """One benchmark network: its inputs, its hidden widths and how it is trained."""

    inputs: int
    widths: tuple[int, ...]
    recipe: Recipe = field(default_factory=lambda: Recipe(steps=6000, points=1024, penalty=10.0, rate=1e-2))

    @property
    def name(self) -> str:
        """Such as ``10x40-40``: inputs, then widths."""
        return f"{self.inputs}x" + "-".join(map(str, self.widths))


SPECS = {
    spec.name: spec
    for spec in (
        Spec(5, (16, 16)),
        Spec(6, (16, 16)),
        Spec(10, (20, 20)),
        Spec(2, (40, 40)),
        Spec(10, (40, 40)),
        Spec(30, (40, 40)),
        Spec(100, (64, 64)),
        *(Spec(d, (16,) * depth) for depth in (3, 4) for d in (2, 5, 10)),
    )
}


def train(spec: Spec) -> str:
    """Train one network, write its arrays, and return a line about it."""
    start = time.perf_counter()
    torch.manual_seed(spec.recipe.seed)
    net = SkipMLP(spec.inputs, spec.widths, spread=2.0)
    ones = torch.ones(spec.inputs)
    outcome = fit(net, max_affine(spec.inputs, PIECES, seed=spec.inputs), -ones, ones, spec.recipe)
    arrays: dict[str, Any] = {}
    for parameter in net.parameters():  # in the order weight, bias, layer by layer
        kind = "weight" if parameter.ndim == 2 else "bias"
        arrays[f"{kind}{len(arrays) // 2}"] = parameter.detach().numpy()
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / f"{spec.name}.npz", **arrays)
    cells = (
        spec.name,
        f"{outcome.error:.4f}",
        f"{net.negative_share():.0%}",
        f"{outcome.violations} of {outcome.sampled}",
        f"{outcome.worst:.3g}",
        f"{time.perf_counter() - start:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def read_arrays(name: str) -> tuple[list[FloatArray], list[FloatArray]]:
    """Weights and biases of a network from its file, layer by layer, the output's last."""
    depth = len(SPECS[name.removesuffix(REPAIRED)].widths)
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        weights = [arrays[f"weight{k}"].astype(np.float64) for k in range(depth + 1)]
        biases = [arrays[f"bias{k}"].astype(np.float64) for k in range(depth + 1)]
    return weights, biases


def names() -> list[str]:
    """All networks that `load` knows: those of `SPECS`, and after each its repaired twin, if any."""
    every = [name for spec in SPECS for name in (spec, spec + REPAIRED)]
    return [name for name in every if (DATA / f"{name}.npz").exists()]


def load(name: str, factor: float = 1.0) -> tuple[ReLUNetwork, Box]:
    """Read a benchmark network and its box.

    Parameters
    ----------
    name : str
        One of `names()`.
    factor : float, default 1.0
        Multiplies the negative weights of the hidden layers after the first. Below 1, negative weights of
        the output are set to zero.

    Returns
    -------
    network : ReLUNetwork
    box : Box

    Raises
    ------
    KeyError
        If there is no network of that name.
    """
    weights, biases = read_arrays(name)
    if factor != 1:
        weights[1:-1] = [np.where(w < 0, factor * w, w) for w in weights[1:-1]]
        weights[-1] = np.maximum(weights[-1], 0)
    return from_arrays(weights, biases), Box(-1.0, 1.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the benchmark networks and print a table of what was reached."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(SPECS), help="networks to train (default: all)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        "| network | squared error / variance | negative later weights | sampled frontiers bending down | "
        "smallest sampled adjoint | seconds |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.names:
        print(train(SPECS[name]), flush=True)


if __name__ == "__main__":
    main()
