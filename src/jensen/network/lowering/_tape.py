"""The tape: neurons created while a model is read, and the network that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jensen.errors import NetworkError
from jensen.network._numbers import MAX_INPUTS
from jensen.network._relu_network import FloatArray, Layer, Matrix, ReLUNetwork
from jensen.network.lowering import _matrix
from jensen.network.lowering._expression import Expression, constant_expression, stack
from jensen.network.lowering._rounding import entries, product_is_exact

MAX_ELEMENTS = 1 << 28
"""No constant of a model may have more elements than this: a guard against absurd files."""
MAX_SYMBOLS = 1 << 24
"""No tensor that depends on the input may have more elements than this; each costs a row of a matrix."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Neurons that came into being together and share a depth."""

    level: int
    argument: Expression
    slopes: FloatArray

    @cached_property
    def fingerprints(self) -> NDArray[np.uint64]:
        """One number for every neuron, equal for equal neurons whatever the form of their matrices."""
        total: NDArray[np.uint64] = np.zeros(self.argument.size, dtype=np.uint64)
        total += _digest(self.argument.constant[:, None], -2) + _digest(self.slopes[:, None], -1)
        for k, matrix in self.argument.terms.items():
            total += _digest(matrix, k)
        return total


def _digest(matrix: Matrix, salt: int) -> NDArray[np.uint64]:
    """Sum of the entries' bits times random column keys, modulo 2 ** 64: no order of summation matters."""
    generator = np.random.default_rng(salt + 2)
    keys: NDArray[np.uint64] = np.asarray(generator.integers(0, 2**64, matrix.shape[1], dtype=np.uint64))
    if not isinstance(matrix, sparse.csr_array):
        bits = np.ascontiguousarray(matrix + 0.0).view(np.uint64)
        return np.asarray((bits * keys).sum(axis=1, dtype=np.uint64))
    products = (matrix.data + 0.0).view(np.uint64) * keys[matrix.indices]
    running = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(products, dtype=np.uint64)])
    return np.asarray(running[matrix.indptr[1:]] - running[matrix.indptr[:-1]])


class Tape:
    """Collects blocks of neurons; `finish` groups those of equal depth into layers.

    Parameters
    ----------
    input_size : int
        Number of inputs of the network.
    """

    def __init__(self, input_size: int) -> None:
        if not 0 < input_size <= MAX_INPUTS:
            raise NetworkError(f"a network takes 1 to {MAX_INPUTS} inputs, this model takes {input_size}")
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
        """Neurons of one level as a new block; those that an older block has already are read from there."""
        terms = {k: m for k, m in argument.terms.items() if entries(m).any()}
        block = _Block(level, Expression(terms, argument.constant), slopes)
        index = np.arange(argument.size)
        numbers, rows = np.full(argument.size, -1), index.copy()
        for number, known in enumerate(self._blocks):
            if known.level == level and known.argument.terms.keys() & terms.keys():
                mine, theirs = _twins(block, known)
                numbers[mine], rows[mine] = number, theirs
        new = np.flatnonzero(numbers < 0)
        if new.size:
            if new.size < argument.size:
                block = _Block(level, block.argument.take(new), slopes[new])
            numbers[new], rows[new] = len(self._blocks), np.arange(new.size)
            self._blocks.append(block)
        read: dict[int, Matrix] = {}
        for number in np.unique(numbers):
            size = self._blocks[number].argument.size
            here = numbers == number
            units = _matrix.selection(rows[here], size)
            read[int(number)] = _matrix.take(units, np.where(here, np.cumsum(here) - 1, -1))
        return Expression(read, np.zeros(argument.size))

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


def _twins(block: _Block, known: _Block) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of a block, and the rows of an older one that compute the same."""
    order = np.argsort(known.fingerprints)
    place = np.searchsorted(known.fingerprints[order], block.fingerprints)
    theirs = order[np.minimum(place, len(order) - 1)]
    mine = np.flatnonzero(known.fingerprints[theirs] == block.fingerprints)
    theirs = theirs[mine]
    # Equal numbers are not a proof: compare the rows themselves.
    a, b = block.argument.take(mine), known.argument.take(theirs)
    differ = (a.constant != b.constant) | (block.slopes[mine] != known.slopes[theirs])
    minus = np.full(len(mine), -1.0)
    for k in a.terms.keys() | b.terms.keys():
        if k in a.terms and k in b.terms:
            gap, _ = _matrix.add(a.terms[k], _matrix.scale(b.terms[k], minus)[0])
        else:
            gap = a.terms[k] if k in a.terms else b.terms[k]
        differ |= _matrix.nonzero_rows(gap)
    return mine[~differ], theirs[~differ]
