"""A penalty on the curvature that random lines meet: any dimension, any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from jensen.errors import ArgumentError, NetworkError
from jensen.network import Domain, FloatArray
from jensen.training._chords import Chords
from jensen.training._options import as_amount, as_count, shape_of_input
from jensen.training._tape import has_tape, tape

_ROUNDING = 64.0
"""Multiples of the dtype's epsilon, relative to values of f, by which rounding may move them."""


class SampledConvexityPenalty:
    """Charges what bends down along random chords of the domain.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (batch, *input_shape) to one number per entry of the batch.
    domain : Domain, optional
        The whole space by default, where chords of all lengths up to about 100 around the origin are drawn.
    lines : int, default 12
        Chords per call.
    points : int, default 16
        Points on each chord. What bends up and down again between two of them is missed.
    kinks : int, default 128
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
        lines: int = 12,
        points: int = 16,
        kinks: int = 128,
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
        self._kept = np.empty((0, d)), np.empty((0, d))

    def __call__(self) -> Tensor:
        """Draw chords and return the mean charge per chord: a scalar, never negative."""
        remembered = (
            self._kept[0][: int(self.keep * self.lines)],
            self._kept[1][: int(self.keep * self.lines)],
        )
        fresh = self._chords.draw(self.lines - len(remembered[0]))
        p, q = (np.concatenate(pair) for pair in zip(remembered, fresh, strict=True))
        charges = self._by_kinks(p, q) if self.by_kinks else self._by_slopes(p, q)
        size = charges.detach().cpu().numpy()
        worst = np.argsort(-size, kind="stable")[: int(self.keep * self.lines)]
        worst = worst[size[worst] > 0]
        self._kept = p[worst], q[worst]
        return charges.mean()

    def remember(self, p: FloatArray, q: FloatArray) -> None:
        """Put chords, given by (k, d) arrays of their ends, among those that the next call looks at first.

        Meant for counterexamples. They stay as long as they are among the worst.
        """
        self._kept = np.concatenate([p, self._kept[0]]), np.concatenate([q, self._kept[1]])

    def _grid(self, p: FloatArray, q: FloatArray) -> tuple[Tensor, Tensor, Tensor]:
        """Points on the chords, (lines, points, d); their places, (lines, points); lengths (lines,)."""
        like = next(self.module.parameters())
        t = (np.arange(self.points) + self._offsets.random((len(p), 1))) / self.points
        x = p[:, None] + t[:, :, None] * (q - p)[:, None]
        length = np.linalg.norm(q - p, axis=1)
        grid, places, lengths = (torch.from_numpy(v).to(like) for v in (x, t, length))
        return grid, places, lengths

    def _by_slopes(self, p: FloatArray, q: FloatArray) -> Tensor:
        x, t, length = self._grid(p, q)
        f = self.module(x.reshape(-1, *self.input_shape))
        if f.numel() != t.numel():
            raise NetworkError(f"the module must return one number per input, got {tuple(f.shape)}")
        f = f.reshape(t.shape)
        step = (t[:, 1:] - t[:, :-1]) * length[:, None].clamp_min(torch.finfo(t.dtype).tiny)
        slope = (f[:, 1:] - f[:, :-1]) / step
        with torch.no_grad():  # what rounding may have bent
            size = f.abs().amax(1, keepdim=True)
            size = size + slope.abs().amax(1, keepdim=True) * x.norm(dim=2).amax(1, keepdim=True)
            size = size * (_ROUNDING * torch.finfo(f.dtype).eps)
            doubt = size / step[:, 1:] + size / step[:, :-1]
        return torch.relu(slope[:, :-1] - slope[:, 1:] - doubt).sum(1)

    def _by_kinks(self, p: FloatArray, q: FloatArray) -> Tensor:
        weights = tape(self.module)
        x, t, _ = self._grid(p, q)
        if not weights.hidden:
            return x.new_zeros(len(p))
        with torch.no_grad():
            z = torch.cat(weights.preactivations(x.flatten(0, 1)), dim=1).view(*t.shape, -1)
            on = z > 0
            found = (on[:, :-1] ^ on[:, 1:]).flatten().nonzero().squeeze(1)
            weight = max(1.0, len(found) / self.kinks)
            if weight > 1.0:
                chosen = torch.as_tensor(self._offsets.choice(len(found), self.kinks, replace=False))
                found = found[chosen.to(found.device)]
            neuron = found % z.shape[2]
            cell = found // z.shape[2]  # counted through all chords, each with one cell less than points
            line = cell // (self.points - 1)
            start = cell + line
            values, places = z.flatten(0, 1), x.flatten(0, 1)
            a, b = values[start, neuron], values[start + 1, neuron]
            left = places[start]
            kinks = torch.lerp(left, places[start + 1], (a / (a - b)).clamp(0.0, 1.0)[:, None])
            slopes = weights.slopes(weights.preactivations(kinks))
        short = torch.relu(self.margin - weights.jumps(slopes, neuron))
        return short.new_zeros(len(p)).index_add(0, line, weight * short)
