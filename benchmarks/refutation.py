"""How often a smooth model that is not convex is refuted with a proof, and in which time.

    python -m benchmarks.refutation [--seconds 5] [--only PART]

Every model goes to `jensen.check`, and those without a polytope to `jensen.refute` too. Some have little
negative curvature: in a small region, along one direction of many, or by one weight of many. What is marked
"convex" is a control that no rule proves. Another version's figures come from running this file with that
version first on the path.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

import jensen
from jensen.errors import JensenError
from jensen.nn import PICNN, SkipMLP


@dataclass(frozen=True)
class Case:
    """A question: a model, the domain, and what else `check` is told."""

    name: str
    model: nn.Module
    size: int
    domain: jensen.Domain | None = None
    wrt: tuple[int, ...] | None = None
    output: int = 0
    shape: tuple[int, ...] | None = None
    argument: int | None = None


class Written(nn.Module):
    """A function of rows (n, d), written as such."""

    def __init__(self, function: Callable[[Tensor], Tensor], d: int) -> None:
        super().__init__()
        self.function, self.in_features = function, d

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate rows."""
        return self.function(x)


def _quadratic(eigenvalues: Tensor) -> Callable[[Tensor], Tensor]:
    turn = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), dtype=torch.float64)).Q

    def function(x: Tensor) -> Tensor:
        value: Tensor = ((x @ turn.to(x)).square() * eigenvalues.to(x)).sum(1)
        return value

    return function


def _bumped(d: int, width: float) -> Callable[[Tensor], Tensor]:
    """Make |x|^2 plus a small bump somewhere in the unit box."""
    centre = 2 * torch.rand(d, dtype=torch.float64) - 1

    def function(x: Tensor) -> Tensor:
        away = (x - centre.to(x)).square().sum(1)
        return x.square().sum(1) + 4 * width**2 * (-away / (2 * width**2)).exp()

    return function


def _nearly_convex(sizes: tuple[int, ...], negative: float, everywhere: bool) -> nn.Module:
    """Make a softplus network with nonnegative later weights, but for one, or for all of one unit."""
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(sizes)):
        layer = nn.Linear(a, b)
        if number:
            with torch.no_grad():
                layer.weight.abs_()
        layers += [layer, nn.Softplus()]
    with torch.no_grad():
        layers[2].get_parameter("weight")[slice(None) if everywhere else 0, 0] = -negative
    return nn.Sequential(*layers[:-1])


def _mlp(sizes: tuple[int, ...]) -> nn.Module:
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Softplus())]
    return nn.Sequential(*layers[:-1])


def _free_conv(channels: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in zip((3, *channels), channels, strict=False):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.Softplus()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * 1024, 1))


class Pair(nn.Module):
    """Two inputs: convex in each, and not in both."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Evaluate rows of both."""
        return (a.square() * b.abs()).sum(1)


def cases() -> Iterator[Case]:
    """Make all models, with seeded weights."""
    torch.manual_seed(0)
    for activation in ("softplus", "elu", "celu", "squared_relu"):
        yield Case(f"free MLP 10-16-16, {activation}", SkipMLP(10, (16, 16), activation), 10)
    yield Case(
        "free MLP 100-32-32, softplus + 0.1 x^2", SkipMLP(100, (32, 32), "softplus", quadratic=0.1), 100
    )
    yield Case(
        "seems convex: free MLP 10-16-16, softplus + x^2",
        SkipMLP(10, (16, 16), "softplus", quadratic=1.0),
        10,
    )
    for sizes in ((2, 8, 8, 1), (10, 32, 32, 1), (50, 64, 64, 1)):
        for negative in (0.5, 0.05, 0.005):
            name = f"ICNN {'-'.join(map(str, sizes))}, a unit's weights {-negative:g}"
            yield Case(name, _nearly_convex(sizes, negative, everywhere=True), sizes[0])
    one = _nearly_convex((2, 8, 8, 1), 0.005, everywhere=False)
    yield Case("seems convex: ICNN 2-8-8-1, a weight of -0.005", one, 2)
    for d in (1, 10, 100):
        wells = Written(lambda x: (x.square() - 1).square().sum(1), d)
        yield Case(f"wells (x^2 - 1)^2, d = {d}", wells, d)
    for d, width in ((1, 0.01), (2, 0.1), (5, 0.3), (10, 0.3), (20, 0.5)):
        box = jensen.Box(-1, 1)
        yield Case(f"bump of width {width} on |x|^2, d = {d}", Written(_bumped(d, width), d), d, box)
    for d in (6, 50, 200, 500):
        values = torch.full((d,), 9.0, dtype=torch.float64)
        values[0] = -0.01
        yield Case(f"quadratic: 9 and one -0.01, d = {d}", Written(_quadratic(values), d), d)
    for d in (50, 200, 500):
        values = torch.linspace(-0.01, 9.0, d, dtype=torch.float64)
        values[1:].clamp_(min=0.05)
        yield Case(f"quadratic: 0.05 to 9 and one -0.01, d = {d}", Written(_quadratic(values), d), d)
    for low in (-0.1, -0.001):
        cubes = Written(lambda x: x.pow(3).sum(1), 20)
        yield Case(f"cubes on [{low}, 1]^20", cubes, 20, jensen.Box(low, 1))
    d = 4
    corner = np.vstack([-np.eye(d), np.ones((1, d)), -np.ones((1, d))])
    simplex = jensen.Polytope(corner, [0.0] * d + [1.0, -1.0])
    yield Case(
        "x0 x1 on the simplex", Written(lambda x: x[:, 0] * x[:, 1] + x.square().sum(1) / 4, d), d, simplex
    )
    solid = jensen.Polytope(corner[:-1], [0.0] * d + [1.0])
    yield Case("x - x^3 on a corner, wrt two", Written(lambda x: (x - x.pow(3)).sum(1), d), d, solid, (0, 1))
    thin = jensen.Polytope([[1.0] * 30, [-1.0] * 30], [1e-3, 1e-3])
    yield Case("softplus MLP on a slab, d = 30", _mlp((30, 16, 16, 1)), 30, thin)
    yield Case("sin on [0, 4]", Written(lambda x: x.sin().sum(1), 1), 1, jensen.Box(0, 4))
    yield Case("log x0 / x1 on [1, 2]^2", Written(lambda x: x[:, 0].log() / x[:, 1], 2), 2, jensen.Box(1, 2))
    yield Case("softplus MLP, output 3 of 5", _mlp((10, 16, 5)), 10, output=3)
    yield Case("two inputs, a^2 |b|", Pair(), 4, shape=(2, 2))
    yield Case("PICNN in its free input", PICNN(3, 2, (8, 8), activation="softplus"), 5, argument=0)
    yield Case("softplus MLP 784-512-512-1", _mlp((784, 512, 512, 1)), 784)
    yield Case("softplus MLP 784-1024-1024-1", _mlp((784, 1024, 1024, 1)), 784)
    yield Case("softplus CNN 3x32x32, 32-32", _free_conv((32, 32)), 3072, shape=(3, 32, 32))
    yield Case("ICNN, convolutional, 3x32x32, one channel of -1", _broken_conv(), 3072, shape=(3, 32, 32))
    yield Case("convex: x^2 - x^2 / 2", Written(lambda x: (x.square() - 0.5 * x.square()).sum(1), 5), 5)
    hidden = Written(lambda x: x.square().sum(1) + x.softmax(1).sum(1), 3)
    yield Case("convex: |x|^2 + 1 by softmax", hidden, 3)


def _broken_conv() -> nn.Module:
    model = _free_conv((8, 8))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("weight") and not name.startswith("0"):
                value.abs_()
        model.get_parameter("2.weight")[:, 0] = -1.0
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=None, help="time limit of a check")
    parser.add_argument("--only", default="", help="only the cases whose name holds this")
    options = parser.parse_args()
    print("| model | check | violation | s |\n| --- | --- | --- | --- |")
    proved = total = 0
    for case in cases():
        if options.only not in case.name:
            continue
        began = perf_counter()
        shapes = ((2,), (2,)) if isinstance(case.model, Pair) else case.shape
        try:
            verdict = jensen.check(
                case.model,
                case.domain,
                case.wrt,
                options.seconds,
                output=case.output,
                input_shape=shapes,
                argument=case.argument,
            )
        except JensenError as error:
            print(f"| {case.name} | {type(error).__name__}: {error} | | |", flush=True)
            continue
        seconds = perf_counter() - began
        total += "convex:" not in case.name
        proved += verdict.kind == "not_convex"
        by = f"{float(verdict.witness.violation):.2g}" if verdict.witness is not None else ""
        print(f"| {case.name} | {verdict.kind} | {by} | {seconds:.2f} |", flush=True)
    print(f"\n{proved} of {total} refuted")


if __name__ == "__main__":
    main()
