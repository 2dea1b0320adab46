"""Q functions that are concave in the action, and their maximisers over the box of actions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

import jensen
from jensen.minimize import ArgminLayer, argmin, minimize_entropy
from jensen.nn import PICNN

Inference = Literal["newton", "bundle", "exact"]
_LIMIT = 30
"""Of evaluations of the network for one action; gaps are closed in fewer, as a rule."""


class Critic(nn.Module):
    """-Q(s, a) as PICNNs that are convex in a; the first chooses actions, the least Q of all values them.

    Parameters
    ----------
    states, actions : int
        Numbers of entries.
    width : int
        Of both hidden layers.
    members : int
        Number of networks.
    """

    def __init__(self, states: int, actions: int, width: int, members: int, activation: str) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            PICNN(states, actions, (width, width), activation=activation) for _ in range(members)
        )

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Q of every member, (members, batch)."""
        return -torch.stack([net(states, actions) for net in self.nets])

    @torch.no_grad()
    def best(self, states: Tensor, weight: float, tolerance: float, inference: Inference) -> Tensor:
        """Find argmax Q(s, a) + weight H(a) over a in [-1, 1]^n, or argmax Q(s, a) exactly.

        Parameters
        ----------
        states : (batch, p) tensor
        weight : float
            Of the entropy.
        tolerance : float
            Gap of the entropic problem, relative to max(1, |value|).
        inference : {"newton", "bundle", "exact"}
            Newton's method for networks that are smooth in the action, bundle entropy, or no entropy.

        Returns
        -------
        (batch, n) tensor
        """
        net = self.nets[0]
        if inference == "newton":
            layer = ArgminLayer(net, (-1.0, 1.0), weight=weight, tolerance=tolerance, max_iterations=_LIMIT)
            found: Tensor = layer(states)
            return found
        if inference == "bundle":
            return minimize_entropy(
                net, states, domain=(-1.0, 1.0), weight=weight, tolerance=tolerance, max_iterations=_LIMIT
            ).point
        box = jensen.Box(-1.0, 1.0)
        points = [torch.from_numpy(argmin(net, box, state).point) for state in states]
        return torch.stack(points).to(states)
