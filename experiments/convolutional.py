"""Certified training of convolutional networks: regression of a convex function of an image.

Three networks of one shape, two convolutions and a linear layer, learn the maximum of 20 random affine
functions of 8 x 8 images: an unconstrained one, a `ConvICNN`, and one trained by `fit_convex`. Images are
the middle of MNIST's test images, the file t10k-images-idx3-ubyte.gz of that data set::

    python -m experiments.convolutional t10k-images-idx3-ubyte.gz --seeds 3
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

import jensen
from jensen.nn import ConvICNN
from jensen.training import fit_convex

BOX = jensen.Box(0.0, 1.0)
SIDE = 8
SHAPE = 1, SIDE, SIDE
PIECES = 20


def images(path: Path) -> Tensor:
    """Middle of the images of an IDX file, at half the resolution: an (n, 1, 8, 8) tensor in [0, 1]."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    count, height, width = (int(n) for n in np.frombuffer(raw, dtype=">i4", count=3, offset=4))
    pixels = np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(count, 1, height, width)
    top, left = (height - 2 * SIDE) // 2, (width - 2 * SIDE) // 2
    middle = torch.tensor(pixels[:, :, top : top + 2 * SIDE, left : left + 2 * SIDE] / 255.0).float()
    return nn.functional.avg_pool2d(middle, 2)


def target(seed: int) -> Callable[[Tensor], Tensor]:
    """Maximum of random affine functions, shifted to be of one size on average."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(PIECES, SIDE * SIDE, generator=generator)

    def value(x: Tensor) -> Tensor:
        values = x.flatten(1) @ slopes.T
        return (values - values.mean(0)).amax(1)

    return value


def convolutional(channels: int) -> nn.Sequential:
    """Build the unconstrained network."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * SIDE * SIDE, 1),
    )


def train(net: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> None:
    """Adam on squares, as `fit_convex` does it."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,), generator=generator)
        optimiser.zero_grad()
        (net(x[rows]).reshape(-1) - y[rows]).square().mean().backward()
        optimiser.step()
        cycle.step()


@torch.no_grad()
def error(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean squared error relative to the variance of the targets."""
    return float((net(x).reshape(-1) - y).square().mean() / y.var())


def report(name: str, net: nn.Module, parts: tuple[Tensor, ...], begin: float, how: str = "") -> float:
    """Print errors and the verdict, replayed by the independent checker."""
    seconds = perf_counter() - begin
    x, y, test_x, test_y = parts
    verdict = jensen.check(net, BOX, input_shape=SHAPE, exact=True, time_limit=60.0)
    told: str = verdict.kind
    if verdict.kind == "convex" and verdict.certificate is not None:
        jensen.verify(verdict.certificate, jensen.as_network(net, input_shape=SHAPE).network)
        told = "convex, verified"
    train_error, test_error = error(net, x, y), error(net, test_x, test_y)
    print(f"{name:28} {train_error:10.4f} {test_error:10.4f} {seconds:8.1f}  {told:18} {how}", flush=True)
    return test_error


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="IDX file of images, such as t10k-images-idx3-ubyte.gz")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--channels", type=int, default=8)
    options = parser.parse_args()
    pictures = images(options.images)
    print(f"{len(pictures)} images; relative squared error")
    print(f"{'network':28} {'training':>10} {'test':>10} {'seconds':>8}  verdict")
    for seed in range(options.seeds):
        order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
        x = pictures[order]
        y = target(seed)(x)
        cut = 3 * len(x) // 4
        parts = x[:cut], y[:cut], x[cut:], y[cut:]
        torch.manual_seed(seed)
        nets: dict[str, nn.Module] = {
            "unconstrained": convolutional(options.channels),
            "ConvICNN": ConvICNN(SHAPE, (options.channels,) * 2, skips=False),
            "ConvICNN, input skips": ConvICNN(SHAPE, (options.channels,) * 2),
        }
        for name, net in nets.items():
            begin = perf_counter()
            train(net, *parts[:2], options.steps, seed)
            report(name, net, parts, begin)
        torch.manual_seed(seed)
        net = convolutional(options.channels)
        begin = perf_counter()
        # Seen from outside a network of vectors, whose entries are the pixels.
        flat = nn.Sequential(nn.Unflatten(1, SHAPE), net)
        result = fit_convex(flat, (parts[0].flatten(1), parts[1]), BOX, steps=options.steps, seed=seed)
        report("fit_convex", net, parts, begin, result.repair.how)


if __name__ == "__main__":
    main()
