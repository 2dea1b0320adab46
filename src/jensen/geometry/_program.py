"""A network as the enumeration reads it: neurons in order, which of them can split a region, exact weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.network import FloatArray, Matrix, ReLUNetwork

Row: TypeAlias = tuple[int, ...]
"""An integer vector in homogeneous coordinates: d entries of x, then x0."""

SPLIT, FOLLOW, FIXED = 0, 1, 2
INACTIVE, ACTIVE, ZERO = 0, 1, 2
"""State of a neuron on a region; ZERO where its pre-activation vanishes on the whole region."""


def dense(matrix: Matrix) -> FloatArray:
    """Give a weight matrix as a dense array."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=np.float64)


@dataclass(frozen=True)
class Kinds:
    """Which neurons can split a region.

    A neuron whose row is proportional to an earlier one's of its layer follows that one; a neuron with no
    weights, or with slope 1 on both sides, is fixed. The others split.

    Attributes
    ----------
    kind : (K,) int8 array of SPLIT, FOLLOW, FIXED
    leader : (K,) int array
        The neuron that a follower follows; its own index for the others.
    ratio : list of Fraction
        Row of the neuron divided by the row of its leader.
    state : (K,) int8 array
        State of the fixed neurons.
    """

    kind: NDArray[np.int8]
    leader: NDArray[np.int64]
    ratio: list[Fraction]
    state: NDArray[np.int8]


def _proportion(row: FloatArray, leader: FloatArray) -> Fraction | None:
    """Return row / leader where the two are exactly proportional."""
    at = int(np.flatnonzero(leader)[0])
    ratio = Fraction(float(row[at])) / Fraction(float(leader[at]))
    same = all(Fraction(float(a)) == ratio * Fraction(float(b)) for a, b in zip(row, leader, strict=True) if a or b)
    return ratio if same else None


def classify(rows: Sequence[FloatArray], slopes: Sequence[FloatArray]) -> Kinds:
    """Sort neurons into those that split, follow and stay fixed.

    Parameters
    ----------
    rows : sequence of (n_l, m_l) arrays
        All weights of every layer side by side, the bias last.
    slopes : sequence of (n_l,) arrays
    """
    total = sum(len(layer) for layer in rows)
    kind, leader = np.full(total, SPLIT, dtype=np.int8), np.arange(total)
    state, ratio = np.zeros(total, dtype=np.int8), [Fraction(1)] * total
    start = 0
    for layer, slope in zip(rows, slopes, strict=True):
        leaders: dict[bytes, list[int]] = {}
        for i, row in enumerate(layer):
            index = start + i
            if slope[i] == 1 or not row[:-1].any():
                kind[index] = FIXED
                bias = row[-1]
                state[index] = ACTIVE if slope[i] == 1 or bias > 0 else INACTIVE
                continue
            # Division rounds correctly, so proportional rows have equal quotients.
            with np.errstate(over="ignore", under="ignore"):
                key = (row / row[np.flatnonzero(row)[0]] + 0.0).tobytes()
            for candidate in leaders.setdefault(key, []):
                proportion = _proportion(row, layer[candidate - start])
                if proportion is not None:
                    kind[index], leader[index], ratio[index] = FOLLOW, candidate, proportion
                    break
            else:
                leaders[key].append(index)
        start += len(layer)
    return Kinds(kind, leader, ratio, state)


class Program:
    """A network prepared for enumeration.

    Neurons are numbered 0..K-1 through the layers. Integer weights are the float64 weights times
    ``2 ** exponent``.

    Parameters
    ----------
    network : ReLUNetwork
    """

    def __init__(self, network: ReLUNetwork) -> None:
        self.network = network
        self.d = network.input_size
        self.starts = [0, *np.cumsum(network.widths).tolist()] if network.depth else [0]
        self.n_neurons = network.n_neurons
        self.weights = [{k: dense(w) for k, w in lay.weights.items()} for lay in network.layers]
        self.output = {k: dense(w)[0] for k, w in network.output_weights.items()}
        self.slopes = [np.asarray(lay.negative_slope) for lay in network.layers]
        rows = [
            np.concatenate([*(w for w in ws.values()), lay.bias[:, None]], axis=1)
            for ws, lay in zip(self.weights, network.layers, strict=True)
        ]
        self.kinds = classify(rows, self.slopes)
        self.layer_of = np.repeat(np.arange(network.depth), network.widths)
        self.members: list[list[int]] = [[] for _ in range(self.n_neurons)]
        for v in range(self.n_neurons):
            if self.kinds.kind[v] != FIXED:
                self.members[int(self.kinds.leader[v])].append(v)
        self._exact: ExactWeights | None = None

    @property
    def exact(self) -> ExactWeights:
        """The integer weights, built when they are first asked for."""
        if self._exact is None:
            self._exact = ExactWeights(self)
        return self._exact

    def input_rows(self) -> Iterator[FloatArray]:
        """Yield the weight rows by which hidden neurons read the input directly."""
        for weights in self.weights:
            if 0 in weights:
                yield from weights[0]


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
        self.program = program
        self.d = program.d
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
        starts = self.program.starts
        for layer in range(len(self.scale)):
            rows = self.forms(layer, sources)
            result += rows
            sources += self.activations(layer, rows, states[starts[layer] : starts[layer + 1]])
        return result

    def adjoints(self, states: Sequence[int]) -> list[Fraction]:
        """Derivatives of the output by every activation, exactly, under given states."""
        d, starts, e = self.d, self.program.starts, self.exponent
        totals = [0] * (d + self.program.n_neurons)
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
