"""Integer weights, affine forms and adjoints: every float64 weight is an integer times a power of two."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from jensen.geometry._program import ACTIVE, Program
from jensen.network import FloatArray

Row: TypeAlias = tuple[int, ...]
"""An integer vector in homogeneous coordinates: d entries of x, then x0."""


def _integers(array: FloatArray, exponent: int) -> list[int]:
    """Multiply floats by 2 ** exponent, exactly."""
    result = []
    for value in array.tolist():
        numerator, denominator = value.as_integer_ratio()
        result.append((numerator << exponent) // denominator)
    return result


def _exponent(arrays: Sequence[FloatArray]) -> int:
    """Return the least exponent that makes every entry an integer."""
    worst = 0
    for array in arrays:
        values = array[array != 0]
        if values.size and (values != np.trunc(values)).any():
            _, e = np.frexp(np.abs(values).min())
            worst = max(worst, 53 - int(e))
    if worst == 0:
        return 0
    # The bound above is seldom tight: float32 weights need fewer bits.
    needed = 0
    for array in arrays:
        for value in array.ravel().tolist():
            needed = max(needed, value.as_integer_ratio()[1].bit_length() - 1)
    return min(worst, needed)


class ExactWeights:
    """Integer weights by neuron, affine forms and adjoints under a pattern of states.

    Parameters
    ----------
    program : Program
    """

    def __init__(self, program: Program) -> None:
        self.starts, self.d = program.starts, program.d
        self.n_neurons, self.layer_of = program.n_neurons, program.layer_of
        self.output_bias = Fraction(program.network.output_bias)
        layers = program.network.layers
        arrays = [w for ws in program.weights for w in ws.values()] + [np.asarray(lay.bias) for lay in layers]
        arrays += [*program.output.values(), *program.slopes, np.array([program.network.output_bias])]
        self.exponent = _exponent(arrays)
        e = self.exponent
        self.weights: list[list[list[tuple[int, int]]]] = []
        """Per layer and neuron: (source, integer weight); sources below d are inputs, then neurons."""
        self.bias: list[list[int]] = []
        offsets = [0, *(self.d + s for s in program.starts[:-1])]
        for ws, lay in zip(program.weights, layers, strict=True):
            table: list[list[tuple[int, int]]] = [[] for _ in range(lay.size)]
            for k, w in ws.items():
                for i, row in enumerate(w):
                    values = _integers(row, e)
                    table[i].extend((offsets[k] + j, v) for j, v in enumerate(values) if v)
            self.weights.append(table)
            self.bias.append(_integers(lay.bias, e))
        self.slopes = [_integers(s, e) for s in program.slopes]
        self.sloped = [any(s) for s in self.slopes]
        self.output: list[tuple[int, int]] = []
        for k, w in program.output.items():
            self.output.extend((offsets[k] + j, v) for j, v in enumerate(_integers(w, e)) if v)
        self.scale: list[int] = []
        """Scale of the form of every layer's pre-activations: a form is integers times 2 ** -scale."""
        self._h_scale = [0]
        for ws, sloped in zip(program.weights, self.sloped, strict=True):
            scale = e + max((self._h_scale[k] for k in ws), default=0)
            self.scale.append(scale)
            self._h_scale.append(scale + (e if sloped else 0))
        self._unit = [tuple(int(i == j) for j in range(self.d + 1)) for i in range(self.d)]
        self._shift: list[list[int]] = []
        """Per layer: the left shift that brings each earlier source's activations to the common scale."""
        for layer, scale in enumerate(self.scale):
            shift = [scale - e] * self.d
            for k in range(layer):
                shift += [scale - e - self._h_scale[k + 1]] * layers[k].size
            self._shift.append(shift)

    def activations(self, layer: int, forms: Sequence[Row], states: Sequence[int]) -> list[Row]:
        """Forms of the activations of a layer, from the forms of its pre-activations."""
        zero = (0,) * (self.d + 1)
        if not self.sloped[layer]:
            return [row if s == ACTIVE else zero for row, s in zip(forms, states, strict=True)]
        one = 1 << self.exponent
        result = []
        for row, s, slope in zip(forms, states, self.slopes[layer], strict=True):
            factor = one if s == ACTIVE else slope
            result.append(tuple(factor * c for c in row) if factor else zero)
        return result

    def forms(self, layer: int, sources: Sequence[Row]) -> list[Row]:
        """Forms of the pre-activations of a layer.

        Parameters
        ----------
        layer : int
            Counted from 0.
        sources : sequence of rows
            Forms of the inputs and of all earlier activations, in order (see `inputs`).
        """
        shift, d = self._shift[layer], self.d
        place = self.scale[layer] - self.exponent
        result = []
        for terms, bias in zip(self.weights[layer], self.bias[layer], strict=True):
            total = [0] * d
            total.append(bias << place)
            for j, w in terms:
                source = sources[j]
                if any(source):
                    factor = w << shift[j] if shift[j] > 0 else w
                    for c, value in enumerate(source):
                        if value:
                            total[c] += factor * value
            result.append(tuple(total))
        return result

    @property
    def inputs(self) -> list[Row]:
        """Forms of the inputs themselves."""
        return list(self._unit)

    def all_forms(self, states: Sequence[int]) -> list[Row]:
        """Forms of the pre-activations of all neurons under given states."""
        sources, result = self.inputs, []
        starts = self.starts
        for layer in range(len(self.scale)):
            rows = self.forms(layer, sources)
            result += rows
            sources += self.activations(layer, rows, states[starts[layer] : starts[layer + 1]])
        return result

    def adjoints(self, states: Sequence[int]) -> list[Fraction]:
        """Differentiate the output by every activation, exactly, under given states."""
        d, starts, e = self.d, self.starts, self.exponent
        totals = [0] * (d + self.n_neurons)
        for j, w in self.output:
            totals[j] = w
        scale = e
        for layer in range(len(self.scale) - 1, 0, -1):
            lo, hi = d + starts[layer], d + starts[layer + 1]
            step = e + (e if self.sloped[layer] else 0)
            values = totals[lo:hi]
            # All adjoints share one scale, which grows on the way back.
            totals = [t << step for t in totals]
            scale += step
            for i, value in enumerate(values):
                factor = value
                if self.sloped[layer]:
                    factor *= (1 << e) if states[lo - d + i] == ACTIVE else self.slopes[layer][i]
                elif states[lo - d + i] != ACTIVE:
                    continue
                if factor:
                    for j, w in self.weights[layer][i]:
                        totals[j] += w * factor
        return [Fraction(t, 1 << scale) for t in totals[d:]]

    def piece(self, states: Sequence[int]) -> tuple[list[Fraction], Fraction]:
        """Gradient and offset of the output under given states, exactly."""
        forms = self.all_forms(states)
        total = [Fraction(0)] * (self.d + 1)
        total[self.d] = self.output_bias
        unit = 1 << self.exponent
        for j, w in self.output:
            if j < self.d:
                total[j] += Fraction(w, unit)
                continue
            v = j - self.d
            layer = int(self.layer_of[v])
            factor = Fraction(w, unit << self.scale[layer])
            if states[v] != ACTIVE:
                factor *= Fraction(self.slopes[layer][v - self.starts[layer]], unit)
            if factor:
                total = [t + factor * c for t, c in zip(total, forms[v], strict=True)]
        return total[:-1], total[-1]
