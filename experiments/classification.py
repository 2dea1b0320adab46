"""Two-dimensional classification with input convex networks, and pictures of what they decide.

After the demonstration of Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML 2017), on three toy data
sets of scikit-learn: moons, circles and linearly separable clouds, 100 points each, with the noise of
scikit-learn's comparison of classifiers. Widths, loss and training are our own. Three classifiers:

- FICNN, f(x): class 1 where f(x) < 0, a convex set whatever is learnt. P(1 | x) = sigmoid(-f(x)).
- FICNN, f(x, y), convex in the point and its label together, and PICNN, f(x, y), convex in the label only.
  Both are energies: P(1 | x) is the y in (0, 1) that minimises f(x, y) + y log y + (1 - y) log(1 - y), found
  by bisection, and the loss is differentiated through the minimiser. The entropy keeps y off 0 and 1.

All are trained by the cross-entropy; held-out accuracy is on 1000 further points. The first has ReLUs, and
energies have softplus, so that their minimisers move smoothly. `jensen.check` proves all of them convex, the
PICNN in y for all x together and as `net.at(x)` at several x.
Run `python -m experiments.classification --picture FILE`; two minutes on one core. It needs scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, pstdev

import numpy as np
import torch
from torch import Tensor, nn

import jensen
from jensen.nn import FICNN, PICNN

DATA = ("moons", "circles", "linear")
POINTS, HELD_OUT = 100, 1000
WIDTHS = (32, 32)
REACH = 15.0
"""Largest log-odds that inference looks at."""

Energy = Callable[[Tensor, Tensor], Tensor]
Sample = tuple[Tensor, Tensor]


def data(name: str, seed: int) -> tuple[Sample, Sample]:
    """Draw points for training and held-out ones, (n, 2), with labels 0 and 1; standardised together."""
    from sklearn.datasets import (
        make_circles,
        make_classification,
        make_moons,
    )

    count = POINTS + HELD_OUT
    if name == "moons":
        x, y = make_moons(count, noise=0.3, random_state=seed)
    elif name == "circles":
        x, y = make_circles(count, noise=0.2, factor=0.5, random_state=seed)
    else:  # the clouds stay where they are, whatever the seed
        x, y = make_classification(
            5 * count, 2, n_redundant=0, random_state=1, n_clusters_per_class=1, class_sep=1.5
        )
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(x))[:count]
        x, y = x[chosen] + 2.0 * random.random((count, 2)), y[chosen]
    inputs = torch.from_numpy(x).float()
    labels = torch.from_numpy(y).float()
    inputs = (inputs - inputs[:POINTS].mean(0)) / inputs[:POINTS].std(0)
    return (inputs[:POINTS], labels[:POINTS]), (inputs[POINTS:], labels[POINTS:])


class Sublevel(nn.Module):
    """A FICNN in x: the log-odds of class 1 are -f(x)."""

    title = "FICNN, $f(x) < 0$"
    label = "FICNN, f(x)"

    def __init__(self) -> None:
        super().__init__()
        self.net = FICNN(2, WIDTHS)

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds of class 1, (batch,)."""
        value: Tensor = -self.net(x)
        return value

    def verdicts(self, x: Tensor) -> list[str]:
        """Say whether f is convex, by `jensen.check`."""
        return [jensen.check(self.net).kind]


def log_odds(energy: Energy, x: Tensor, halvings: int = 12) -> Tensor:
    """Log-odds s of the minimiser y of energy(x, y) - entropy(y), differentiable in the energy's parameters.

    The slope s + df/dy(x, sigmoid(s)) increases with s: bisection finds its root, and a last Newton step
    makes it exact to second order and carries the gradient, because it is what implicit differentiation says.

    Parameters
    ----------
    energy : callable
        Maps (batch, 2) points and (batch, 1) labels to (batch,); convex in the labels and smooth.
    x : (batch, 2) tensor
    halvings : int

    Returns
    -------
    (batch,) tensor
    """

    def slope(s: Tensor, graph: bool) -> Tensor:
        y = torch.sigmoid(s)[:, None]
        y = y if y.requires_grad else y.requires_grad_()
        (g,) = torch.autograd.grad(energy(x, y).sum(), y, create_graph=graph)
        return s + g.squeeze(1)

    low, high = x.new_full((len(x),), -REACH), x.new_full((len(x),), REACH)
    for _ in range(halvings):
        middle = (low + high) / 2
        below = slope(middle, graph=False) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    s = ((low + high) / 2).requires_grad_()
    residual = slope(s, graph=True)
    (rate,) = torch.autograd.grad(residual.sum(), s, retain_graph=True)
    return s.detach() - residual / rate.detach()


class Joint(nn.Module):
    """A FICNN in the point and the label: an energy whose minimiser over the label is the prediction."""

    title = r"FICNN, $\mathrm{argmin}_y\, f(x, y)$"
    label = "FICNN, f(x, y)"

    def __init__(self) -> None:
        super().__init__()
        self.net = FICNN(3, WIDTHS, "softplus")

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """f(x, y), (batch,)."""
        value: Tensor = self.net(torch.cat([x, y], dim=1))
        return value

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds of class 1, (batch,)."""
        return log_odds(self.energy, x)

    def verdicts(self, x: Tensor) -> list[str]:
        """Say whether f is convex in x and y together, by rules."""
        return [jensen.check(self.net).kind]


class Partial(nn.Module):
    """A PICNN: an energy that is convex in the label, and arbitrary in the point."""

    title = r"PICNN, $\mathrm{argmin}_y\, f(x, y)$"
    label = "PICNN, f(x, y)"

    def __init__(self) -> None:
        super().__init__()
        self.net = PICNN(2, 1, WIDTHS, activation="softplus", x_activation=nn.Softplus())

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """f(x, y), (batch,)."""
        value: Tensor = self.net(x, y)
        return value

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds of class 1, (batch,)."""
        return log_odds(self.energy, x)

    def verdicts(self, x: Tensor) -> list[str]:
        """Say whether f is convex in y, by rules: for all x together, and at each of five points."""
        return [jensen.check(self.net).kind, *(jensen.check(self.net.at(point)).kind for point in x[:5])]


Classifier = Sublevel | Joint | Partial
CLASSIFIERS: tuple[type[Classifier], ...] = (Sublevel, Joint, Partial)


def train(model: nn.Module, sample: Sample, steps: int, decay: float) -> None:
    """Minimise the cross-entropy with Adam, on all points at once."""
    x, y = sample
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def accuracy(model: nn.Module, sample: Sample) -> float:
    """Share of points whose class is predicted."""
    x, y = sample
    return float(((model(x) > 0) == (y > 0.5)).float().mean())


@dataclass
class Result:
    """Accuracies and verdicts of one classifier on one data set, over all seeds; its first network."""

    first: Classifier | None = None
    trained: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)


def run(name: str, kind: type[Classifier], seeds: int, steps: int, decay: float) -> Result:
    """Train one classifier on several draws of a data set."""
    result = Result()
    for seed in range(seeds):
        known, fresh = data(name, seed)
        torch.manual_seed(seed)
        model = kind()
        train(model, known, steps, decay)
        result.first = result.first or model
        result.trained.append(accuracy(model, known))
        result.held_out.append(accuracy(model, fresh))
        result.verdicts += model.verdicts(fresh[0])
    return result


def picture(path: Path, names: Sequence[str], results: dict[tuple[str, str], Result]) -> None:
    """Draw data sets and, beside each, what the first networks make of the plane."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    ink, colours = "#1f2933", ("#c2410c", "#2b6cb0")
    shades = LinearSegmentedColormap.from_list(
        "classes", ["#f0a57a", "#fbe3d3", "#fafafa", "#d6e4f3", "#7fadda"]
    )
    figure = Figure(figsize=(10.4, 0.3 + 2.6 * len(names)), layout="constrained", facecolor="white")
    axes = figure.subplots(len(names), 1 + len(CLASSIFIERS), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        known, fresh = data(name, 0)
        reach = (torch.cat([known[0], fresh[0][:200]]).abs().amax(0) + 0.3).tolist()
        across, up = (np.linspace(-float(r), float(r), 181) for r in reach)
        grid = torch.from_numpy(np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)).float()
        for plot, kind in zip(row, (None, *CLASSIFIERS), strict=True):
            if kind is None:
                plot.scatter(
                    *fresh[0][:200].T, s=9, c=[colours[int(v)] for v in fresh[1][:200]], alpha=0.25, lw=0
                )
                plot.set_ylabel(name, fontsize=12, color=ink)
            else:
                result = results[name, kind.label]
                assert result.first is not None
                odds = result.first(grid).detach().reshape(181, 181).numpy()
                plot.contourf(across, up, 1 / (1 + np.exp(-odds)), levels=np.linspace(0, 1, 21), cmap=shades)
                plot.contour(across, up, odds, levels=[-2.0, 2.0], colors=ink, linewidths=0.6, linestyles=":")
                plot.contour(across, up, odds, levels=[0.0], colors=ink, linewidths=1.8)
                plot.text(
                    0.97, 0.03, f"{100 * result.held_out[0]:.0f} %", transform=plot.transAxes, ha="right",
                    fontsize=11, color=ink, bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 2},
                )  # fmt: skip
            plot.scatter(
                *known[0].T,
                s=20,
                c=[colours[int(v)] for v in known[1]],
                edgecolors="white",
                linewidths=0.6,
                zorder=3,
            )
            if name == names[0]:
                plot.set_title("100 points" if kind is None else kind.title, fontsize=12, color=ink, pad=8)
            plot.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]), xticks=[], yticks=[])
            for spine in plot.spines.values():
                spine.set_color("#cbd2d9")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and, if asked, draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--decay", type=float, default=0.5, help="weight decay")
    parser.add_argument("--picture", type=Path, help="file for the decision surfaces of the first seed")
    options = parser.parse_args(arguments)
    results: dict[tuple[str, str], Result] = {}
    print("| data | classifier | training accuracy (%) | held-out accuracy (%) | proved convex |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.data:
        for kind in CLASSIFIERS:
            result = run(name, kind, options.seeds, options.steps, options.decay)
            results[name, kind.label] = result
            figures = (
                f"{100 * mean(v):.1f} ± {100 * pstdev(v):.1f}" for v in (result.trained, result.held_out)
            )
            proved = f"{result.verdicts.count('convex')} of {len(result.verdicts)}"
            print(f"| {name} | {kind.label} | {' | '.join(figures)} | {proved} |", flush=True)
    if options.picture is not None:
        picture(options.picture, options.data, results)


if __name__ == "__main__":
    main()
