"""Parallel networks of three layers with path regularisation: products of two activation matrices.

Sub-network k maps x to relu(sum_j relu(x . w_kj) b_kj) c_k, with h hidden neurons each and any number of
sub-networks; what is penalised is the l2 norm over its paths, lambda sum_k |c_k| (sum_j |w_kj|^2
b_kj^2)^(1/2). (Ergen and Pilanci, "Path regularization", NeurIPS 2023.) Fix the gates D_j of the first
layer, the signs s_j of b_kj and the gate E of the second one; with u_j = |b_kj c_k| w_kj the output is
sign(c_k) E sum_j s_j D_j X u_j, the penalty is the norm of u = (u_1, ..., u_h), and the gates are cones:
(2 D_j - I) X u_j >= 0 and (2 E - I) sum_j s_j D_j X u_j >= 0. So the training is a group lasso over all
such combinations. There are many: this is meant for a few samples in one or two dimensions, where all can
be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._losses import Floats
from jensen.fit._problem import Problem
from jensen.fit.extensions._cone_lasso import ConeSolution, solve_cone_lasso
from jensen.fit.extensions._cone_points import point_inside
from jensen.network._numbers import as_count, as_floats


@dataclass(frozen=True)
class ParallelPatterns:
    """Combinations of gates of sub-networks, each realised by an open cone.

    Attributes
    ----------
    first : (P, h, n) bool array
        Gates of the first layer.
    signs : (P, h) int8 array
        Of the second layer's weights.
    second : (P, n) bool array
        Gates of the second layer.
    inside : (P, h d) float64 array
        A point of each cone.
    """

    first: NDArray[np.bool_]
    signs: NDArray[np.int8]
    second: NDArray[np.bool_]
    inside: Floats

    def __len__(self) -> int:
        return len(self.second)


def _linear_part(x: Floats, gates: NDArray[np.bool_], signs: NDArray[np.int8]) -> Floats:
    """Return [s_1 D_1 X, ..., s_h D_h X], (n, h d)."""
    return np.concatenate([s * g[:, None] * x for g, s in zip(gates, signs, strict=True)], axis=1)


def _inner_rows(x: Floats, gates: NDArray[np.bool_]) -> Floats:
    """Rows of (2 D_j - I) X u_j >= 0 for all j, (h n, h d)."""
    h, (n, d) = len(gates), x.shape
    rows = np.zeros((h, n, h, d))
    for j, gate in enumerate(gates):
        rows[j, :, j] = np.where(gate, 1.0, -1.0)[:, None] * x
    return rows.reshape(h * n, h * d)


def _second_gates(linear: Floats, inner: Floats) -> list[tuple[NDArray[np.bool_], Floats]]:
    """List the gates of the second layer within a cone of the first, with a point of each cell.

    Samples are decided one after the other: a cell that has a point on both sides is cut in two.
    """
    n = len(linear)
    start = point_inside(inner)
    if start is None:
        return []
    cells: list[tuple[list[bool], Floats, Floats]] = [([], inner, start)]
    for j in range(n):
        after = []
        for gate, rows, point in cells:
            if not linear[j].any():
                after.append(([*gate, False], rows, point))
                continue
            for side in (True, False):
                row = linear[j] if side else -linear[j]
                cut = np.concatenate([rows, row[None]])
                inside = point_inside(cut)
                if inside is not None:
                    after.append(([*gate, side], cut, inside))
        cells = after
    return [(np.array(gate), point) for gate, _, point in cells if any(gate)]


def all_parallel_patterns(x: object, hidden: int, *, limit: int = 20_000) -> ParallelPatterns:
    """List the combinations of gates of sub-networks with `hidden` neurons, exactly but for thin cones.

    Parameters
    ----------
    x : (n, d) array
    hidden : int
        h, the neurons of each sub-network's first layer.
    limit : int, default 20,000
        Most combinations.

    Raises
    ------
    ArgumentError
        If there are more combinations than `limit`.
    """
    data = as_floats(x, "X", ArgumentError)
    h = as_count(hidden, "hidden")
    gates = all_gates(data)
    units = [(g, s) for g in gates for s in (1, -1)]
    first, signs, second, inside = [], [], [], []
    for chosen in combinations_with_replacement(units, h):
        some_gates = np.array([g for g, _ in chosen])
        some_signs = np.array([s for _, s in chosen], dtype=np.int8)
        if not (some_signs > 0).any():
            continue  # never positive
        linear, inner = _linear_part(data, some_gates, some_signs), _inner_rows(data, some_gates)
        for gate, point in _second_gates(linear, inner):
            first.append(some_gates)
            signs.append(some_signs)
            second.append(gate)
            inside.append(point)
        if len(second) > limit:
            raise ArgumentError(
                f"there are more than {limit} combinations of gates: raise limit, or take fewer samples"
            )
    n, d = data.shape
    return ParallelPatterns(
        np.array(first, dtype=bool).reshape(-1, h, n),
        np.array(signs, dtype=np.int8).reshape(-1, h),
        np.array(second, dtype=bool).reshape(-1, n),
        np.array(inside).reshape(-1, h * d),
    )


@dataclass(frozen=True)
class ParallelFit:
    """A parallel network of three layers, optimal over the patterns that were given.

    Attributes
    ----------
    solution : ConeSolution
        Objective, lower bound, gap. The bound is one for all networks if all patterns were given.
    weights : (K, h, d) float64 array
        w_kj.
    middle : (K, h) float64 array
        b_kj.
    outputs : (K,) float64 array
        c_k.
    """

    solution: ConeSolution
    weights: Floats
    middle: Floats
    outputs: Floats

    def predict(self, x: object) -> Floats:
        """Evaluate the network: (n, d) to (n,).

        Raises
        ------
        ArgumentError
            If X does not have d columns.
        """
        data = as_floats(x, "X", ArgumentError)
        if data.ndim != 2 or data.shape[1] != self.weights.shape[2]:
            raise ArgumentError(f"X must have {self.weights.shape[2]} columns, got shape {data.shape}")
        first = np.maximum(np.einsum("nd,khd->nkh", data, self.weights), 0)
        second = np.maximum(np.einsum("nkh,kh->nk", first, self.middle), 0)
        return np.asarray(second @ self.outputs)


def fit_parallel_network(
    problem: Problem, patterns: ParallelPatterns, *, tolerance: float = 1e-7
) -> ParallelFit:
    """Train a parallel network of three layers to the optimum over given patterns.

    Parameters
    ----------
    problem : Problem
        With scalar outputs and a smooth loss; lambda multiplies the path norms.
    patterns : ParallelPatterns
        For instance `all_parallel_patterns(problem.x, h)`.
    tolerance : float, default 1e-7
        Relative duality gap.

    Returns
    -------
    ParallelFit

    Raises
    ------
    ArgumentError
        If patterns and problem do not fit.
    """
    x = problem.x
    count, h = patterns.signs.shape
    if patterns.second.shape[1] != len(x):
        raise ArgumentError(f"patterns are of {patterns.second.shape[1]} samples, X has {len(x)}")
    linear = np.array([_linear_part(x, g, s) for g, s in zip(patterns.first, patterns.signs, strict=True)])
    linear = linear.reshape(count, len(x), -1)
    inner = np.array([_inner_rows(x, g) for g in patterns.first]).reshape(count, h * len(x), -1)
    outer = np.where(patterns.second, 1.0, -1.0)[:, :, None] * linear
    cones = np.concatenate([inner, outer], axis=1)
    designs = patterns.second[:, :, None] * linear
    solution = solve_cone_lasso(
        problem,
        np.concatenate([designs, -designs]),
        np.concatenate([cones, cones]),
        np.concatenate([patterns.inside, patterns.inside]),
        tolerance=tolerance,
    )
    used = np.flatnonzero(solution.coefficients.any(1))
    u = solution.coefficients[used].reshape(len(used), h, x.shape[1])
    signs = patterns.signs[used % max(count, 1)]
    outputs = np.where(used < count, 1.0, -1.0)
    return ParallelFit(solution, u, signs.astype(np.float64), outputs)
