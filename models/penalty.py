"""A convexity penalty on sampled frontiers, and a training loop that uses it.

Along a random line through a box, a ReLU network bends exactly where a neuron switches, and the bend has
the sign of that neuron's adjoint g_v = df/dh_v. The penalty finds the switches by a fine grid, goes to
each by interpolation, and charges `relu(margin - g_v)` there. It sees only frontiers that its lines cross,
so it makes convexity likely; whether the network *is* convex is for `jensen.check` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

Target = Callable[[Tensor], Tensor]


class SkipMLP(nn.Module):
    """An ordinary ReLU multilayer perceptron with, if asked, the input fed to every layer.

    Parameters
    ----------
    inputs : int
        Number of inputs d; the model maps (batch, d) to (batch, 1).
    widths : sequence of int
        Numbers of neurons of the hidden layers.
    skips : bool, default False
        Whether later layers and the output read the input too.
    spread : float, default 1
        Multiplies PyTorch's initial weights of the later layers. With 2, more of them are still negative
        when training with the penalty ends.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], *, skips: bool = False, spread: float = 1.0
    ) -> None:
        super().__init__()
        sizes = [inputs, *widths, 1]
        self.first = nn.Linear(inputs, sizes[1])
        self.later = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes[1:]))
        self.skips = nn.ModuleList(nn.Linear(inputs, b, bias=False) for b in (sizes[2:] if skips else []))

        with torch.no_grad():
            for weight in self.later_weights():
                weight.mul_(spread)

    @torch.no_grad()
    def centre(self, lo: Tensor, hi: Tensor) -> None:
        """Compose the network with the affine map from the box to [-1, 1]^d, where kinks are plentiful."""
        scale, middle = 2 / (hi - lo), (lo + hi) / 2
        self.first.weight.mul_(scale)
        self.first.bias.sub_(self.first.weight @ middle)
        for layer, skip in zip(self.later, self.skips, strict=False):
            weight = cast(nn.Linear, skip).weight
            weight.mul_(scale)
            cast(nn.Linear, layer).bias.sub_(weight @ middle)

    def preactivations(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Pre-activations of the hidden layers, each (batch, n_l), and the output, (batch, 1)."""
        z = self.first(x)
        hidden: list[Tensor] = []
        for position, layer in enumerate(self.later):
            hidden.append(z)
            z = layer(torch.relu(z))
            if self.skips:
                z = z + self.skips[position](x)
        return hidden, z

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, d) to (batch, 1)."""
        return self.preactivations(x)[1]

    def adjoints(self, patterns: Sequence[Tensor]) -> list[Tensor]:
        """g_v of every hidden neuron, as (batch, n_l) tensors, for activation patterns of those shapes."""
        weights = self.later_weights()
        g = weights[-1].expand(len(patterns[0]), -1)
        adjoints = [g]
        for weight, pattern in zip(reversed(weights[:-1]), reversed(patterns[1:]), strict=True):
            g = (g * pattern) @ weight
            adjoints.append(g)
        return adjoints[::-1]

    def later_weights(self) -> list[Tensor]:
        """Weights after the first layer, the output's last; skips left out. An ICNN has them nonnegative."""
        return [cast(nn.Linear, layer).weight for layer in self.later]

    def negative_share(self) -> float:
        """Share of the later weights that are negative."""
        return float((torch.cat([w.detach().flatten() for w in self.later_weights()]) < 0).float().mean())


def random_chords(count: int, lo: Tensor, hi: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """End points of random segments in a box, two (count, d) tensors.

    A third lie between points that crowd near the faces, a third are full chords through a uniform point,
    the others lie between uniform points.
    """
    d = len(lo)
    u = torch.rand(2, count, d, generator=generator)
    third = count // 3
    u[:, :third] = 0.5 + 0.5 * torch.sin((u[:, :third] - 0.5) * torch.pi)  # piles up near the faces
    middle, direction = u[0, third : 2 * third], torch.randn(third, d, generator=generator)
    to_face = torch.where(direction > 0, 1 - middle, -middle) / direction
    back = torch.where(direction > 0, middle, middle - 1) / direction
    u[0, third : 2 * third] = middle - back.amin(1, keepdim=True) * direction
    u[1, third : 2 * third] = middle + to_face.amin(1, keepdim=True) * direction
    p, q = lo + (hi - lo) * u
    return p, q


def frontier_adjoints(net: SkipMLP, p: Tensor, q: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Adjoints of the neurons that switch on the segments p to q.

    Parameters
    ----------
    net : SkipMLP
    p, q : (count, d) tensors
        End points.
    steps : int
        Grid intervals per segment; a neuron that switches twice within one is missed.

    Returns
    -------
    g : (k,) tensor
        The adjoints at the k switches, differentiable in the weights.
    segment : (k,) tensor of int64
        On which segment each switch lies.
    """
    with torch.no_grad():
        t = torch.linspace(0, 1, steps + 1)
        grid = p[:, None] + t[:, None] * (q - p)[:, None]
        hidden = [z.view(len(p), steps + 1, -1) for z in net.preactivations(grid.flatten(0, 1))[0]]
        points, neurons, layers, segments = [], [], [], []
        for layer, z in enumerate(hidden):
            left, right = z[:, :-1], z[:, 1:]
            i, k, v = torch.nonzero((left > 0) != (right > 0), as_tuple=True)
            a, b = left[i, k, v], right[i, k, v]
            where = (t[k] + a / (a - b) / steps)[:, None]
            points.append(p[i] + where * (q - p)[i])
            neurons.append(v)
            segments.append(i)
            layers.append(torch.full_like(v, layer))
        x, v, layer_of = torch.cat(points), torch.cat(neurons), torch.cat(layers)
        patterns = [(z > 0).to(x.dtype) for z in net.preactivations(x)[0]]
    if not len(x):
        return torch.zeros(0), torch.cat(segments)
    every = net.adjoints(patterns)
    g = torch.cat([every[layer][layer_of == layer, v[layer_of == layer]] for layer in range(len(hidden))])
    return g, torch.cat(segments)


@dataclass(frozen=True)
class Recipe:
    """How to train: steps, batch of points, batch of lines, penalty weight and the margin asked of g_v."""

    steps: int = 4000
    points: int = 512
    lines: int = 48
    grid: int = 48
    penalty: float = 30.0
    margin: float = 0.02
    rate: float = 4e-3
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What training reached: squared error over the target's variance; adjoints at sampled switches."""

    error: float
    sampled: int
    violations: int
    worst: float


def fit(net: SkipMLP, target: Target, lo: Tensor, hi: Tensor, recipe: Recipe) -> Outcome:
    """Fit a network to a target on a box, charging every sampled frontier that bends down.

    Half of the lines are those that bent down most in the step before, so that rare violations are
    found again until they are gone. In the last quarter the penalty weighs ten times as much.

    Parameters
    ----------
    net : SkipMLP
        Trained in place.
    target : callable
        Maps (batch, d) to (batch, 1).
    lo, hi : (d,) tensors
        The box.
    recipe : Recipe

    Returns
    -------
    Outcome
        Measured on fresh samples after training.
    """
    generator = torch.Generator().manual_seed(recipe.seed)

    def sample(count: int) -> Tensor:
        return lo + (hi - lo) * torch.rand(count, len(lo), generator=generator)

    net.centre(lo, hi)
    variance = float(target(sample(4096)).var())
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    kept = torch.zeros(0, len(lo)), torch.zeros(0, len(lo))
    for step in range(recipe.steps):
        x = sample(recipe.points)
        loss = (net(x) - target(x)).square().mean() / variance
        fresh = random_chords(recipe.lines - len(kept[0]), lo, hi, generator)
        p, q = torch.cat([kept[0], fresh[0]]), torch.cat([kept[1], fresh[1]])
        g, segment = frontier_adjoints(net, p, q, recipe.grid)
        short = torch.relu(recipe.margin - g)
        weight = recipe.penalty * (10.0 if step > 0.75 * recipe.steps else 1.0) * min(1.0, step / 500)
        loss = loss + weight * short.sum() / recipe.lines / len(net.later)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            worst = torch.zeros(len(p)).index_add_(0, segment, short)
            ranked = torch.argsort(worst, descending=True)[: recipe.lines // 2]
            kept = p[ranked[worst[ranked] > 0]], q[ranked[worst[ranked] > 0]]
    with torch.no_grad():
        x = sample(20000)
        error = float((net(x) - target(x)).square().mean()) / variance
        g = frontier_adjoints(net, *random_chords(2000, lo, hi, generator), 200)[0]
    return Outcome(error, len(g), int((g < 0).sum()), float(g.min()) if len(g) else float("inf"))


def max_affine(inputs: int, pieces: int, seed: int) -> Target:
    """Maximum of random affine functions: normal slopes and offsets, and a smaller slope common to all.

    Each piece's own slope and its offset have variance one on [-1, 1]^inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(pieces, inputs, generator=generator)
    slopes = (slopes + 0.7 * torch.randn(inputs, generator=generator)) * (3 / inputs) ** 0.5
    offsets = torch.randn(pieces, generator=generator)
    return lambda x: (x @ slopes.T + offsets).amax(1, keepdim=True)
