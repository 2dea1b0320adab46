"""Trains the models of this directory: ``python -m models.train [NAME ...]`` from the repository's root.

Everything is seeded and runs on one core in a few minutes. What each model computes is told in README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import parametrize

from models.penalty import Outcome, Recipe, SkipMLP, fit

HERE = Path(__file__).parent
LINE = 0.25
"""Capacity of the line between the two towns of `dispatch_cost`; demands are shares of the peak."""
FLEET = ((0.15, 0.1), (0.15, 0.4), (0.2, 0.8), (0.15, 1.3), (0.15, 2.0), (float("inf"), 3.0))
"""Capacity and price of the first town's plants, cheapest first."""
WIND = 0.2
GAS = ((0.2, 0.8), (0.2, 1.0), (0.2, 1.25))
"""Capacity of the second town's gas plants and the gas they burn per unit; wind is free, oil costs 2.5."""


class Nonnegative(nn.Module):
    """Parametrisation of nonnegative weights."""

    def forward(self, weight: Tensor) -> Tensor:
        """Map any weight to a positive one of the same shape."""
        return softplus(weight, beta=10.0)


def dispatch_cost(x: Tensor) -> Tensor:
    """Least cost of meeting the demands of two towns, (batch, 2 or 3) to (batch, 1).

    The columns are the two demands and, if given, the price of gas (1 otherwise). Each town runs its own
    plants in order of their price, and the line between them carries up to `LINE` either way. At an optimal
    flow some capacity binds, so trying those flows is exact. As the value of a linear programme the cost
    is convex in the demands and concave in the price.
    """
    first, second = x[:, :1], x[:, 1:2]
    gas = x[:, 2:3] if x.shape[1] == 3 else torch.ones_like(first)
    flows, level = [torch.full_like(first, -LINE), torch.full_like(first, LINE)], 0.0
    for capacity, _ in FLEET:
        flows.append(level - first)
        level += capacity
    flows += [second, *(second - WIND - sum(c for c, _ in GAS[:k]) for k in range(len(GAS) + 1))]
    flow = torch.cat(flows, 1).clamp(-LINE, LINE)
    here, there = first + flow, second - flow
    cost = torch.zeros_like(flow)
    for capacity, price in FLEET:
        cost = cost + price * here.clamp(0, capacity)
        here = here - capacity
    there = there - WIND
    for capacity, burnt in GAS:
        cost = cost + gas * burnt * there.clamp(0, capacity)
        there = there - capacity
    return (cost + 2.5 * there.clamp(min=0)).amin(1, keepdim=True)


def trading_cost(x: Tensor) -> Tensor:
    """Risk and fees of ten positions: sqrt(x' S x) + 0.1 |x|_1 with a factor covariance S; (batch, 1)."""
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(10, 3, generator=generator) / 3
    return ((x @ factors).square().sum(1, keepdim=True) + 0.05 * x.square().sum(1, keepdim=True)).sqrt() + (
        0.1 * x.abs().sum(1, keepdim=True)
    )


def free_energy(x: Tensor) -> Tensor:
    """Free energy log sum_i exp(m_i . x) of twelve states with random moments in four fields; (batch, 1)."""
    moments = torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    return torch.logsumexp(x @ moments.T, 1, keepdim=True)


class PricedCost(SkipMLP):
    """A `SkipMLP` of the demands and the price, plus a small perceptron that reads the price alone.

    Where every neuron sees the demands, convex in the demands means convex in everything; the second part
    lets the cost be concave in the price.
    """

    def __init__(self) -> None:
        super().__init__(3, (12, 12, 12), skips=True, spread=2.0)
        self.price = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3) to (batch, 1)."""
        return super().forward(x) + cast(Tensor, self.price(x[:, 2:3]))


def cartoon_patches(count: int, generator: torch.Generator) -> Tensor:
    """Patches of 8 x 8 pixels with one straight edge and a constant on either side, as (count, 1, 8, 8)."""
    angle = torch.rand(count, 1, 1, generator=generator) * 2 * torch.pi
    offset = torch.randn(count, 1, 1, generator=generator) * 2
    rows, columns = torch.meshgrid(torch.arange(8.0) - 3.5, torch.arange(8.0) - 3.5, indexing="ij")
    side = (rows * torch.cos(angle) + columns * torch.sin(angle) > offset).float()
    a, b = torch.rand(2, count, 1, 1, generator=generator)
    patches: Tensor = a * side + b * (1 - side)
    return patches.unsqueeze(1)


def convolutional_regulariser() -> nn.Sequential:
    """Build a regulariser of patches, (batch, 1, 8, 8) to (batch, 1), with nonnegative later weights."""
    later = nn.Conv2d(8, 8, 3, padding=1)
    last = nn.Linear(8 * 16, 1)
    parametrize.register_parametrization(later, "weight", Nonnegative())
    parametrize.register_parametrization(last, "weight", Nonnegative())
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        later,
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        last,
    )


def save_pt2(model: nn.Module, inputs: tuple[int, ...], name: str) -> None:
    """Export a model with a free batch size to ``name.pt2``."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(model.eval(), (torch.zeros(2, *inputs),), dynamic_shapes=({0: batch},))
    torch.export.save(program, HERE / f"{name}.pt2")


def save_onnx(model: nn.Module, inputs: int, name: str) -> None:
    """Export a model with a free batch size to ``name.onnx``, weights inside."""
    torch.onnx.export(
        model.eval(),
        (torch.zeros(2, inputs),),
        HERE / f"{name}.onnx",
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _say(name: str, net: SkipMLP, outcome: Outcome) -> None:
    print(
        f"{name}: squared error / variance {outcome.error:.2g}, negative later weights "
        f"{net.negative_share():.0%}, {outcome.violations} of {outcome.sampled} sampled frontiers bend down",
        flush=True,
    )


def convex_not_icnn() -> None:
    """Fit a (16, 16) perceptron with input skips to the dispatch cost on [0, 1]^2 with the penalty."""
    torch.manual_seed(0)
    net = SkipMLP(2, (16, 16), skips=True, spread=2.0)
    recipe = Recipe(steps=6000, points=1024, penalty=10.0, rate=1e-2, margin=0.05)
    outcome = fit(net, dispatch_cost, torch.zeros(2), torch.ones(2), recipe)
    _say("convex_not_icnn", net, outcome)
    save_pt2(net, (2,), "convex_not_icnn")


def icnn() -> None:
    """Fit an input-convex network, (24, 24) with skips, to the free energy on [-2, 2]^4."""
    torch.manual_seed(0)
    net = SkipMLP(4, (24, 24), skips=True)
    for layer in net.later:
        parametrize.register_parametrization(layer, "weight", Nonnegative())
    recipe = Recipe(steps=4000, points=1024, penalty=0.0, rate=1e-2, lines=2, grid=2)
    outcome = fit(net, free_energy, torch.full((4,), -2.0), torch.full((4,), 2.0), recipe)
    _say("icnn", net, outcome)
    save_pt2(net, (4,), "icnn")


def looks_convex() -> None:
    """Fit a (20, 20) perceptron to the trading cost on [-1, 1]^10 with the penalty."""
    torch.manual_seed(0)
    net = SkipMLP(10, (20, 20), spread=2.0)
    recipe = Recipe(steps=6000, points=1024, penalty=10.0, rate=1e-2)
    outcome = fit(net, trading_cost, -torch.ones(10), torch.ones(10), recipe)
    _say("looks_convex", net, outcome)
    save_onnx(net, 10, "looks_convex")


def skip() -> None:
    """Fit a `PricedCost` to the dispatch cost: convex in the demands, not in the price."""
    torch.manual_seed(0)
    net = PricedCost()
    recipe = Recipe(steps=6000, points=1024, penalty=10.0, rate=1e-2, lines=96, margin=0.1)
    outcome = fit(net, dispatch_cost, torch.tensor([0.0, 0.0, 0.5]), torch.tensor([1.0, 1.0, 1.5]), recipe)
    _say("skip", net, outcome)
    save_onnx(net, 3, "skip")


def conv() -> None:
    """Train a convolutional regulariser that scores noisy cartoon patches above clean ones."""
    torch.manual_seed(0)
    net = convolutional_regulariser()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(600):
        clean = cartoon_patches(128, generator)
        noisy = clean + 0.01 * torch.randn(clean.shape, generator=generator)
        scores = net(torch.cat([clean, noisy]))[:, 0]
        loss = softplus(1 - (scores[128:] - scores[:128])).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    net.eval()
    with torch.no_grad():
        clean = cartoon_patches(5000, generator)
        noisy = clean + 0.01 * torch.randn(clean.shape, generator=generator)
        told = float((net(noisy) > net(clean)).float().mean())
    print(f"conv: ranks the noisy patch above the clean one in {told:.1%} of 5000 fresh pairs", flush=True)
    save_pt2(net, (1, 8, 8), "conv")


MODELS: dict[str, Callable[[], None]] = {
    train.__name__: train for train in (convex_not_icnn, icnn, looks_convex, skip, conv)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the named models, or all of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.names:
        MODELS[name]()


if __name__ == "__main__":
    main()
