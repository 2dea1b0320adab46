"""The linear programme holds at every real point of a kink, exactly, and its bounds are below every jump."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import plain
import pytest

from jensen.certify._pieces import Piece, pieces
from jensen.certify._programme import Neuron, Programme
from jensen.certify._rows import Expression
from jensen.certify._tasks import Ground
from jensen.certify._twins import JumpWeights
from jensen.network import Box, Layer, Polytope, ReLUNetwork, WholeSpace


class Recorded(Programme):
    """Notes which columns hold an adjoint and its product with an indicator."""

    def _product(self, neuron: Neuron, g: Expression, a: int, low: float, high: float) -> int:
        gated = super()._product(neuron, g, a, low, high)
        self.__dict__.setdefault("gates", []).append((a, gated - 1, gated))
        return gated

    def columns(self, x: list[Fraction], z: list[list[Fraction]], on: list[list[bool]]) -> list[Fraction]:
        """Values of all columns at a point with given activation pattern."""
        values = [Fraction(0)] * self.low.size
        values[: len(x)] = x
        slopes = [layer.negative_slope for layer in self.network.layers]
        adjoint = plain.adjoints(self.network, on).adjoint
        owner = {}
        for (layer, i), column in self._indicator.items():
            values[column], owner[column] = Fraction(int(on[layer - 1][i])), (layer, i)
        for (layer, i), (column, factor) in self._h.items():
            own = z[layer - 1][i]
            h = own if on[layer - 1][i] else Fraction(float(slopes[layer - 1][i])) * own
            values[column] = own if (layer, i) not in self._indicator else h
            assert (layer, i) in self._indicator or h == Fraction(factor) * own
        for (layer, i), column in self._z.items():
            values[column] = z[layer - 1][i]
        for a, g, gated in self.__dict__.get("gates", []):
            layer, i = owner[a]
            values[g] = adjoint[layer - 1][i]
            values[gated] = values[a] * values[g]
        return values


def _on_kink(rng: Random, piece: Piece, layer: int, i: int) -> list[Fraction] | None:
    """A rational point of the piece where the neuron's pre-activation is zero."""
    network = piece.network
    lo, hi = [Fraction(float(v)) for v in piece.lo], [Fraction(float(v)) for v in piece.hi]
    x = [a + (b - a) * Fraction(rng.randint(0, 24), 24) for a, b in zip(lo, hi, strict=True)]
    on = [np.array([v > 0 for v in row], dtype=bool) for row in plain.preactivations(network, x)]
    form = [int(v) for v in network.exact.affine_forms(on)[layer - 1][0][i]]
    j = rng.randrange(len(x))
    if not form[j]:
        return None
    x[j] = -(
        form[-1] + sum((c * v for k, (c, v) in enumerate(zip(form, x, strict=False)) if k != j))
    ) / Fraction(form[j])
    inside = all(a <= v <= b for a, v, b in zip(lo, x, hi, strict=True)) and all(
        sum((Fraction(float(a)) * v for a, v in zip(row, x, strict=True)), Fraction(0)) <= Fraction(float(r))
        for row, r in zip(piece.A, piece.b, strict=True)
    )
    return x if inside and plain.preactivations(network, x)[layer - 1][i] == 0 else None


DOMAINS = [Box(-2.0, 1.5), WholeSpace(), Box(0.0, np.inf)]


@pytest.mark.parametrize("seed", range(60))
def test_rows_hold_and_bounds_are_below_every_jump(seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, depth=rng.randint(1, 3), wild=seed % 6 == 0)
    domain = DOMAINS[seed % 3] if seed % 5 else Polytope(np.ones((1, network.input_size)), [2.0])
    numbers = np.random.default_rng(seed)
    jumps = JumpWeights(network)
    for piece in pieces(network, domain)[0]:
        ground = Ground(piece)
        for layer, n in enumerate(network.widths, start=1):
            for i in range(n):
                _check_neuron(rng, numbers, ground, layer, i, jumps)


def _check_neuron(
    rng: Random, numbers: np.random.Generator, ground: Ground, layer: int, i: int, jumps: JumpWeights
) -> None:
    piece, network = ground.piece, ground.piece.network
    groups = [dict(g) for g in jumps.groups[layer - 1] if i in dict(g)]
    if (groups and next(iter(groups[0])) != i) or network.layers[layer - 1].negative_slope[i] == 1:
        return  # its group's first neuron speaks for it; a linear one has no kink
    points = [x for _ in range(6) if (x := _on_kink(rng, piece, layer, i)) is not None]
    kink = ground.kink((layer, i))
    if kink is None:
        for x in points:  # then the kink may touch the piece from outside only
            signs = {(v > 0) - (v < 0) for v in _near(rng, piece, x, layer, i)}
            assert len(signs - {0}) <= 1
        return
    programme = Recorded(piece, (layer, i), kink, jumps)
    for x in points:
        z = plain.preactivations(network, x)
        on = [
            [_active(rng, v, programme.sign(k, j)) for j, v in enumerate(row)]
            for k, row in enumerate(z, start=1)
        ]
        values = programme.columns(x, z, on)
        for value, low, high in zip(values, programme.low, programme.high, strict=True):
            assert low == -np.inf or Fraction(float(low)) <= value
            assert high == np.inf or value <= Fraction(float(high))
        rows = [
            sum(
                (Fraction(float(c)) * values[k] for k, c in zip(line.indices, line.data, strict=True)),
                Fraction(0),
            )
            for line in (programme.matrix[[r]] for r in range(programme.matrix.shape[0]))
        ]
        for total, low, high in zip(rows, programme.row_low, programme.row_high, strict=True):
            assert low == -np.inf or Fraction(float(low)) <= total
            assert high == np.inf or total <= Fraction(float(high))
        cost = sum((Fraction(float(c)) * v for c, v in zip(programme.cost, values, strict=True)), Fraction(0))
        true = plain.jump(network, on, layer, groups[0] if groups else {i: Fraction(1)})
        if np.isfinite(programme.error):
            assert abs(cost + Fraction(programme.offset) - true) <= Fraction(programme.error)
        for scale in (1e-3, 1.0, 1e3):
            y = scale * numbers.normal(size=len(rows)) * (numbers.random(len(rows)) < 0.5)
            bound = programme.lower_bound(y, programme.low, programme.high, programme.cost)
            assert bound == -np.inf or Fraction(bound) <= cost
            assert not programme.lower_bound(y, programme.low, programme.high, 0 * programme.cost) > 0


def _active(rng: Random, z: Fraction, sign: int) -> bool:
    """Whether a neuron counts as active: at zero, either, unless its sign is known all over the piece."""
    return z > 0 or (z == 0 and (rng.random() < 0.5 if sign == 0 else sign > 0))


def _near(rng: Random, piece: Piece, x: list[Fraction], layer: int, i: int) -> list[Fraction]:
    """Values of a pre-activation at points of the piece close to x."""
    result = []
    for _ in range(6):
        ends = [
            rng.choice([Fraction(float(a)), Fraction(float(b))])
            for a, b in zip(piece.lo, piece.hi, strict=True)
        ]
        close = [v + (e - v) / 1000 for v, e in zip(x, ends, strict=True)]
        if len(piece.b) == 0:
            result.append(plain.preactivations(piece.network, close)[layer - 1][i])
    return result


def test_the_jump_reads_what_only_a_twin_reaches() -> None:
    # v0 = relu(x), v1 = relu(2 x), u = relu(v1 + y) reads only v1: the jump of both is 1 - 2 a_u.
    layers = [
        Layer({0: [[1.0, 0.0], [2.0, 0.0]]}, [0.0, 0.0]),
        Layer({0: [[0.0, 1.0]], 1: [[0.0, 1.0]]}, [0.0]),
    ]
    network = ReLUNetwork(2, layers, {1: [1.0, 0.0], 2: [-1.0]})
    jumps, piece = JumpWeights(network), pieces(network, Box(-1.0, 1.0))[0][0]
    kink = Ground(piece).kink((1, 0))
    assert kink is not None
    programme = Programme(piece, (1, 0), kink, jumps)
    u = programme.undecided.index((2, 0))
    assert programme.offset == 1.0
    assert programme.cost[programme.indicators[u]] == -2.0
