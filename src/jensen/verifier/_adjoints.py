"""The jump of a neuron as a function of the slopes that later neurons take, bounded from below.

The jump is a sum over paths to the output; adjoints g = W' (sigma g) + c tie its factors together. Relaxing
these equations by multipliers kappa leaves a term of its own for every later neuron, with its slope sigma in
a list and its adjoint in an interval. Where the slope is determined, the adjoint is substituted instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flint import fmpq

from jensen.verifier._rational import Neuron, RationalNetwork, Vector, applied
from jensen.verifier._signs import Signs
from jensen.verifier._twins import Twins

ZERO = fmpq(0)

Slopes = Sequence[Sequence[Sequence[fmpq]]]
"""The slopes that every neuron may have, by layer."""


class Everywhere:
    """What holds for any slopes that signs allow on the whole domain.

    Parameters
    ----------
    net : RationalNetwork
    signs : Signs
    twins : Twins
    """

    def __init__(self, net: RationalNetwork, signs: Signs, twins: Twins) -> None:
        self._net, self._twins = net, twins
        self._slopes = [
            [
                [fmpq(1)] if not down and up else [a] if not up and down else [fmpq(1), a]
                for up, down, a in zip(*layer, strict=True)
            ]
            for layer in zip(signs.positive, signs.negative, net.slopes, strict=True)
        ]
        self._ranges = adjoint_ranges(net, 0, self._slopes)

    def settles(self, neuron: Neuron) -> bool:
        """Whether a neuron has no negative jump."""
        layer, i = neuron
        lows, slopes = self._ranges[layer][0], self._net.slopes[layer - 1]
        if all(lows[j] >= 0 and slopes[j] <= 1 for j in self._twins.group(layer, i)):
            return True
        columns = self._twins.columns(self._net.network, *neuron)
        total, terms = jump_terms(self._net, columns, neuron[0], self._slopes, self._ranges, {})
        return bool(total + sum((min(term) for row in terms.values() for term in row), ZERO) >= 0)


def jump_terms(
    net: RationalNetwork,
    jump: Mapping[int, Mapping[int, fmpq]],
    first: int,
    slopes: Slopes,
    ranges: Mapping[int, tuple[Vector, Vector]],
    multipliers: Mapping[int, Vector],
) -> tuple[fmpq, dict[int, list[Vector]]]:
    """Split a lower bound of a jump into a constant and one term per later neuron.

    Parameters
    ----------
    net : RationalNetwork
    jump : {target layer: {row: weight}}
        Outgoing weights of the jump, L + 1 being the output.
    first : int
        The layer that they leave.
    slopes : lists over layers and neurons of lists of slopes
    ranges : {layer: (lower, upper) bounds of its adjoints}
    multipliers : {layer: list of n_l fmpq}
        kappa; zero where left out.

    Returns
    -------
    constant : fmpq
    terms : {layer: lists over neurons and their slopes of fmpq}
    """
    total = jump.get(net.depth + 1, {}).get(0, ZERO)
    kappa: dict[int, Vector] = {}
    terms: dict[int, list[Vector]] = {}
    for layer in range(first + 1, net.depth + 1):
        own = jump.get(layer, {})
        rho = [own.get(i, ZERO) for i in range(net.widths[layer - 1])]
        for k in kappa.keys() & net.weights[layer - 1].keys():
            rho = [a - b for a, b in zip(rho, applied(net.weights[layer - 1][k], kappa[k]), strict=True)]
        given = multipliers.get(layer) or [ZERO] * len(rho)
        allowed = slopes[layer - 1]
        kappa[layer] = [-s[0] * r if len(s) == 1 else y for s, r, y in zip(allowed, rho, given, strict=True)]
        lo, hi = ranges[layer]
        terms[layer] = [
            [least(y + slope * r, a, b) for slope in choices]
            for choices, r, y, a, b in zip(allowed, rho, kappa[layer], lo, hi, strict=True)
        ]
        if layer in net.outputs:
            total -= sum((y * c for y, c in zip(kappa[layer], net.outputs[layer], strict=True)), ZERO)
    return total, terms


def adjoint_ranges(net: RationalNetwork, first: int, slopes: Slopes) -> dict[int, tuple[Vector, Vector]]:
    """Bound the adjoints of the layers after `first` over the allowed slopes."""
    ranges: dict[int, tuple[Vector, Vector]] = {}
    gated: dict[int, tuple[Vector, Vector]] = {}
    for layer in range(net.depth, first, -1):
        lo = list(net.outputs.get(layer) or [ZERO] * net.widths[layer - 1])
        hi = list(lo)
        for target, (low, high) in gated.items():
            if layer in net.weights[target - 1]:
                plus, minus = net.signed[target - 1][layer]
                lo = _sum(lo, applied(plus, low), [-v for v in applied(minus, high)])
                hi = _sum(hi, applied(plus, high), [-v for v in applied(minus, low)])
        ranges[layer] = lo, hi
        ends = [
            [slope * v for slope in choices for v in (a, b)]
            for choices, a, b in zip(slopes[layer - 1], lo, hi, strict=True)
        ]
        gated[layer] = [min(e) for e in ends], [max(e) for e in ends]
    return ranges


def least(coefficient: fmpq, lo: fmpq, hi: fmpq) -> fmpq:
    """Minimise coefficient * v over lo <= v <= hi."""
    return coefficient * (lo if coefficient.p > 0 else hi) if coefficient else ZERO


def _sum(*vectors: Vector) -> Vector:
    return [sum(terms, ZERO) for terms in zip(*vectors, strict=True)]
