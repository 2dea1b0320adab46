"""A penalty on the curvature that random lines meet: any dimension, any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from jensen.errors import ArgumentError, NetworkError
from jensen.network import Domain, FloatArray
from jensen.network._numbers import as_amount, as_count
from jensen.training._chords import Chords
from jensen.training._options import shape_of_input
from jensen.training.tape import Affine, Tape, has_tape, tape

_ROUNDING = 64.0
"""Multiples of the dtype's epsilon, relative to values of f, by which rounding may move them."""

AHEAD = 64
"""For how many calls places on the chords are drawn at a time."""


class SampledConvexityPenalty:
    """Charges what bends down along random chords of the domain.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (batch, *input_shape) to one number per entry of the batch.
    domain : Domain, optional
        The whole space by default, where chords of all lengths up to about 100 around the origin are drawn.
    lines : int, default 14
        Chords per call.
    points : int, default 9
        Points on each chord. What bends up and down again between two of them is missed.
    kinks : int, default 96
        With "kinks", how many are looked at, drawn at random where the chords meet more.
    method : {"auto", "kinks", "slopes"}
        "slopes" works for every module: sum over consecutive cells of max(0, slope - next slope), per chord,
        which is the total negative curvature that the points show. "kinks" is for a `SkipMLP`, `FICNN`
        or `nn.Sequential` of `Linear` and `ReLU`: each neuron's sign changes are located, and
        max(0, margin - jump) is charged, with jump the change of slope per unit of the neuron's
        pre-activation, as in the exact criterion. "auto" takes "kinks" where it can.
    margin : float, default 0.0
        With "kinks": what jumps must exceed. The penalty is then positive on convex networks too.
    keep : float, default 0.5
        Share of the chords that is taken over from the call before: those with the largest charge, so that a
        rare violation is not lost as soon as it is found. With 0.0 the penalty is, up to the points, an
        unbiased sample of the mean over chords.
    seed : int, default 0
    input_shape : sequence of int, optional
        Shape of one input, where the module does not tell it.

    Raises
    ------
    ArgumentError
        If an argument makes no sense.
    NetworkError
        If "kinks" is asked of a module that it does not know.
    DomainError
        If the domain does not fit the module, or is empty or a point.

    Notes
    -----
    A penalty of zero proves nothing: `jensen.check` does.

    Examples
    --------
    >>> import jensen, torch
    >>> net = jensen.nn.SkipMLP(2, (16, 16))
    >>> penalty = jensen.training.SampledConvexityPenalty(net, jensen.Box(-1.0, 1.0))
    >>> loss = net(torch.zeros(4, 2)).square().mean() + 10.0 * penalty()
    """

    def __init__(
        self,
        module: nn.Module,
        domain: Domain | None = None,
        *,
        lines: int = 14,
        points: int = 9,
        kinks: int = 96,
        method: Literal["auto", "kinks", "slopes"] = "auto",
        margin: float = 0.0,
        keep: float = 0.5,
        seed: int = 0,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        if method not in ("auto", "kinks", "slopes"):
            raise ArgumentError(f'method must be "auto", "kinks" or "slopes", got {method!r:.80}')
        if method == "kinks" and not has_tape(module):
            raise NetworkError(
                f"cannot locate the kinks of a {type(module).__name__}'s neurons: this needs a piecewise-"
                'linear SkipMLP or FICNN, or an nn.Sequential of Linear and ReLU; use method="slopes"'
            )
        self.module = module
        self.lines, self.points = as_count(lines, "lines"), as_count(points, "points", 3)
        self.kinks = as_count(kinks, "kinks")
        self.margin, self.keep = as_amount(margin, "margin"), as_amount(keep, "keep", 1.0)
        self.by_kinks = method == "kinks" or (method == "auto" and has_tape(module))
        if self.margin and not self.by_kinks:
            raise ArgumentError('a margin needs method="kinks"')
        self.input_shape = shape_of_input(module, input_shape)
        d = int(np.prod(self.input_shape))
        self._chords = Chords(domain, d, as_count(seed, "seed", 0))
        self._offsets = np.random.default_rng([seed, 1])
        self._places: list[Tensor] = []
        self._begins: list[float] = []
        self._kept = torch.empty(2, 0, 1, d)
        self._spread = np.arange(self.kinks)

    def __call__(self) -> Tensor:
        """Draw chords and return the mean charge per chord: a scalar, never negative."""
        penalty, charges, ends = self._by_kinks() if self.by_kinks else self._by_slopes()
        sizes = charges.tolist()
        worst = sorted(range(self.lines), key=lambda i: -sizes[i])[: int(self.keep * self.lines)]
        self._kept = ends[:, [i for i in worst if sizes[i] > 0]] if max(sizes) > 0 else ends[:, :0]
        return penalty

    def remember(self, p: FloatArray, q: FloatArray) -> None:
        """Put chords, given by (k, d) arrays of their ends, among those that the next call looks at first.

        Meant for counterexamples. They stay as long as they are among the worst.
        """
        ends = torch.from_numpy(np.stack([p, q])[:, :, None]).to(next(self.module.parameters()))
        self._kept = torch.cat([ends, self._kept.to(ends)], dim=1)

    def _draw(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Chords, (2, lines, 1, d); points on them, (lines, points, d); their places, (lines, points, 1)."""
        kept = self._kept[:, : int(self.keep * self.lines)].to(like)
        fresh = torch.from_numpy(self._chords.draw(self.lines - kept.shape[1])).to(like)
        ends = torch.cat([kept, fresh[:, :, None]], dim=1)
        if not self._places:  # in advance, as the chords: drawing a few is slower than many
            offsets = self._offsets.random((AHEAD, self.lines, 1, 1))
            places = (np.arange(self.points)[:, None] + offsets) / self.points
            self._places = list(torch.from_numpy(places).to(like).unbind())
            self._begins = self._offsets.random(AHEAD).tolist()
        t = self._places.pop().to(like)
        return ends, torch.lerp(ends[0], ends[1], t), t

    def _by_slopes(self) -> tuple[Tensor, Tensor, Tensor]:
        ends, x, t = self._draw(next(self.module.parameters()))
        t = t.squeeze(2)
        f = self.module(x.reshape(-1, *self.input_shape))
        if f.numel() != t.numel():
            raise NetworkError(f"the module must return one number per input, got {tuple(f.shape)}")
        f = f.reshape(t.shape)
        length = (ends[1] - ends[0]).norm(dim=2).clamp_min(torch.finfo(t.dtype).tiny)
        step = (t[:, 1:] - t[:, :-1]) * length
        slope = (f[:, 1:] - f[:, :-1]) / step
        with torch.no_grad():  # what rounding may have bent
            size = f.abs().amax(1, keepdim=True)
            size = size + slope.abs().amax(1, keepdim=True) * x.norm(dim=2).amax(1, keepdim=True)
            size = size * (_ROUNDING * torch.finfo(f.dtype).eps)
            doubt = size / step[:, 1:] + size / step[:, :-1]
        charges = torch.relu(slope[:, :-1] - slope[:, 1:] - doubt).sum(1)
        return charges.mean(), charges.detach(), ends

    def _by_kinks(self) -> tuple[Tensor, Tensor, Tensor]:
        weights = tape(self.module)
        with torch.no_grad():
            ends, grid, _ = self._draw(weights.output.bias)
            if not weights.hidden:
                nothing = grid.new_zeros(self.lines)
                return nothing.sum(), nothing, ends
            x = grid.flatten(0, 1)
            z = torch.cat(weights.preactivations(x), dim=1)
            on = (z > 0).view(self.lines, self.points, -1)
            found = (on[:, :-1] != on[:, 1:]).nonzero()
            weight = max(1.0, len(found) / self.kinks)
            if weight > 1.0:
                found = found.index_select(0, self._some(len(found)).to(found.device))
            line, cell, neuron = found.unbind(1)
            start = line * self.points + cell
            place = start * z.shape[1] + neuron
            a, b = z.take(place), z.take(place + z.shape[1])  # of opposite signs, or one is zero
            kinks = torch.lerp(x.index_select(0, start), x.index_select(0, start + 1), (a / (a - b))[:, None])
            on_kinks = weights.preactivations(kinks)
        short = torch.relu(self.margin - jumps(weights, on_kinks, neuron))
        charges = z.new_zeros(self.lines).index_add_(0, line, short.detach())
        return short.sum() * (weight / self.lines), charges, ends

    def _some(self, count: int) -> Tensor:
        """Choose `kinks` of as many numbers, each with equal chance, spread evenly: no chord is left out."""
        begin = int(self._begins[len(self._places)] * count)
        return torch.from_numpy((self._spread * count // self.kinks + begin) % count)


def jumps(weights: Tape, preactivations: Sequence[Tensor], neurons: Tensor) -> Tensor:
    """Compute what `Tape.jumps` does, forwards: the response of f to a unit pushed into each neuron's output.

    What is pushed in is constant, so gradients need one product a layer where a backward pass needs two, and
    what comes before the neurons, skips of the input among it, is never touched.

    Parameters
    ----------
    weights : Tape
        With at least one hidden layer.
    preactivations : sequence of (batch, n_l) tensors
    neurons : (batch,) tensor of int64
        Counted through all hidden layers.

    Returns
    -------
    (batch,) tensor
    """
    units = preactivations[0].new_zeros(len(neurons), sum(weights.widths))
    units.scatter_(1, neurons[:, None], 1.0)
    pushed: list[Tensor] = []
    parts = zip(
        weights.hidden, weights.negative_slopes, torch.split(units, list(weights.widths), dim=1), strict=True
    )
    for (layer, a, unit), z in zip(parts, preactivations, strict=True):
        own = unit if a == 0 else (1.0 - a) * unit
        moved = _read(layer, pushed)
        if moved is not None:
            active = (z > 0).to(z.dtype)
            own = torch.addcmul(own, active if a == 0 else a + (1.0 - a) * active, moved)
        pushed.append(own)
    response = _read(weights.output, pushed)
    return units.new_zeros(len(neurons)) if response is None else response.squeeze(1)


def _read(layer: Affine, pushed: Sequence[Tensor]) -> Tensor | None:
    """Sum what hidden layers pass on to a layer, without input and bias; None if it reads none of them."""
    total = None
    for k, w in layer.weights.items():
        if k > 0:
            value = linear(pushed[k - 1], w) if isinstance(w, Tensor) else w.apply(pushed[k - 1])
            total = value if total is None else total + value
    return total
