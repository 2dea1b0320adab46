"""The tape: neurons created while a model is read, and the network that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.errors import NetworkError
from jensen.network._relu_network import FloatArray, Layer, Matrix, ReLUNetwork
from jensen.network.lowering import _matrix
from jensen.network.lowering._expression import Expression, constant_expression, stack
from jensen.network.lowering._rounding import entries, product_is_exact

MAX_ELEMENTS = 1 << 28
"""No tensor of a model may have more elements than this: a guard against absurd files."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Neurons that came into being together and share a depth."""

    level: int
    argument: Expression
    slopes: FloatArray


def _same(a: _Block, b: _Block) -> bool:
    """Whether two blocks compute the same neurons in the same order."""
    return (
        a.level == b.level
        and a.argument.terms.keys() == b.argument.terms.keys()
        and np.array_equal(a.argument.constant, b.argument.constant)
        and np.array_equal(a.slopes, b.slopes)
        and all(_matrix.same(m, b.argument.terms[k]) for k, m in a.argument.terms.items())
    )


class Tape:
    """Collects blocks of neurons; `finish` groups those of equal depth into layers.

    Parameters
    ----------
    input_size : int
        Number of inputs of the network.
    """

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        self.place = "the input"
        self.notes: dict[str, None] = {}
        empty = np.zeros(0)
        self._blocks = [_Block(0, constant_expression(empty), empty)]

    def input(self) -> Expression:
        """Return the network's input, as an expression."""
        return Expression({0: _matrix.identity(self.input_size)}, np.zeros(self.input_size))

    @property
    def exact(self) -> bool:
        """Whether nothing rounded so far."""
        return not self.notes

    def rounded(self) -> None:
        """Record that the operation at the current place rounded."""
        self.notes[f"{self.place} rounds to float64"] = None

    def keep(self, expression: Expression) -> Expression:
        """Pass an expression on, recording whether it was made without rounding."""
        if not expression.exact:
            self.rounded()
        return expression

    def activate(self, argument: Expression, slopes: FloatArray) -> Expression:
        """Apply ``z where z > 0, slope * z elsewhere`` to every row, with one neuron where one is needed.

        Rows that read nothing become constants; rows whose slope is 1, and rows that are a neuron which is
        never negative, pass as they are.
        """
        levels = self._levels(argument)
        constant = levels < 0
        passing = ~constant & ((slopes == 1.0) | self._never_negative(argument))
        parts, rows = [], []
        if constant.any():
            index = np.flatnonzero(constant)
            values = argument.constant[index]
            factors = np.where(values > 0, 1.0, slopes[index])
            results = values * factors
            if not product_is_exact(values, factors, results):
                self.rounded()
            parts.append(constant_expression(results))
            rows.append(index)
        if passing.any():
            rows.append(np.flatnonzero(passing))
            parts.append(argument.take(rows[-1]))
        rest = ~constant & ~passing
        for level in np.unique(levels[rest]):
            index = np.flatnonzero(rest & (levels == level))
            parts.append(self._block(int(level) + 1, argument.take(index), slopes[index]))
            rows.append(index)
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return argument
        order = np.empty(argument.size, dtype=np.intp)
        order[np.concatenate(rows)] = np.arange(argument.size)
        return stack(parts).take(order)

    def _levels(self, argument: Expression) -> NDArray[np.intp]:
        """For every row, the highest level that it reads; -1 for none."""
        levels = np.full(argument.size, -1, dtype=np.intp)
        for k, matrix in argument.terms.items():
            read = _matrix.nonzero_rows(matrix)
            levels[read] = np.maximum(levels[read], self._blocks[k].level)
        return levels

    def _never_negative(self, argument: Expression) -> NDArray[np.bool_]:
        """Rows that are one neuron's output times 1, that neuron having a slope of at most 0."""
        found = np.zeros(argument.size, dtype=bool)
        forms = {k: m for k, m in argument.terms.items() if isinstance(m, sparse.csr_array)}
        if len(forms) < len(argument.terms):
            return found
        counts = np.zeros(argument.size, dtype=np.intp)
        for matrix in forms.values():
            counts += np.diff(matrix.indptr)
        for k, matrix in forms.items():
            single = np.flatnonzero((np.diff(matrix.indptr) == 1) & (counts == 1) & (argument.constant == 0))
            if k == 0 or not single.size:
                continue
            entry = matrix.indptr[single]
            found[single] = (matrix.data[entry] == 1.0) & (self._blocks[k].slopes[matrix.indices[entry]] <= 0)
        return found

    def _block(self, level: int, argument: Expression, slopes: FloatArray) -> Expression:
        """Neurons of one level as a new block, or the block that computes the same already."""
        argument = Expression(
            {k: m for k, m in argument.terms.items() if entries(m).any()}, argument.constant
        )
        block = _Block(level, argument, slopes)
        number = next((n for n, known in enumerate(self._blocks) if _same(known, block)), len(self._blocks))
        if number == len(self._blocks):
            self._blocks.append(block)
        return Expression({number: _matrix.identity(argument.size)}, np.zeros(argument.size))

    def finish(self, output: Expression, input_shape: tuple[int, ...]) -> ReLUNetwork:
        """Build the network whose output is the one row of `output`, without the blocks it does not need."""
        if output.size != 1:
            raise NetworkError(f"the output must be a single number, got {output.size}")
        needed: set[int] = set()
        pending = list(output.terms)
        while pending:
            k = pending.pop()
            if k not in needed:
                needed.add(k)
                pending.extend(self._blocks[k].argument.terms)
        needed.discard(0)
        levels = sorted({self._blocks[k].level for k in needed})
        groups = [[0], *([k for k in sorted(needed) if self._blocks[k].level == level] for level in levels)]
        layers = []
        for group in groups[1:]:
            arguments = [self._blocks[k].argument for k in group]
            layers.append(
                Layer(
                    self._weights(arguments, groups),
                    np.concatenate([a.constant for a in arguments]),
                    np.concatenate([self._blocks[k].slopes for k in group]),
                )
            )
        return ReLUNetwork(
            self.input_size, layers, self._weights([output], groups), float(output.constant[0]), input_shape
        )

    def _weights(self, arguments: Sequence[Expression], groups: Sequence[Sequence[int]]) -> dict[int, Matrix]:
        """Weights of a layer from every source that it reads."""
        weights = {}
        for source, group in enumerate(groups):
            if not any(k in a.terms for a in arguments for k in group):
                continue
            grid = [[a.terms.get(k) for k in group] for a in arguments]
            weights[source] = _read_only(_matrix.compact(self._join(grid, arguments, group)))
        return weights

    def _join(
        self,
        grid: Sequence[Sequence[Matrix | None]],
        arguments: Sequence[Expression],
        group: Sequence[int],
    ) -> Matrix:
        if len(arguments) == 1 and len(group) == 1 and grid[0][0] is not None:
            return grid[0][0]
        widths = [self.input_size if k == 0 else self._blocks[k].argument.size for k in group]
        if any(sparse.issparse(m) for row in grid for m in row) or any(
            m is None for row in grid for m in row
        ):
            filled = [
                [
                    sparse.csr_array((a.size, n)) if m is None else sparse.csr_array(m)
                    for m, n in zip(row, widths, strict=True)
                ]
                for row, a in zip(grid, arguments, strict=True)
            ]
            return sparse.csr_array(sparse.block_array(filled, format="csr"))
        return np.block([[_matrix.dense(m) for m in row if m is not None] for row in grid])


def _read_only(matrix: Matrix) -> Matrix:
    """Freeze arrays that the tape owns, so that the network keeps them without a copy."""
    if not sparse.issparse(matrix) and matrix.base is None:
        matrix.flags.writeable = False
    return matrix
