"""What `jensen.check` and `jensen.curvature` say about real modules, and in which time.

    python -m benchmarks.curvature_modules [--only PART] [--large]

Every class of `jensen.nn` with its default arguments; and an MLP, a LeNet, a VGG-11 and a ResNet-18 written
as they usually are, with one output: with random weights, and with nonnegative weights after the first layer,
which makes a network of ReLUs, max and average pools and batch normalisations convex. --large adds inputs of
3x224x224.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor, nn

import jensen
from jensen.errors import JensenError
from jensen.nn import (
    FICNN,
    PICNN,
    ConvexActivation,
    ConvICNN,
    NonnegativeConv2d,
    NonnegativeLinear,
    RelayICNN,
    SkipMLP,
)


def mlp(sizes: Sequence[int]) -> nn.Module:
    """Linear, ReLU and Dropout, as `torchvision.ops.MLP` stacks them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), nn.ReLU(inplace=True), nn.Dropout(0.1, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]), nn.Dropout(0.1, inplace=True))


def lenet() -> nn.Module:
    """Two convolutions with average pools and three dense layers, on 1x28x28."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def vgg11(width: int = 64) -> nn.Module:
    """Eight convolutions with batch normalisation and five max pools, then three dense layers."""
    layers: list[nn.Module] = []
    last = 3
    for n in (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0):
        if n:
            layers += [
                nn.Conv2d(last, n * width, 3, padding=1),
                nn.BatchNorm2d(n * width),
                nn.ReLU(inplace=True),
            ]
            last = n * width
        else:
            layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(last, 8 * width), nn.ReLU(), nn.Dropout(), nn.Linear(8 * width, 10)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


class Block(nn.Module):
    """Two convolutions with batch normalisation beside a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.down: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.down = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut before the last activation."""
        inner = self.relu(self.bn1(self.conv1(x)))
        value: Tensor = self.relu(self.bn2(self.conv2(inner)) + self.down(x))
        return value


def resnet18(large: bool, width: int = 64) -> nn.Module:
    """Eight residual blocks; large inputs are shrunk fourfold first."""
    stem: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    if large:
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), *stem[1:], nn.MaxPool2d(3, 2, 1)]
    blocks, last = [], width
    for n, stride in ((1, 1), (2, 2), (4, 2), (8, 2)):
        blocks += [Block(last, n * width, stride), Block(n * width, n * width, 1)]
        last = n * width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 10))


def convex(model: nn.Module) -> nn.Module:
    """Make all weights but those of the first layer nonnegative."""
    first = True
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                if not first:
                    part.weight.abs_().mul_(0.1)
                first = False
    return model


def settled(model: nn.Module) -> nn.Module:
    """Give batch normalisations statistics, as training would."""
    for part in model.modules():
        if (
            isinstance(part, nn.BatchNorm2d)
            and part.running_mean is not None
            and part.running_var is not None
        ):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model


@dataclass(frozen=True)
class Case:
    """A model, the shapes of its inputs, and which output is asked about."""

    name: str
    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    output: int | None = None


def cases(large: bool) -> Iterator[Case]:
    """Make all models, with seeded weights."""
    torch.manual_seed(0)
    yield Case("FICNN(10, (64, 64))", FICNN(10, (64, 64)), ((10,),))
    yield Case("PICNN(10, 5, (64, 64))", PICNN(10, 5, (64, 64)), ((10,), (5,)))
    yield Case("ConvICNN((3, 32, 32), (16, 16))", ConvICNN((3, 32, 32), (16, 16)), ((3, 32, 32),))
    yield Case("RelayICNN(10, (64, 64))", RelayICNN(10, (64, 64)), ((10,),))
    yield Case("SkipMLP(10, (64, 64))", SkipMLP(10, (64, 64)), ((10,),))
    yield Case("NonnegativeLinear(10, 3)", NonnegativeLinear(10, 3), ((10,),), 0)
    yield Case("NonnegativeConv2d(3, 4, 3)", NonnegativeConv2d(3, 4, 3), ((3, 8, 8),), 0)
    for kind in ConvexActivation.__subclasses__():
        yield Case(f"{kind.__name__}()", kind(), ((4,),), 0)
    yield Case("MLP 784-512-512-10", mlp((784, 512, 512, 10)), ((784,),), 0)
    yield Case("MLP 784-512-512-10, convex", convex(mlp((784, 512, 512, 10))), ((784,),), 0)
    yield Case("LeNet 1x28x28", lenet(), ((1, 28, 28),), 0)
    yield Case("LeNet 1x28x28, convex", convex(lenet()), ((1, 28, 28),), 0)
    for side in (32, 224) if large else (32,):
        shape = ((3, side, side),)
        for name in ("VGG-11", "ResNet-18"):
            for convexly in (False, True):
                model = settled(vgg11() if name == "VGG-11" else resnet18(side > 32))
                full = f"{name} 3x{side}x{side}{', convex' if convexly else ''}"
                yield Case(full, convex(model) if convexly else model, shape, 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only the models whose name holds this")
    parser.add_argument("--large", action="store_true", help="inputs of 3x224x224 too")
    parser.add_argument("--seconds", type=float, default=None, help="time limit of a check")
    options = parser.parse_args()
    print("| model | check | s | certificate | curvature | s | why |\n" + 7 * "| --- " + "|")
    for case in cases(options.large):
        if options.only not in case.name:
            continue
        model = case.model.eval()
        began = perf_counter()
        try:
            verdict = jensen.check(
                model,
                time_limit=options.seconds,
                output=case.output,
                input_shape=case.shapes if len(case.shapes) > 1 else case.shapes[0],
            )
            answer, why = str(verdict.kind), verdict.reason
            certificate = "yes" if verdict.certificate is not None else ""
        except JensenError as error:
            answer, certificate, why = type(error).__name__, "", str(error)
        seconds = perf_counter() - began
        began = perf_counter()
        try:
            found = jensen.curvature(model, tuple(torch.zeros(1, *shape) for shape in case.shapes))
            names = found.outputs[0].ravel()
            kind = str(names[case.output or 0]) if names.size else found.kind
        except JensenError as error:
            kind, why = type(error).__name__, f"{why}; {error}"
        also = perf_counter() - began
        print(
            f"| {case.name} | {answer} | {seconds:.1f} | {certificate} | {kind} | {also:.1f} | {why:.300} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
