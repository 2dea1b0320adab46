"""An ICNN as tutorials write it: weights made nonnegative once, at construction, and left free from then on.

The network is convex as constructed. After some steps of Adam weights are negative and it is not;
`jensen.check` proves both, the latter by three points. Run `python -m experiments.tutorial_icnn`; seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import jensen

INPUTS, WIDTH = 2, 16


class TutorialICNN(nn.Module):
    """Two hidden layers of softplus with skips, plus x^2; nothing keeps its weights nonnegative."""

    def __init__(self, in_features: int = INPUTS, width: int = WIDTH) -> None:
        super().__init__()
        self.in_features = in_features
        self.first = nn.Linear(in_features, width)
        self.hidden = nn.Linear(width, width, bias=False)
        self.skip = nn.Linear(in_features, width)
        self.last = nn.Linear(width, 1)
        with torch.no_grad():
            self.hidden.weight.abs_()
            self.last.weight.abs_()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_features) to (n, 1)."""
        z = functional.softplus(self.first(x))
        z = functional.softplus(self.hidden(z) + self.skip(x))
        value: Tensor = self.last(z) + x.square().sum(1, keepdim=True)
        return value


def fitted(steps: int, seed: int = 0) -> TutorialICNN:
    """Fit a function with hills and valleys by Adam."""
    torch.manual_seed(seed)
    model = TutorialICNN()
    x = 4 * torch.rand(512, INPUTS) - 2
    target = torch.sin(3 * x[:, :1]) + torch.cos(2 * x[:, 1:])
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.mse_loss(model(x), target).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for steps in (0, options.steps):
        model = fitted(steps)
        negative = sum(int((layer.weight < 0).sum()) for layer in (model.hidden, model.last))
        print(f"after {steps} steps of Adam, {negative} negative weights:\n{jensen.check(model)}")


if __name__ == "__main__":
    main()
