"""Losses, training, and the honest choice of epochs and threshold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import cast

import torch
from torch import Tensor, nn

from experiments.tagging._data import Rows
from experiments.tagging._models import Energy, FeedForward, Model, Settings


def soft_f1(y: Tensor, target: Tensor) -> Tensor:
    """F1 of each row, with outputs in [0, 1] in place of labels."""
    return 2 * (y * target).sum(1) / (y.sum(1) + target.sum(1)).clamp_min(1e-6)


def loss_of(f1_share: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a loss: some 1 - F1, and for the rest the cross-entropy."""

    def loss(y: Tensor, target: Tensor) -> Tensor:
        y = y.clamp(1e-6, 1 - 1e-6)
        entropy = nn.functional.binary_cross_entropy(y, target, reduction="sum") / len(y)
        return f1_share * (1 - soft_f1(y, target).mean()) + (1 - f1_share) * entropy

    return loss


def train(
    model: Model,
    rows: Rows,
    loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    settings: Settings,
    after: Callable[[int], None] | None = None,
) -> None:
    """Train with Adam, and call `after` at the end of each epoch."""
    tuned = isinstance(model, Energy)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, settings.tuning_rate if tuned else settings.rate)
    batch = settings.tuning_batch if tuned else settings.batch
    for epoch in range(1, epochs + 1):
        model.train()
        for chosen in torch.split(torch.randperm(len(rows)), batch):
            some = rows.take(chosen)
            value = loss(model(some), some.labels)
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if after is not None:
            after(epoch)


@torch.no_grad()
def predict(model: Model, rows: Rows) -> Tensor:
    """Compute outputs for all rows."""
    model.eval()
    return torch.cat([model(rows.take(index)) for index in torch.split(torch.arange(len(rows)), 512)])


def decide(y: Tensor, threshold: float) -> Tensor:
    """Labels above the threshold, and always the highest: 0 and 1."""
    return ((y >= threshold) | (y >= y.amax(1, keepdim=True))).to(y)


def example_f1(labels: Tensor, target: Tensor) -> float:
    """Mean over the rows of the F1 of each; rows without any labels count 0."""
    return float(soft_f1(labels.double(), target.double()).mean())


def best_threshold(y: Tensor, target: Tensor) -> tuple[float, float]:
    """Find the threshold with the largest example-averaged F1, and that F1."""
    grid = torch.sigmoid(torch.linspace(-5.0, 3.0, 41)).tolist()
    found = [(example_f1(decide(y, t), target), t) for t in grid]
    value, threshold = max(found)
    return threshold, value


@dataclass(frozen=True)
class Figures:
    """What one run gave.

    Attributes
    ----------
    model : str
    seed : int
    example_f1, label_f1, half_f1 : float
        On the test rows: averaged over examples and over labels, and over examples with threshold 1/2.
    validation_f1 : float
        Averaged over examples; what the choices were made by.
    epochs : int
    threshold : float
    seconds : float
        Of processor time, warm start included.
    """

    model: str
    seed: int
    example_f1: float
    label_f1: float
    half_f1: float
    validation_f1: float
    epochs: int
    threshold: float
    seconds: float


LOSSES = ("cross-entropy", "F1")
KINDS = ("feed-forward", "PICNN")


def run(
    loss_name: str, seed: int, training: Rows, test: Rows, settings: Settings, tick: Callable[[], None]
) -> list[Figures]:
    """Choose epochs and threshold on validation rows, train on all training rows, and test.

    Parameters
    ----------
    loss_name : {"cross-entropy", "F1"}
    seed : int
        Of the validation rows and of everything random.
    training, test : Rows
    settings : Settings
    tick : callable
        Called at the end of each of `epochs` + `tuning_epochs` epochs.

    Returns
    -------
    list of Figures
        Of the feed-forward network and the PICNN that starts there.
    """
    begin = process_time()
    loss = loss_of(settings.f1_share if loss_name == "F1" else 0.0)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))
    aside = len(training) // 5
    known, validation = training.take(order[aside:]), training.take(order[:aside])

    def choose(model: Model, epochs: int) -> Choice:
        choice = Choice(validation, copy.deepcopy(model))

        def after(epoch: int) -> None:
            choice.look(model, epoch)
            tick()

        choice.look(model, 0)
        train(model, known, loss, epochs, settings, after)
        return choice

    def figures(kind: str, model: Model, choice: Choice) -> Figures:
        y = predict(model, test)
        labels = decide(y, choice.threshold)
        return Figures(
            f"{kind}, {loss_name}",
            seed,
            example_f1(labels, test.labels),
            label_f1(labels, test.labels),
            example_f1((y >= 0.5).to(y), test.labels),
            choice.f1,
            choice.epoch,
            choice.threshold,
            process_time() - begin,
        )

    torch.manual_seed(seed)
    shape = training.n_words, training.labels.shape[1]
    chosen = choose(FeedForward(*shape, settings), settings.epochs)
    plain = FeedForward(*shape, settings)
    train(plain, training, loss, chosen.epoch, settings)
    result = [figures(KINDS[0], plain, chosen)]
    tuned = choose(Energy(cast(FeedForward, chosen.best), settings), settings.tuning_epochs)
    energy = Energy(plain, settings)
    train(energy, training, loss, tuned.epoch, settings)
    return [*result, figures(KINDS[1], energy, tuned)]


@dataclass
class Choice:
    """The best epoch of a run on the training rows that are left after some have been put aside."""

    rows: Rows
    best: Model
    f1: float = -1.0
    epoch: int = 0
    threshold: float = 0.5

    def look(self, model: Model, epoch: int) -> None:
        """Judge an epoch."""
        threshold, value = best_threshold(predict(model, self.rows), self.rows.labels)
        if value > self.f1:
            self.best, self.f1, self.epoch, self.threshold = copy.deepcopy(model), value, epoch, threshold


def label_f1(labels: Tensor, target: Tensor) -> float:
    """Mean over the labels of the F1 of each."""
    return float(soft_f1(labels.T.double(), target.T.double()).mean())
