"""One neuron's kink on one piece: what some fixed signs and some multipliers prove about the neuron's jump.

The jump is minimised over the points of the kink and the patterns that they allow, with these equations
relaxed by multipliers: z = W h + b of every neuron (lambda), g = W' (sigma g) + c of the adjoints of later
layers (kappa), and the piece's rows (mu >= 0). What is left falls apart into one small problem per neuron,
over z in [lo, hi], its slope sigma and its adjoint in an interval, and one over the piece's box. The sum of
their minima is a lower bound whatever the multipliers (weak duality). With the jump left out, a positive
bound says that no point of the kink has these signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from flint import fmpq

from jensen.verifier._adjoints import adjoint_ranges, jump_terms, least
from jensen.verifier._pieces import Piece
from jensen.verifier._ranges import Ranges, over_kink, over_piece
from jensen.verifier._rational import Neuron, RationalNetwork, Vector, times
from jensen.verifier._signs import Signs
from jensen.verifier._twins import Twins

ZERO, ONE = fmpq(0), fmpq(1)

Decisions = Mapping[Neuron, int]
"""Signs fixed on the way from the root: 1 for z >= 0, 0 for z <= 0."""


@dataclass(frozen=True)
class Multipliers:
    """Multipliers of one leaf, by layer; what is left out is zero.

    Attributes
    ----------
    jump : bool
        Whether the jump is bounded (True) or the leaf shown to be empty (False).
    z : {layer: list of n_l fmpq}
    g : {layer: list of n_l fmpq}
        Only used for neurons whose slope is not determined; the others' adjoints are substituted.
    rows : list of fmpq
    """

    jump: bool = True
    z: Mapping[int, Vector] = field(default_factory=dict)
    g: Mapping[int, Vector] = field(default_factory=dict)
    rows: Vector = field(default_factory=list)


@dataclass(frozen=True)
class Option:
    """A slope that a neuron may have, and where its pre-activation then lies."""

    on: bool
    slope: fmpq
    lo: fmpq
    hi: fmpq


Options = list[list[list[Option]]]
"""The slopes that every neuron may have, by layer."""


class Ground:
    """A piece with exact bounds on every pre-activation over it.

    Parameters
    ----------
    net : RationalNetwork
    piece : Piece
    signs : Signs
        Signs that hold on the whole domain.
    twins : Twins
    """

    def __init__(self, net: RationalNetwork, piece: Piece, signs: Signs, twins: Twins) -> None:
        self.net, self.piece, self.twins = net, piece, twins
        self.ranges = over_piece(net, piece)
        # A neuron that never has one of the signs on all of the domain has the other's slope everywhere; that
        # it touches zero without crossing, on one piece of several, says nothing.
        self.never = [
            [
                (not up or (piece.alone and h <= 0), not down or (piece.alone and a >= 0))
                for up, down, a, h in zip(*layer, strict=True)
            ]
            for layer in zip(signs.positive, signs.negative, self.ranges.lo, self.ranges.hi, strict=True)
        ]

    def kinkless(self, neuron: Neuron) -> bool:
        """Whether a neuron has no kink in the piece."""
        layer, i = neuron[0] - 1, neuron[1]
        return any(self.never[layer][i]) or self.ranges.lo[layer][i] > 0 or self.ranges.hi[layer][i] < 0

    @cached_property
    def empty(self) -> bool:
        """Whether the piece is seen to hold no point."""
        return self.ranges.empty

    def at_once(self, neuron: Neuron) -> bool:
        """Whether bounds over the piece settle a neuron without a look at its kink."""
        return self.kinkless(neuron) or self.coarse_kink(neuron).closes({}, Multipliers())

    def coarse_kink(self, neuron: Neuron) -> Kink:
        """Take the bounds over the piece for those over one neuron's kink."""
        return Kink(self, neuron, self.ranges)

    def kink(self, neuron: Neuron) -> Kink:
        """Bound everything over one neuron's kink."""
        return Kink(self, neuron, over_kink(self.net, self.piece, self.ranges, *neuron))


class Kink:
    """The part of a piece where one neuron is zero, and bounds there."""

    def __init__(self, ground: Ground, neuron: Neuron, ranges: Ranges) -> None:
        self.ground, self.neuron, self.ranges = ground, neuron, ranges
        self.net, self.piece = ground.net, ground.piece
        self.jump = ground.twins.columns(self.net.network, *neuron)

    def options(self, decisions: Decisions) -> Options | None:
        """List the slopes that every neuron may have; None if some neuron has none left."""
        result = [list(layer) for layer in self._free]
        for (layer, i), side in decisions.items():
            result[layer - 1][i] = [c for c in result[layer - 1][i] if c.on == (side == 1)]
        without = [(k, i) for k, row in enumerate(result, start=1) for i, c in enumerate(row) if not c]
        return result if without in ([], [self.neuron]) else None

    @cached_property
    def _free(self) -> Options:
        """The slopes that every neuron may have while nothing is decided."""
        result = []
        for layer, slopes in enumerate(self.net.slopes, start=1):
            lows, highs = self.ranges.lo[layer - 1], self.ranges.hi[layer - 1]
            found = []
            for low, high, a, never in zip(lows, highs, slopes, self.ground.never[layer - 1], strict=True):
                never_on, never_off = (False, False) if all(never) else never
                choices = []
                if high.p >= 0 and not never_on:
                    choices.append(Option(True, ONE, max(low, ZERO), high))
                if low.p <= 0 and not never_off:
                    choices.append(Option(False, a, low, min(high, ZERO)))
                found.append(choices)
            result.append(found)
        return result

    def closes(self, decisions: Decisions, by: Multipliers) -> bool:
        """Whether the multipliers prove that the jump is nonnegative, or that nothing has these signs."""
        options = self.options(decisions)
        if options is None or self.ranges.empty:
            return True
        bound = self.bound(options, by)
        return bound.p >= 0 if by.jump else bound.p > 0

    def bound(self, options: Options, by: Multipliers) -> fmpq:
        """Bound the jump (or zero) from below by weak duality."""
        net, piece = self.net, self.piece
        total, costs = ZERO, dict[int, list[Vector]]()
        if by.jump:
            slopes = [[[c.slope for c in choices] for choices in layer] for layer in options]
            ranges = adjoint_ranges(net, self.neuron[0], slopes)
            total, costs = jump_terms(net, self.jump, self.neuron[0], slopes, ranges, by.g)
        sources: dict[int, Vector] = {0: [ZERO] * len(piece.lo)}
        """Coefficients of the activations h_k; h_0 is the input."""
        for layer, z in by.z.items():
            total -= sum((y * b for y, b in zip(z, piece.biases[layer - 1], strict=True)), ZERO)
            for k, w in {**net.weights[layer - 1], 0: piece.inputs[layer - 1]}.items():
                before = sources.get(k) or [ZERO] * w.ncols()
                sources[k] = [a - b for a, b in zip(before, times(z, w), strict=True)]
        for layer, choices in enumerate(options, start=1):
            own, h, cost = by.z.get(layer), sources.get(layer), costs.get(layer)
            if not (own or h or cost):
                continue
            for i, allowed in enumerate(choices):
                if (layer, i) == self.neuron:
                    continue  # z = h = 0, and its own adjoint plays no part
                y, q = own[i] if own else ZERO, h[i] if h else ZERO
                extra = cost[i] if cost else [ZERO] * len(allowed)
                if y or q or cost:
                    total += min(
                        least(y + c.slope * q, c.lo, c.hi) + e for c, e in zip(allowed, extra, strict=True)
                    )
        if by.rows:
            total -= sum((m * r for m, r in zip(by.rows, piece.right, strict=True)), ZERO)
            onward = times(by.rows, piece.rows)
            sources[0] = [a + b for a, b in zip(sources[0], onward, strict=True)]
        return total + sum(map(least, sources[0], piece.lo, piece.hi), ZERO)
