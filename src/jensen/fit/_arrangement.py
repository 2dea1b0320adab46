"""All gates of a data matrix: the cells of the central arrangement of its rows.

A neuron's gate is constant on the open cells of {x_j . w = 0}, and every w lies in the closure of a cell,
so that networks whose gates are those of cells reach every optimum. Cells have full dimension: no nonzero row
vanishes on one. Rows of zeros are inactive everywhere.
"""

from __future__ import annotations

from math import comb, e

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._patterns import Gates, as_data, unique_gates
from jensen.geometry import _kernel_walk as registers
from jensen.geometry._arrays import Out, build_out
from jensen.geometry._cone import integer_row
from jensen.geometry._engine import Engine, Options
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._program import ACTIVE, Program
from jensen.network import Layer, ReLUNetwork, WholeSpace
from jensen.network._numbers import as_count

_CHUNK = 4096
"""Cells that the compiled walk hands over at a time."""


def count_gates(n: int, r: int) -> int:
    """Count the cells of n hyperplanes through the origin of R^r in general position.

    There are 2 sum_{k<r} C(n - 1, k) (Cover 1965); in special position there are fewer. The empty gate
    counts where it is realised.

    Raises
    ------
    ArgumentError
        If n or r is not a positive integer.
    """
    n, r = as_count(n, "n"), as_count(r, "r")
    return 2 * sum(comb(n - 1, k) for k in range(min(r, n)))


def count_gates_bound(n: int, r: int) -> float:
    """Return the usual bound 2 r (e (n - 1) / r)^r on the number of cells; for r <= n - 1.

    Raises
    ------
    ArgumentError
        If n and r are not positive integers with r <= n - 1.
    """
    n, r = as_count(n, "n", 2), as_count(r, "r")
    if r > n - 1:
        raise ArgumentError(f"the bound holds for r <= n - 1, got n = {n} and r = {r}")
    return float(2 * r * (e * (n - 1) / r) ** r)


def independent_columns(x: Floats) -> NDArray[np.int64]:
    """Return the first columns of X that span the others, decided exactly.

    With B these columns X = B T, and T w takes all values, so that B has the gates of X.
    """
    from flint import fmpz_mat

    # A positive factor for each row changes no linear dependence of columns.
    rows = [integer_row(row) for row in np.unique(x, axis=0).tolist() if any(row)]
    if not rows:
        return np.zeros(0, dtype=np.int64)
    reduced, _, rank = fmpz_mat([list(row) for row in rows]).rref()
    pivots, column = [], 0
    for i in range(rank):
        while reduced[i, column] == 0:
            column += 1
        pivots.append(column)
    return np.array(pivots, dtype=np.int64)


class _Cells:
    """A sink for the enumeration of regions that keeps packed patterns and nothing else."""

    def __init__(self, tree: ExactTree, limit: int) -> None:
        size = tree.program.n_neurons
        self._tree, self._limit = tree, limit
        self._chunk = _CHUNK
        self.out = self._room()
        self.packed: list[NDArray[np.uint8]] = [np.zeros((0, -(-size // 8)), dtype=np.uint8)]
        self.count = 0

    def _room(self) -> Out:
        size, d = self._tree.program.n_neurons, self._tree.program.d
        return build_out(
            d,
            size,
            max(1, -(-(self._tree.base + size) // 64)),
            records=64 + 4 * size,
            regions=self._chunk,
            rays=self._chunk * min(4 << d, 128),
            facets=self._chunk * 4 * (d + 1),
        )

    @property
    def ended(self) -> bool:
        return self.count > self._limit

    def region(self, node: Node) -> None:
        self._keep(np.array([node.states], dtype=np.int8))

    def flush(self, engine: Engine) -> None:
        reg = engine.reg
        count = int(reg[registers.STORED])
        reg[registers.STORED] = reg[registers.N_RAYS] = reg[registers.N_FACETS] = 0
        if count == 0 and reg[registers.SP]:
            # A single region is larger than the buffers.
            self._chunk *= 2
            self.out = self._room()
            return
        self._keep(self.out.region_state[:count])

    def violated(self, engine: Engine) -> None:
        """Never called: nothing is checked."""

    def _keep(self, states: NDArray[np.int8]) -> None:
        self.packed.append(np.packbits(states == ACTIVE, axis=1))
        self.count += len(states)


def _half(rows: Floats, limit: int) -> NDArray[np.uint8] | None:
    """Return packed patterns of the cells that meet {w_r = 1}; None if there are more than `limit`.

    They are the regions of an affine arrangement in one dimension less: of a layer of neurons.
    """
    n, r = rows.shape
    layer = Layer({0: np.ascontiguousarray(rows[:, :-1])}, np.ascontiguousarray(rows[:, -1]))
    network = ReLUNetwork(r - 1, [layer], {1: np.ones((1, n))}, 0.0)
    tree = ExactTree(Program(network), WholeSpace())
    cells = _Cells(tree, limit)
    engine = Engine(
        tree,
        cells,
        needed=np.ones(n, dtype=bool),
        moving=np.ones(r - 1, dtype=bool),
        restricted=False,
        known={},
        options=Options(check=False, stop=False, store=True),
    )
    return np.concatenate(cells.packed) if engine.run([tree.root()]) else None


def all_gates(x: object, *, limit: int = 1_000_000) -> Gates:
    """Enumerate the gates of all cells of the arrangement {x_j . w = 0}, exactly.

    Signs are decided in floats with error bounds, and in integers where these do not decide: repeated,
    opposite and proportional rows, rows of zeros, dependent columns and a bias column are all handled as
    the rationals that the floats are. Meant for ranks up to about 6.

    Parameters
    ----------
    x : (n, d) array
    limit : int, default 1,000,000
        Most gates that may be held, n bytes each.

    Returns
    -------
    (P, n) bool array
        The gates of cells of full dimension but the empty one, sorted. In general position and rank r
        there are `count_gates(n, r)` cells.

    Raises
    ------
    ArgumentError
        If there are more gates than `limit`.
    """
    data, limit = as_data(x), as_count(limit, "limit")
    columns = independent_columns(data)
    some = data.any(1)
    rows = np.ascontiguousarray(data[np.ix_(some, columns)])
    if not columns.size:
        return np.zeros((0, len(data)), dtype=bool)
    if columns.size == 1:
        half = np.packbits(rows.T > 0, axis=1)
    else:
        found = _half(rows, limit)
        if found is None:
            raise ArgumentError(_too_many(len(rows), columns.size, limit))
        half = found
    seen = np.unpackbits(half, axis=1, count=len(rows)).astype(bool)
    # The cells on the other side are the opposite ones; those that {w_r = 0} cuts appear twice.
    gates = unique_gates(np.concatenate([seen, ~seen]), ordered=True)
    if len(gates) > limit:
        raise ArgumentError(_too_many(len(rows), columns.size, limit))
    result = np.zeros((len(gates), len(data)), dtype=bool)
    result[:, some] = gates
    return result


def _too_many(n: int, rank: int, limit: int) -> str:
    return (
        f"there are more than {limit} gates, and up to {count_gates(n, rank)} ({n} nonzero rows of rank "
        f"{rank}): raise limit if there is memory for them, or draw gates instead"
    )
