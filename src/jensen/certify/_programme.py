"""The linear programme behind branch and bound: the least jump of one neuron over its kink, relaxed.

Columns: the inputs; for every neuron that matters its pre-activation z, activation h, and, while its sign
is undecided, an indicator a in [0, 1] (a = 1: active); and for later layers the adjoints g and the
products a g. Fixing an indicator to 0 or 1 makes its neuron exact, so that branching changes nothing but
column bounds and the simplex basis stays warm. Every row is valid for every real point of the kink:
coefficients that had to be rounded are covered by widened right-hand sides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jensen.certify._bounds import EPS, SMALLEST, TINY, Intervals, adjoint_bounds, magnitudes, rounding_factor
from jensen.certify._pieces import Piece
from jensen.certify._relaxation import Relaxation
from jensen.certify._rows import Expression, Rows, nonzeros, nonzeros_of_column
from jensen.certify._twins import JumpWeights
from jensen.network import FloatArray, Matrix, ReLUNetwork

Neuron = tuple[int, int]
"""(layer, index): layers count from 1, neurons from 0."""


class Programme(Relaxation):
    """The least jump of v over {x in the piece : z_v(x) = 0}, relaxed.

    Parameters
    ----------
    piece : Piece
    neuron : (layer, index)
    intervals : Intervals
        Sound, finite bounds on all pre-activations over the kink.
    jumps : JumpWeights
    signs : list of (n_l,) int arrays, optional
        Signs that count as known on the kink: 1, -1, or 0 while undecided. By default, those that the
        intervals tell.

    Attributes
    ----------
    undecided : list of (layer, index)
        Neurons whose sign is open, in topological order.
    indicators, columns_z : (n,) int arrays
        Columns of their indicators and of their pre-activations.
    row_of_z, row_of_g : {neuron: row}
        The rows that define pre-activations (of the neuron itself: that it is zero) and adjoints; None
        where arithmetic overflowed and the row is missing.
    row_of_cut : list of row
        The rows of the piece's inequalities.
    """

    def __init__(
        self,
        piece: Piece,
        neuron: Neuron,
        intervals: Intervals,
        jumps: JumpWeights,
        signs: list[NDArray[np.int8]] | None = None,
    ) -> None:
        self.jumps, self.signs = jumps, signs
        self.piece, self.neuron, self.intervals = piece, neuron, intervals
        self.network = piece.network
        self._low, self._high = list(piece.lo), list(piece.hi)
        self._rows = Rows()
        self.undecided: list[Neuron] = []
        self._indicator: dict[Neuron, int] = {}
        self._z: dict[Neuron, int] = {}
        self._h: dict[Neuron, tuple[int, float]] = {}
        self.row_of_z: dict[Neuron, int | None] = {}
        self.row_of_g: dict[Neuron, int | None] = {}
        self._factor = rounding_factor(self.network)
        self.row_of_cut = [
            self._rows.add({int(j): float(row[j]) for j in np.flatnonzero(row)}, -np.inf, float(r))
            for row, r in zip(piece.A, piece.b, strict=True)
        ]
        self._forward(self._top_layer())
        objective = self._backward()
        super().__init__(np.array(self._low), np.array(self._high), self._rows, objective)
        self.indicators = np.array([self._indicator[u] for u in self.undecided], dtype=np.int32)
        self.columns_z = np.array([self._z[u] for u in self.undecided], dtype=np.int32)
        self.weights = self._importance()

    def sign(self, layer: int, i: int) -> int:
        """Known sign of a neuron on the kink: 1, -1, or 0 while undecided."""
        if self.signs is not None:
            return int(self.signs[layer - 1][i])
        if self.network.layers[layer - 1].negative_slope[i] == 1 or self.intervals.lo[layer - 1][i] >= 0:
            return 1
        return -1 if self.intervals.hi[layer - 1][i] <= 0 else 0

    def _top_layer(self) -> int:
        top = self.neuron[0]
        for layer in range(self.network.depth, top, -1):
            if any(self.sign(layer, i) == 0 for i in range(self.network.layers[layer - 1].size)):
                return layer
        return top

    def _column(self, low: float, high: float) -> int:
        self._low.append(low)
        self._high.append(high)
        return len(self._low) - 1

    def _preactivation(self, layer: int, i: int) -> Expression:
        """Z of a neuron as an affine function of the columns of its sources."""
        entries: dict[int, float] = {}
        error = 0.0
        for source, w in self.network.layers[layer - 1].weights.items():
            for j, v in nonzeros(w, i):
                if source == 0:
                    entries[j] = entries.get(j, 0.0) + v
                    continue
                if (source, j) not in self._h:
                    continue
                column, factor = self._h[source, j]
                term = v * factor
                if factor != 1.0 or column in entries:
                    size = abs(term) + abs(entries.get(column, 0.0)) + TINY
                    error += 2 * EPS * size * self._reach(column)
                entries[column] = entries.get(column, 0.0) + term
        return Expression(entries, float(self.network.layers[layer - 1].bias[i]), error)

    def _reach(self, column: int) -> float:
        return float(max(abs(self._low[column]), abs(self._high[column])))

    def _forward(self, top: int) -> None:
        for layer in range(1, top + 1):
            lows, highs = self.intervals.lo[layer - 1], self.intervals.hi[layer - 1]
            slopes = self.network.layers[layer - 1].negative_slope
            for i in range(self.network.layers[layer - 1].size):
                if (layer, i) == self.neuron:
                    kink = self._preactivation(layer, i)
                    self.row_of_z[layer, i] = self._rows.add(
                        kink.entries, -kink.constant - kink.error, -kink.constant + kink.error
                    )
                    continue
                sign, slope = self.sign(layer, i), float(slopes[i])
                if sign and (layer == top or (sign < 0 and slope == 0)):
                    continue
                form = self._preactivation(layer, i)
                z = self._column(float(lows[i]), float(highs[i]))
                entries = {k: -v for k, v in form.entries.items()} | {z: 1.0}
                self.row_of_z[layer, i] = self._rows.add(
                    entries, form.constant - form.error, form.constant + form.error
                )
                if sign:
                    self._h[layer, i] = (z, 1.0 if sign > 0 else slope)
                else:
                    self._undecided(layer, i, z, slope, layer < top)

    def _undecided(self, layer: int, i: int, z: int, slope: float, passed_on: bool) -> None:
        low, high = self._low[z], self._high[z]
        a = self._column(0.0, 1.0)
        self.undecided.append((layer, i))
        self._indicator[layer, i] = a
        self._z[layer, i] = z
        # a = 0 forces z <= 0, a = 1 forces z >= 0.
        if not passed_on:
            self._rows.add({z: 1.0, a: -high}, -np.inf, 0.0)
            self._rows.add({z: 1.0, a: low}, low, np.inf)
            return
        values = [0.0, high, slope * low]
        pad = EPS * abs(slope * low) + (SMALLEST if slope else 0.0)
        h = self._column(min(values) - pad, max(values) + pad)
        self._h[layer, i] = (h, 1.0)
        gain = 1.0 - slope
        up = np.nextafter(abs(gain) * high, np.inf) * (1 + 2 * EPS) if slope else high
        down = -np.nextafter(abs(gain) * -low, np.inf) * (1 + 2 * EPS) if slope else low
        # h - slope z = gain relu(z) lies in [0, up a]; h - z = gain relu(-z) in [0, -down (1 - a)],
        # both mirrored where gain < 0.
        rows: list[tuple[dict[int, float], float]] = [
            ({h: 1.0, z: -slope}, 0.0),
            ({h: 1.0, z: -1.0}, 0.0),
            ({h: -1.0, z: slope, a: up}, 0.0),
            ({h: -1.0, z: 1.0, a: down}, down),
        ]
        for entries, bound in rows:
            mirrored = entries if gain > 0 else {k: v if k == a else -v for k, v in entries.items()}
            self._rows.add(mirrored, bound, np.inf)
        if slope != 0.0:  # then h alone no longer ties z to a
            self._rows.add({z: 1.0, a: -high}, -np.inf, 0.0)
            self._rows.add({z: 1.0, a: low}, low, np.inf)

    def _backward(self) -> Expression:
        """Express the jump of the neuron by indicators, adjoints and their products."""
        network, (layer_v, v) = self.network, self.neuron
        bounds = adjoint_bounds(network, self.intervals.slopes(network), self.jumps)
        low, high = bounds.low, bounds.high
        mass = adjoint_mass(network)
        reached = self._reached()
        products: dict[Neuron, Expression] = {}

        def adjoint(layer: int, i: int, weight: Callable[[int, int], Matrix]) -> Expression:
            total = Expression({}, 0.0, TINY)
            for target in network.readers[layer]:
                w = weight(target, layer)
                onward = [1.0] if target == network.depth + 1 else mass[target - 1]
                total.error += sum(
                    (self._factor * abs(value) + SMALLEST) * float(onward[u])
                    for u, value in nonzeros_of_column(w, i)
                )
                if target == network.depth + 1:
                    total.constant += float(w[0, i])
                    continue
                for u, value in nonzeros_of_column(w, i):
                    product = products.get((target, u))
                    if product is not None:
                        total.constant += value * product.constant
                        total.faint += abs(value) * product.faint + SMALLEST * (1.0 + product.reach)
                        for column, c in product.entries.items():
                            total.entries[column] = total.entries.get(column, 0.0) + value * c
            total.error += total.faint
            return total

        for layer in range(network.depth, layer_v, -1):
            for i in np.flatnonzero(reached[layer - 1]):
                slope = float(network.layers[layer - 1].negative_slope[i])
                sign = self.sign(layer, int(i))
                if sign < 0 and slope == 0:
                    continue
                g = adjoint(layer, int(i), network.weight)
                if sign:
                    products[layer, int(i)] = self._scaled(g, 1.0 if sign > 0 else slope)
                    continue
                gain, a = 1.0 - slope, self._indicator[layer, int(i)]
                product = self._scaled(g, slope)
                if not g.entries:
                    product.entries[a] = gain * g.constant
                    product.faint += abs(gain) * g.faint + SMALLEST
                    product.reach += 1.0
                else:
                    ends = float(low[layer - 1][i]), float(high[layer - 1][i])
                    gated = self._product((layer, int(i)), g, a, *ends)
                    product.entries[gated] = gain
                    product.reach += self._reach(gated)
                products[layer, int(i)] = product
        return adjoint(layer_v, v, self.jumps.weight)

    def _scaled(self, g: Expression, factor: float) -> Expression:
        """Multiply an expression by a slope."""
        if not factor:
            return Expression({}, 0.0, 0.0)
        reach = sum(self._reach(column) for column in g.entries)
        faint = abs(factor) * g.faint + (SMALLEST * (1.0 + reach) if factor != 1.0 else 0.0)
        entries = {column: factor * v for column, v in g.entries.items()}
        return Expression(entries, factor * g.constant, abs(factor) * g.error, faint, reach)

    def _product(self, neuron: Neuron, g: Expression, a: int, low: float, high: float) -> int:
        """Column for a * g with g in [low, high]: McCormick's envelope, exact once a is 0 or 1."""
        adjoint = self._column(low, high)
        entries = {k: -v for k, v in g.entries.items()} | {adjoint: 1.0}
        self.row_of_g[neuron] = self._rows.add(entries, g.constant - g.error, g.constant + g.error)
        gated = self._column(min(low, 0.0), max(high, 0.0))
        self._rows.add({gated: 1.0, a: -high}, -np.inf, 0.0)
        self._rows.add({gated: 1.0, a: -low}, 0.0, np.inf)
        self._rows.add({gated: 1.0, adjoint: -1.0, a: -high}, -high, np.inf)
        self._rows.add({gated: 1.0, adjoint: -1.0, a: -low}, -np.inf, -low)
        return gated

    def _reached(self) -> list[NDArray[np.bool_]]:
        """Which neurons the adjoint of v depends on."""
        network, (layer_v, v) = self.network, self.neuron
        reached = [np.zeros(n, dtype=bool) for n in network.widths]
        reached[layer_v - 1][v] = True
        for target in network.readers[layer_v]:  # the jump reads the twins' outgoing weights as well
            if target <= network.depth:
                reached[target - 1] |= (
                    np.asarray(magnitudes(self.jumps.weight(target, layer_v))[:, [v]].sum(axis=1)) > 0
                )
        for layer in range(layer_v + 1, network.depth + 1):
            for source, w in network.layers[layer - 1].weights.items():
                if source >= layer_v:
                    reached[layer - 1] |= np.asarray(magnitudes(w) @ reached[source - 1].astype(float)) > 0
        return reached

    @np.errstate(over="ignore", invalid="ignore")
    def _importance(self) -> FloatArray:
        """How much each undecided sign weighs in branching: its share of the objective, or its slack."""
        mass = adjoint_mass(self.network)
        reached = self._reached()
        result = np.zeros(len(self.undecided))
        for position, (layer, i) in enumerate(self.undecided):
            z, a = self._z[layer, i], self._indicator[layer, i]
            low, high = self.low[z], self.high[z]
            gap = -low * high / (high - low)
            result[position] = abs(self.cost[a]) + 1e-2 * gap * mass[layer - 1][i]
            if reached[layer - 1][i] and layer > self.neuron[0]:
                result[position] += mass[layer - 1][i]
        return result + 1e-12


def adjoint_mass(network: ReLUNetwork) -> list[FloatArray]:
    """Sum over paths the absolute weights from every pre-activation to the output."""
    mass: list[FloatArray] = [np.zeros(n) for n in network.widths]
    for source in range(network.depth, 0, -1):
        for target in network.readers[source]:
            w = magnitudes(network.weight(target, source))
            if target == network.depth + 1:
                mass[source - 1] = mass[source - 1] + np.asarray(w.T @ np.ones(1))
            else:
                mass[source - 1] = mass[source - 1] + np.asarray(w.T @ mass[target - 1])
        mass[source - 1] = mass[source - 1] * np.maximum(
            1.0, np.abs(network.layers[source - 1].negative_slope)
        )
    return mass
