"""A feed-forward network over words, and a PICNN whose minimiser is the prediction."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from experiments.tagging._data import Rows
from jensen.minimize import ArgminLayer, minimize_entropy
from jensen.nn import PICNN

TOLERANCE = 1e-5
"""Gap of predictions, relative to max(1, |value|)."""
STEPS, STEP = 4, 4.0
"""Of mirror descent in training: for an f linear in y, y's log-odds are off by 1 in 625 of what they are."""
START = 0.3
"""Size of what is added to a feed-forward network's energy at first."""


@dataclass(frozen=True)
class Settings:
    """What decides a result besides data and seed; chosen on validation rows.

    Attributes
    ----------
    width, label_width : int
        Hidden layers.
    epochs, tuning_epochs : int
        The most for the feed-forward networks, and for the PICNNs that start there.
    rate, tuning_rate : float
        Of Adam.
    word_dropout, dropout : float
        Of the inputs and of the first hidden layer.
    f1_share : float
        Of 1 - F1 in the losses that hold it.
    batch, tuning_batch : int
    """

    width: int = 600
    label_width: int = 159
    epochs: int = 15
    tuning_epochs: int = 2
    rate: float = 5e-3
    tuning_rate: float = 1e-3
    word_dropout: float = 0.3
    dropout: float = 0.7
    f1_share: float = 0.9
    batch: int = 64
    tuning_batch: int = 128


class Words(nn.Module):
    """A layer of ReLUs over the words of a row; only the words that are there cost anything."""

    def __init__(self, n_words: int, settings: Settings) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(n_words + 1, settings.width, mode="sum", padding_idx=n_words)
        nn.init.normal_(self.table.weight, std=0.3)
        with torch.no_grad():
            self.table.weight[n_words] = 0.0
        self.bias = nn.Parameter(torch.zeros(settings.width))
        self.word_dropout, self.dropout = nn.Dropout(settings.word_dropout), nn.Dropout(settings.dropout)

    def forward(self, rows: Rows) -> Tensor:
        """Values (n, width), nonnegative."""
        values = self.table(rows.words, per_sample_weights=self.word_dropout(rows.weights))
        hidden: Tensor = self.dropout(torch.relu(values + self.bias))
        return hidden


class FeedForward(nn.Module):
    """One hidden layer and sigmoids."""

    def __init__(self, n_words: int, n_labels: int, settings: Settings) -> None:
        super().__init__()
        self.encoder = Words(n_words, settings)
        self.out = nn.Linear(settings.width, n_labels)

    def forward(self, rows: Rows) -> Tensor:
        """Compute outputs (n, n_labels) in (0, 1)."""
        return torch.sigmoid(self.out(self.encoder(rows)))


class Energy(nn.Module):
    """argmin over y of f(x, y) - H(y), with a PICNN f that begins as a feed-forward network.

    The first layer of the path of x stands before the PICNN, so that dropout has one mask a solve. What else
    depends on x alone, but for the slopes of y that the feed-forward network has, stays as it begins: F1
    on validation rows was lower where it was trained. So f(x, y) = g(y) - <S u(x) + s, y> with a convex g of
    two hidden layers.
    """

    def __init__(self, start: FeedForward, settings: Settings) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(start.encoder)
        n_labels, width = start.out.out_features, settings.width
        self.net = PICNN(width, n_labels, (settings.width, settings.label_width), (width, width))
        self.layer = ArgminLayer(self.net, unrolled=STEPS, step=STEP)
        self._start(start.out)
        still = (self.net.x_path, self.net.gates, self.net.scales[:-1], self.net.contexts)
        for part in still:
            part.requires_grad_(False)
        cast(nn.Linear, self.net.contexts[0]).bias.requires_grad_(True)

    @torch.no_grad()
    def _start(self, out: nn.Linear) -> None:
        """Begin with -<S u, y>, which sigmoids minimise, and a small convex function of y alone."""
        net = self.net
        for path in net.x_path:  # u = relu(I u), because u >= 0
            nn.init.eye_(cast(nn.Linear, path).weight)
            nn.init.zeros_(cast(nn.Linear, path).bias)
        for part in (*net.scales, *net.gates):
            nn.init.zeros_(cast(nn.Linear, part).weight)
            nn.init.ones_(cast(nn.Linear, part).bias)
        for part in net.contexts:
            nn.init.zeros_(cast(nn.Linear, part).weight)
        # Few labels are 1: slopes of this size put kinks between rows with different labels.
        first, hidden, final = (cast(nn.Linear, m) for m in (net.skips[0], net.hidden[0], net.hidden[1]))
        nn.init.normal_(first.weight)
        nn.init.uniform_(cast(nn.Linear, net.contexts[0]).bias, -1.0, 1.0)
        nn.init.normal_(cast(nn.Linear, net.skips[1]).weight, std=0.5)
        hidden.weight = torch.rand_like(hidden.weight) * (2 / hidden.in_features)
        nn.init.uniform_(hidden.bias, -1.5, 0.0)
        final.weight = torch.full_like(final.weight, START / final.in_features)
        last, sign = cast(nn.Linear, net.scales[-1]), cast(nn.Linear, net.skips[-1])
        last.load_state_dict(out.state_dict())
        nn.init.constant_(sign.weight, -1.0)

    def forward(self, rows: Rows) -> Tensor:
        """Compute outputs (n, n_labels) in (0, 1)."""
        u = self.encoder(rows)
        y: Tensor
        if torch.is_grad_enabled():
            y = self.layer(u)
        else:
            y = minimize_entropy(self.net, u, tolerance=TOLERANCE, max_iterations=60).point
        return y.to(rows.labels)


Model: TypeAlias = FeedForward | Energy
