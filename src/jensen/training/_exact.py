"""The published regulariser: every frontier of every neuron, enumerated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.geometry import Regions, regions
from jensen.network import Domain, FloatArray, ReLUNetwork
from jensen.network._numbers import as_amount, as_count
from jensen.training._cases import Cases, jumps_of
from jensen.training.tape import Tape, tape


class ExactConvexityPenalty:
    """Charges max(0, margin - jump) for every neuron and every pattern that its frontiers have.

    R = sum over hidden neurons v and the distinct patterns a of later layers on v's frontiers of
    max(0, margin - (1 - a_v) g_v(a)), after Gagneux, Massias, Soubies and Gribonval, "How to improve the
    expressivity of convex ReLU networks", equation 5. With margin 0 it vanishes iff the network is convex
    on the domain, up to rounding.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and `ReLU`.
    domain : Domain, optional
        The whole space by default.
    margin : float, default 0.0
    refresh : int, default 1
        Calls after which frontiers are enumerated anew; in between, the patterns of the last time serve.
    max_regions : int, default 100_000
        The penalty is meant for low dimension and small networks.

    Raises
    ------
    ArgumentError
        If an argument makes no sense; in a call, if the network has too many regions.
    NetworkError
        If the module is of another kind.
    DomainError
        If the domain is empty or does not fit the module.

    Notes
    -----
    Where several neurons switch together, what is charged is the jump of the gradient itself along the unit
    normal.
    """

    def __init__(
        self,
        module: nn.Module,
        domain: Domain | None = None,
        *,
        margin: float = 0.0,
        refresh: int = 1,
        max_regions: int = 100_000,
    ) -> None:
        tape(module)  # refuses what it cannot read
        self.module, self.domain = module, domain
        self.margin = as_amount(margin, "margin")
        self.refresh = as_count(refresh, "refresh")
        self.max_regions = as_count(max_regions, "max_regions")
        self._calls = 0
        self._frontiers: Frontiers | None = None

    def __call__(self) -> Tensor:
        """Enumerate frontiers, if it is time to, and return the penalty: a scalar, never negative."""
        weights = tape(self.module)
        if self._frontiers is None or self._calls % self.refresh == 0:
            found = regions(weights.network(), self.domain, max_regions=self.max_regions)
            if not found.complete:
                raise ArgumentError(
                    f"the network has more than max_regions={self.max_regions} regions: use "
                    "SampledConvexityPenalty"
                )
            self._frontiers = Frontiers(weights.network(), found)
        self._calls += 1
        return self._frontiers.shortfall(weights, self.margin)


class Frontiers:
    """Patterns of all frontiers of a network.

    Parameters
    ----------
    network : ReLUNetwork
    found : Regions
        Complete.
    """

    def __init__(self, network: ReLUNetwork, found: Regions) -> None:
        counts = np.diff(found.frontier_neuron_starts)
        alone = counts == 1
        first = found.frontier_neurons[found.frontier_neuron_starts[:-1]]
        ends = np.cumsum(network.widths)
        layers = np.searchsorted(ends, first, side="right") + 1
        starts = np.concatenate([[0], ends])[layers - 1]
        one, other = (_slopes(network, found, side) for side in (0, 1))
        self.cases = Cases(layers, first - starts, one)[alone].distinct()
        """Frontiers on which one neuron switches."""
        self.joint = [s[~alone] for s in one], [s[~alone] for s in other]
        """Slopes on both sides of the other frontiers."""
        self.normals = found.normals[~alone]

    def shortfall(self, weights: Tape, margin: float) -> Tensor:
        """Sum of max(0, margin - jump), differentiable in the weights."""
        total = torch.relu(margin - jumps_of(weights, self.cases)).sum()
        if not len(self.normals):
            return total
        like = weights.output.bias
        front, back = ([torch.as_tensor(s).to(like) for s in side] for side in self.joint)
        plus, minus = weights.backward(front)[0], weights.backward(back)[0]
        jump = ((plus - minus) * torch.as_tensor(self.normals).to(like)).sum(1)
        with torch.no_grad():  # neurons that make up for each other leave rounding errors
            doubt = 64 * torch.finfo(jump.dtype).eps * (plus.abs() + minus.abs()).sum(1)
        return total + torch.relu(margin - jump - doubt).sum()


def _slopes(network: ReLUNetwork, found: Regions, side: int) -> list[FloatArray]:
    patterns = np.split(
        found.patterns[found.frontier_regions[:, side]], np.cumsum(network.widths)[:-1], axis=1
    )
    return [
        np.where(on, 1.0, layer.negative_slope) for on, layer in zip(patterns, network.layers, strict=True)
    ]
