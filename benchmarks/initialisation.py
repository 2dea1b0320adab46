"""Initial signals and first training steps of input convex networks, principled against torch's.

Two tables over depths 2 to 10. Signals: mean over neurons of the variance, of the absolute mean and of the
correlation of two neurons, in the last hidden layer, for standard normal inputs. Training: mean squared
error, on standardised values of a maximum of 30 affine functions in 10 inputs, before training and after
some steps of Adam; a network that predicts the mean scores 1. "torch" draws the free parameters as
`torch.nn.Linear` does and sends them through the map. Run `python -m benchmarks.initialisation`; about five
minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jensen.nn import CONSTRAINTS, FICNN

DEPTHS = (2, 4, 6, 8, 10)
INPUTS, WIDTH = 10, 64


def network(depth: int, constraint: str, initialisation: str, seed: int, activation: str = "relu") -> FICNN:
    """Build a network of `depth` hidden layers."""
    torch.manual_seed(seed)
    widths = [WIDTH] * depth
    if initialisation == "torch":
        return FICNN(INPUTS, widths, activation, constraint=constraint, initialisation="torch")
    return FICNN(INPUTS, widths, activation, constraint=constraint)


def signals(net: FICNN) -> tuple[float, float, float]:
    """Return variance, absolute mean and correlation of the last hidden layer's pre-activations."""
    seen: list[Tensor] = []
    handle = net.activation.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    with torch.no_grad():
        net(torch.randn(4096, INPUTS))
    handle.remove()
    z = seen[-1].double()
    matrix = torch.corrcoef(z.T)
    n = len(matrix)
    return (
        float(z.var(0).mean()),
        float(z.mean(0).abs().mean()),
        float((matrix.sum() - matrix.trace()) / (n * (n - 1))),
    )


def target(seed: int) -> Callable[[Tensor], Tensor]:
    """Draw a maximum of 30 affine functions, standardised on normal inputs."""
    generator = torch.Generator().manual_seed(seed)
    slopes, offsets = torch.randn(30, INPUTS, generator=generator), torch.randn(30, generator=generator) / 2
    sample = (torch.randn(4096, INPUTS, generator=generator) @ slopes.T + offsets).amax(1)
    return lambda x: ((x @ slopes.T + offsets).amax(1) - sample.mean()) / sample.std()


def curve(net: FICNN, seed: int, marks: Sequence[int], rate: float) -> list[float]:
    """Train with Adam; return the mean squared error on fresh points after each of `marks` steps."""
    generator = torch.Generator().manual_seed(seed + 1)
    function = target(seed)
    test = torch.randn(2048, INPUTS, generator=generator)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    errors = []
    for step in range(max(marks) + 1):
        if step in marks:
            with torch.no_grad():
                errors.append(float((net(test) - function(test)).square().mean()))
        x = torch.randn(256, INPUTS, generator=generator)
        optimiser.zero_grad()
        (net(x) - function(x)).square().mean().backward()
        optimiser.step()
    return errors


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--constraints", nargs="+", default=list(CONSTRAINTS), choices=CONSTRAINTS)
    options = parser.parse_args()
    kinds = [(c, i) for c in options.constraints for i in ("principled", "torch")]

    print(f"signals in the last hidden layer ({INPUTS} inputs, width {WIDTH}): variance, |mean|, correlation")
    print(f"{'constraint':14}{'initial':12}" + "".join(f"{f'depth {d}':>24}" for d in DEPTHS))
    for constraint, kind in kinds:
        cells = (signals(network(depth, constraint, kind, 0)) for depth in DEPTHS)
        print(f"{constraint:14}{kind:12}" + "".join(f"{v:>10.2g}{m:>8.2g}{c:>6.2f}" for v, m, c in cells))

    marks = [0, options.steps // 10, options.steps]
    print(f"\nmean squared error after {', '.join(map(str, marks))} steps of Adam, rate {options.rate:g}")
    print(f"{'constraint':14}{'initial':12}" + "".join(f"{f'depth {d}':>27}" for d in DEPTHS))
    for constraint, kind in kinds:
        row = f"{constraint:14}{kind:12}"
        for depth in DEPTHS:
            runs = [
                curve(network(depth, constraint, kind, seed), seed, marks, options.rate)
                for seed in range(options.seeds)
            ]
            row += "".join(f"{sum(v) / len(v):>9.2g}" for v in zip(*runs, strict=True))
        print(row, flush=True)


if __name__ == "__main__":
    main()
