from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates, count_gates, count_gates_bound, independent_columns
from jensen.fit._patterns import (
    constant_column,
    convolutional_gates,
    data_gates,
    gaussian_gates,
    network_gates,
    unique_gates,
)

Floats = NDArray[np.float64]


def solvable(rows: list[list[Fraction]]) -> bool:
    """Whether A w > 0 has a solution, by Fourier-Motzkin elimination in rationals."""
    for column in range(len(rows[0]) if rows else 0):
        up = [r for r in rows if r[column] > 0]
        down = [r for r in rows if r[column] < 0]
        rows = [r for r in rows if r[column] == 0]
        rows += [[a / p[column] - b / q[column] for a, b in zip(p, q, strict=True)] for p in up for q in down]
        # Equal rows up to a factor say the same.
        rows = [list(r) for r in {tuple(v / max(map(abs, r)) if any(r) else v for v in r) for r in rows}]
    return not rows


def cells(x: Floats) -> set[tuple[bool, ...]]:
    """All gates of open cells, by trying each of the 2^n; rows of zeros count as inactive."""
    some = [j for j in range(len(x)) if x[j].any()]
    found = set()
    for signs in product((1, -1), repeat=len(some)):
        rows = [[s * Fraction(v) for v in x[j].tolist()] for s, j in zip(signs, some, strict=True)]
        gate = [False] * len(x)
        for s, j in zip(signs, some, strict=True):
            gate[j] = s > 0
        if any(gate) and solvable(rows):
            found.add(tuple(gate))
    return found


def as_set(gates: NDArray[np.bool_]) -> set[tuple[bool, ...]]:
    return {tuple(gate) for gate in gates.tolist()}


@pytest.mark.parametrize(("n", "r"), [(5, 1), (7, 2), (9, 3), (12, 4), (3, 5), (9, 5)])
def test_general_position_has_the_count_of_the_formula(n: int, r: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, r))
    gates = all_gates(x)
    # The empty gate is left out where there is one; each gate's opposite is a gate.
    empty = int(len(as_set(gates)) != len(as_set(gates) & as_set(~gates)))
    assert len(as_set(gates)) == len(gates) == count_gates(n, r) - empty
    assert gates.any(1).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.integers(-2, 2)))
def test_degenerate_data_have_exactly_the_cells_of_the_oracle(x: NDArray[np.int64]) -> None:
    data = x.astype(np.float64)
    gates = all_gates(data)
    assert len(gates) == len(as_set(gates))
    assert as_set(gates) == cells(data)


@pytest.mark.parametrize(
    "x",
    [
        [
            [1.0, 2.0],
            [1.0, 2.0],
            [-1.0, -2.0],
            [3.0, 6.0],
            [0.0, 0.0],
            [1.0, 0.0],
        ],  # repeated, opposite, zero
        [[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [5.0, 1.0, 6.0], [1.0, -1.0, 0.0]],  # rank 2
        [[0.1, 0.2, 1.0], [0.3, 0.6, 1.0], [0.2, 0.4, 1.0], [0.5, 0.1, 1.0], [0.1, 0.2, 1.0]],  # a bias
        [[1e-30, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1e-30, 1.0], [-1e-30, 1.0, 1.0]],  # nearly equal
        [[0.1, 0.1], [0.3, 0.3], [0.3, 0.1 * 3]],  # parallel up to rounding
        [[0.0, 0.0], [0.0, 0.0]],
    ],
)
def test_special_data_have_exactly_the_cells_of_the_oracle(x: list[list[float]]) -> None:
    data = np.array(x)
    assert as_set(all_gates(data)) == cells(data)


def test_eight_points_in_three_dimensions_on_a_grid() -> None:
    data = np.random.default_rng(5).integers(-3, 4, size=(8, 3)).astype(float)
    data[7] = data[6]
    assert as_set(all_gates(data)) == cells(data)


def test_four_points_on_a_line_have_ten_patterns() -> None:
    # One-dimensional inputs with a bias: n + 1 cuts of the line, from either side.
    x = np.column_stack([[-2.0, -1.0, 1.0, 2.0], np.ones(4)])
    assert count_gates(4, 2) == 8
    assert len(all_gates(x)) == 7


def test_more_gates_than_the_limit_are_refused_with_their_number() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ArgumentError, match=f"more than 100 gates, and up to {count_gates(30, 3)}"):
        all_gates(x, limit=100)
    with pytest.raises(ArgumentError, match="raise limit"):
        all_gates(x, limit=count_gates(30, 3) - 2)
    assert len(all_gates(x, limit=count_gates(30, 3))) in (count_gates(30, 3) - 1, count_gates(30, 3))


def test_independent_columns_are_decided_exactly() -> None:
    x = np.array([[1.0, 3.0, 0.0], [0.1, 0.1 * 3, 1.0]])  # 0.1 * 3 rounds
    assert independent_columns(x).tolist() == [0, 1]
    assert independent_columns(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 1.0]])).tolist() == [0, 2]
    assert independent_columns(np.zeros((2, 2))).tolist() == []


@pytest.mark.parametrize(("n", "r"), [(10, 2), (100, 4), (50, 7)])
def test_the_bound_is_one(n: int, r: int) -> None:
    assert count_gates(n, r) <= count_gates_bound(n, r)


def test_counting_refuses_nonsense() -> None:
    with pytest.raises(ArgumentError, match="r <= n - 1"):
        count_gates_bound(4, 4)
    with pytest.raises(ArgumentError, match="at least 1"):
        count_gates(0, 2)


@pytest.mark.parametrize("draw", [gaussian_gates, data_gates])
def test_drawn_gates_are_gates_of_directions(draw: Callable[..., NDArray[np.bool_]]) -> None:
    x = np.column_stack([np.random.default_rng(1).normal(size=(7, 2)), np.ones(7)])
    gates = draw(x, 400, seed=3)
    assert gates.dtype == bool
    assert len(as_set(gates)) == len(gates) > 10
    assert gates.any(1).all()
    assert (gates == draw(x, 400, seed=3)).all()
    if draw is gaussian_gates:
        assert as_set(gates) <= cells(x)


def test_differences_pass_between_pairs() -> None:
    x = np.column_stack([[0.0, 10.0, 11.0], np.ones(3)])
    # The plane midway between 0 and 10 and the one midway between 10 and 11.
    assert {(False, True, True), (False, False, True)} <= as_set(data_gates(x, 100))
    assert constant_column(x) == 1
    assert constant_column(x[:, :1]) is None


def test_large_rows_do_not_overflow() -> None:
    x = np.array([[1e308, -1e308], [-1e308, 1e308], [1e308, 1e308]])
    assert data_gates(x, 50).any()


def test_convolutional_gates_look_at_one_patch() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((2, 2 * 5 * 6))
    x[0, 0] = 1.0  # a single pixel in a corner
    x[1] = rng.normal(size=60)
    gates = convolutional_gates(x, (2, 5, 6), 2, 300, seed=1)
    assert 0 < len(gates) <= 3
    with_bias = np.column_stack([x, np.ones(2)])
    assert convolutional_gates(with_bias, (2, 5, 6), 2, 10).shape[1] == 2
    # A filter on the top left patch is rare: most leave the corner pixel out, so x[0] is inactive.
    corner = np.eye(36)[[0]]
    assert len(convolutional_gates(corner, (6, 6), 1, 1, seed=0)) == 0
    for wrong in [((2, 5), 2), ((5, 6), 2), ((2, 5, 6), 6), ((2, 5, 6), 0), ((1, 2, 5, 6), 2)]:
        with pytest.raises(ArgumentError):
            convolutional_gates(x, *wrong, 5)


def test_gates_of_a_module_and_of_its_weights_agree() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1, bias=False))
    x = np.column_stack([np.random.default_rng(0).normal(size=(9, 2)), np.ones(9)])
    weights = np.column_stack([model[0].weight.detach().numpy(), model[0].bias.detach().numpy()]).astype(
        float
    )
    assert (network_gates(model, x) == network_gates(weights, x)).all()
    with pytest.raises(ArgumentError, match="3 columns"):
        network_gates(weights[:, :2], x)
    with pytest.raises(ArgumentError, match="bias"):
        network_gates(model, x[:, :2])


def test_unique_gates_keep_their_order() -> None:
    gates = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=bool)
    assert unique_gates(gates).tolist() == [[False, True, True], [True, False, False]]
    assert unique_gates(gates, ordered=True).tolist() == [[False, True, True], [True, False, False]]


@pytest.mark.parametrize("x", [np.zeros((0, 2)), [1.0, 2.0], [[np.nan]], [["a"]]])
def test_data_that_make_no_sense_are_refused(x: object) -> None:
    calls: list[Callable[[], object]] = [
        lambda: all_gates(x),
        lambda: gaussian_gates(x, 3),
        lambda: data_gates(x, 3),
    ]
    for gates in calls:
        with pytest.raises(ArgumentError):
            gates()
