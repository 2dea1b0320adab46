"""A penalty on sound bounds: where it vanishes, the network is convex."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from jensen.certify._bounds import Intervals, interval_bounds
from jensen.certify._pieces import Piece
from jensen.certify._tasks import Ground
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace
from jensen.network._numbers import as_amount, as_count
from jensen.training.tape import Tape, tape


class BoundConvexityPenalty:
    """Charges max(0, margin - lower bound) for the jump of every neuron that may switch.

    Pre-activations are bounded by intervals and, on a finite domain, by linear relaxation, for neurons of the
    first layer over the kink itself; what may be active or inactive then gives every slope a range, and
    one backward pass of interval arithmetic, differentiable in the weights, the least jump. With margin 0 it
    vanishes only if the network is convex on the domain, up to rounding; many convex networks have
    positive values.

    Parameters
    ----------
    module : torch.nn.Module
        A piecewise-linear `SkipMLP` or `FICNN`, or an `nn.Sequential` of `Linear` and `ReLU`.
    domain : Domain, optional
        The whole space by default. Of a polytope only its bounds are used.
    margin : float, default 0.0
    refresh : int, default 1
        Calls after which the ranges of slopes are computed anew. In between the bounds are not sound.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If the module is of another kind.
    DomainError
        If the domain does not fit the module.

    Notes
    -----
    Ranges of slopes are piecewise constant in the weights, so that gradients are exact almost everywhere;
    they do not reward pre-activations for moving away from zero.
    """

    def __init__(
        self, module: nn.Module, domain: Domain | None = None, *, margin: float = 0.0, refresh: int = 1
    ) -> None:
        d = tape(module).network().input_size
        self.module = module
        self._where = (WholeSpace() if domain is None else domain).bounds(d)
        self.margin, self.refresh = as_amount(margin, "margin"), as_count(refresh, "refresh")
        self._calls = 0
        self._ranges: list[_Range] = []

    def __call__(self) -> Tensor:
        """Return the penalty: a scalar, never negative."""
        return sum(
            (torch.relu(self.margin - low).sum() for _, low in self._bounds()),
            torch.zeros_like(tape(self.module).output.bias).sum(),
        )

    def lower_bounds(self) -> list[Tensor]:
        """Lower bounds of all jumps, as (n_l,) tensors; +inf where a neuron cannot switch."""
        widths = tape(self.module).widths
        like = tape(self.module).output.bias
        result = [torch.full((n,), torch.inf).to(like) for n in widths]
        for ranges, low in self._bounds():
            layer = ranges.layer - 1
            result[layer] = result[layer].index_put((torch.as_tensor(ranges.indices),), low)
        return result

    def _bounds(self) -> list[tuple[_Range, Tensor]]:
        weights = tape(self.module)
        if self._calls % self.refresh == 0:
            self._ranges = _ranges(weights.network(), *self._where)
        self._calls += 1
        return [(ranges, _least(weights, ranges)) for ranges in self._ranges]


class _Range:
    """Neurons of one layer with the ranges of all slopes on their kinks, as (k, n_l) arrays."""

    def __init__(
        self, layer: int, indices: list[int], on_kinks: list[Intervals], network: ReLUNetwork
    ) -> None:
        self.layer, self.indices = layer, indices
        pairs = [bounds.slopes(network) for bounds in on_kinks]
        self.low: list[FloatArray] = [np.stack(v) for v in zip(*(low for low, _ in pairs), strict=True)]
        self.high: list[FloatArray] = [np.stack(v) for v in zip(*(high for _, high in pairs), strict=True)]


def _ranges(network: ReLUNetwork, lo: FloatArray, hi: FloatArray) -> list[_Range]:
    none = np.zeros((0, network.input_size)), np.zeros(0)
    ground = Ground(Piece("domain", network, lo, hi, *none))
    finite = bool(np.isfinite(lo).all() and np.isfinite(hi).all())
    intervals = ground.intervals if finite else interval_bounds(network, lo, hi)
    result = []
    for layer, moves in enumerate(intervals.switching(network), start=1):
        found = []
        for i in np.flatnonzero(moves).tolist():
            kink = ground.kink((layer, i)) if finite else intervals
            if kink is not None:
                found.append((i, kink))
        if found:
            result.append(_Range(layer, [i for i, _ in found], [kink for _, kink in found], network))
    return result


def _least(weights: Tape, ranges: _Range) -> Tensor:
    """Least jump of each neuron of a layer over all slopes in their ranges, (k,), by interval arithmetic."""
    like = weights.output.bias
    depth, count = len(weights.hidden), len(ranges.indices)
    low: dict[int, Tensor] = {}
    high: dict[int, Tensor] = {}

    def pull(position: int, dlo: Tensor, dhi: Tensor) -> None:
        part = weights.output if position > depth else weights.hidden[position - 1]
        for k, w in part.weights.items():
            if k >= ranges.layer:
                plus, minus = w.clamp_min(0.0), w.clamp_max(0.0)
                low[k] = low.get(k, 0.0) + dlo @ plus + dhi @ minus
                high[k] = high.get(k, 0.0) + dhi @ plus + dlo @ minus

    one = torch.ones(count, 1).to(like)
    pull(depth + 1, one, one)
    for position in range(depth, ranges.layer, -1):
        if position in low:
            a, b = (torch.as_tensor(s[position - 1]).to(like) for s in (ranges.low, ranges.high))
            ends = [end * slope for end in (low[position], high[position]) for slope in (a, b)]
            products = torch.stack(ends)
            pull(position, products.amin(0), products.amax(0))
    if ranges.layer not in low:
        return like.new_zeros(count)
    own = low[ranges.layer].expand(count, -1)
    index = torch.as_tensor(ranges.indices, device=like.device)
    return own.gather(1, index[:, None]).squeeze(1) * (1.0 - weights.negative_slopes[ranges.layer - 1])
