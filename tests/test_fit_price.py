from __future__ import annotations

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._outward import largest_eigenvalue_bound
from jensen.fit._price_bound import bound_price
from jensen.fit._price_quick import quick_bound
from jensen.fit._price_reduce import reduce
from jensen.fit._price_rows import balanced
from jensen.fit._price_search import search_price

Floats = NDArray[np.float64]

GRID = 256
"""Data of the exact tests are multiples of 1 / GRID."""


def correlation(x: Floats, r: Floats, w: Floats) -> Floats:
    """r' relu(X w) for every row of w."""
    return np.asarray(np.maximum(w @ x.T, 0.0) @ r)


def exact_square(x: Floats, r: Floats) -> Fraction:
    """max (r' relu(X w))^2 over |w| <= 1 in rational arithmetic, for at most three columns.

    A maximiser lies in the relative interior of a face of a cell, and there it is the projection of some
    gradient +-X' D r on the face's span. All such projections are tried, for all D, realised or not: none of
    them can exceed the maximum, because every w does is allowed.
    """
    rows, signal = (x * GRID).astype(np.int64).astype(object), (r * GRID).astype(np.int64).astype(object)
    assert (rows == x * GRID).all()
    assert (signal == r * GRID).all()
    n, d = x.shape
    gates = np.array(list(itertools.product((0, 1), repeat=n)), dtype=object)
    gradients = (gates * signal) @ rows
    candidates = [gradients]
    if d == 2:
        turned = np.stack([-rows[:, 1], rows[:, 0]], 1)
        candidates.append(turned)
    if d == 3:
        candidates += [np.dot(a, a) * gradients - np.outer(gradients @ a, a) for a in rows]
        rays = np.array([np.cross(a, b) for a, b in itertools.combinations(rows, 2)], dtype=object).reshape(
            -1, 3
        )
        candidates.append(rays)
    points = np.concatenate([sign * points for points in candidates for sign in (1, -1)])
    values = np.maximum(points @ rows.T, 0) @ signal
    squares = (points * points).sum(1)
    best = Fraction(0)
    for value, square in zip(values, squares, strict=True):
        if square > 0 and int(value) ** 2 * best.denominator > best.numerator * int(square):
            best = Fraction(int(value) ** 2, int(square))
    return best / GRID**4


@st.composite
def problems(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Small data: few integers, or multiples of 2^-8; the last row is a multiple of the first."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    most, unit = draw(st.sampled_from([(2, 1.0), (GRID, 1 / GRID)]))
    integers = st.integers(-most, most)
    x = draw(hnp.arrays(np.int64, (n, d), elements=integers)) * unit
    r = draw(hnp.arrays(np.int64, (n,), elements=integers)) * unit
    if n > 1:
        x[-1] = draw(st.sampled_from([-2, -1, 0, 1])) * x[0]
    return x, r


@given(problems(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_bound_is_above_the_exact_maximum_and_close(problem: tuple[Floats, Floats], steps: bool) -> None:
    x, r = problem
    square = exact_square(x, r)
    # with a time limit targets are lowered step by step
    bound = bound_price(x, r, count=0, tolerance=1e-9, starts=3, time_limit=60.0 if steps else None)
    assert Fraction(bound.upper) ** 2 >= square
    scaled_x, scaled_r, exponent = balanced(x, r)
    data = reduce(scaled_x, scaled_r)
    quick = data.unscale(max(quick_bound(data.raised, data.lowered), quick_bound(data.lowered, data.raised)))
    assert (Fraction(quick) * Fraction(2) ** exponent) ** 2 >= square
    if square:
        assert bound.status == "proven"
        assert bound.lower == pytest.approx(float(square) ** 0.5, rel=1e-9)
        assert bound.upper <= float(square) ** 0.5 * (1 + 1e-8)
    else:
        assert len(bound.neurons) == 0
        assert 0 <= bound.upper <= 1e-9 * (np.abs(r) @ np.linalg.norm(x, axis=1))


def test_a_maximum_of_zero_ends_where_rounding_does() -> None:
    x, r = np.array([[2.0, -2.0], [-2.0, -2.0], [4.0, -4.0]]), np.array([-2.0, 0.0, 1.0])
    for limit in (None, 3600.0):
        bound = bound_price(x, r, count=0, tolerance=1e-9, time_limit=limit)
        assert bound.status == "inaccurate"
        assert 0 <= bound.upper < 1e-9


@given(problems())
@settings(max_examples=50, deadline=None)
def test_local_search_finds_small_maxima(problem: tuple[Floats, Floats]) -> None:
    x, r = problem
    neurons = search_price(x, r, starts=200, rng=np.random.default_rng(0), count=5)
    best = np.abs(correlation(x, r, neurons)).max(initial=0.0)
    assert best == pytest.approx(float(exact_square(x, r)) ** 0.5, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 4), (40, 5), (25, 6)])
def test_both_sides_meet_in_more_dimensions(n: int, d: int) -> None:
    rng = np.random.default_rng(d)
    x, r = rng.normal(size=(n, d)), rng.normal(size=n)
    bound = bound_price(x, r, count=0, tolerance=1e-9)
    assert bound.status == "proven"
    assert bound.lower <= bound.upper <= bound.lower * (1 + 1.001e-9)
    stepwise = bound_price(x, r, count=0, tolerance=1e-9, time_limit=60.0)
    assert stepwise.status == "proven"
    assert stepwise.lower == pytest.approx(bound.lower, rel=1e-12)
    assert stepwise.nodes > bound.nodes
    assert np.abs(correlation(x, r, search_price(x, r, starts=2000, rng=rng, count=1))).max() <= bound.upper
    assert bound.signs[0] * correlation(x, r, bound.neurons[:1])[0] == pytest.approx(bound.lower)
    assert np.linalg.norm(bound.neurons, axis=1) == pytest.approx(1.0)


def test_ties_at_the_threshold_are_closed() -> None:
    rng = np.random.default_rng(5)
    x, r = rng.normal(size=(50, 4)), rng.normal(size=50)
    best = bound_price(x, r, count=0).lower
    tight = bound_price(x, r, threshold=best, tolerance=1e-8)
    assert tight.status == "proven"
    assert best <= tight.upper <= best * (1 + 1e-8)


def test_the_tree_finds_what_lies_above_the_threshold() -> None:
    rng = np.random.default_rng(6)
    x, r = rng.normal(size=(60, 4)), rng.normal(size=60)
    best = bound_price(x, r, count=0).lower
    for count in (1, 3):
        found = bound_price(x, r, threshold=0.8 * best, count=count, starts=0)
        assert found.status == "violated"
        values = correlation(x, r, found.neurons)
        assert (np.abs(values) > 0.8 * best).any()
        assert (np.diff(np.abs(values)) <= 0).all()
        assert (np.sign(values) == found.signs).all()
        patterns = {((x @ w > 0).tobytes(), s) for w, s in zip(found.neurons, found.signs, strict=True)}
        assert len(patterns) == len(found.neurons)
        assert found.upper >= best


def test_lost_rank_costs_nothing() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    r = rng.normal(size=40)
    bound = bound_price(x, r, count=0, tolerance=1e-9)
    assert bound.status == "proven"
    assert np.abs(correlation(x, r, bound.neurons)).max() == bound.lower
    # the same function of a rotated and truncated problem
    q = np.linalg.qr(x.T)[0][:, :3]
    assert bound.upper == pytest.approx(bound_price(x @ q, r, count=0, tolerance=1e-9).upper, rel=1e-8)


@pytest.mark.parametrize(("of_x", "of_r"), [(1e150, 1e100), (1e-150, 1e-100), (1e200, 1e-200), (1.0, 1e-300)])
def test_any_scale(of_x: float, of_r: float) -> None:
    rng = np.random.default_rng(8)
    x, r = rng.normal(size=(20, 3)), rng.normal(size=20)
    plain = bound_price(x, r, count=0)
    scaled = bound_price(x * of_x, r * of_r, count=0)
    assert scaled.status == "proven"
    assert scaled.upper == pytest.approx(plain.upper * of_x * of_r, rel=1e-5)


def test_time_limit_leaves_a_bound() -> None:
    rng = np.random.default_rng(9)
    x, r = rng.normal(size=(300, 10)), rng.normal(size=300)
    bound_price(x, r, count=0, time_limit=0.0)
    start = time.monotonic()
    bound = bound_price(x, r, count=0, time_limit=0.5)
    assert time.monotonic() - start < 3
    assert bound.status == "time_limit"
    assert bound.lower < bound.upper < np.inf
    stopped = bound_price(x, r, count=0, stop=lambda: True)
    assert stopped.status == "stopped"
    assert bound.upper <= stopped.upper < np.inf


def test_many_dimensions_get_the_quick_bound() -> None:
    rng = np.random.default_rng(10)
    x, r = rng.normal(size=(300, 150)), rng.normal(size=300)
    bound = bound_price(x, r, count=0, starts=10)
    assert bound.status == "inaccurate"
    assert bound.nodes == 0
    assert bound.lower <= bound.upper <= np.abs(r) @ np.linalg.norm(x, axis=1) / 2


def test_eigenvalue_bound() -> None:
    rng = np.random.default_rng(11)
    for d in (1, 5, 150):
        a = rng.normal(size=(d, d))
        top = float(np.linalg.eigvalsh(a @ a.T)[-1])
        assert top * (1 - 1e-12) <= largest_eigenvalue_bound(a @ a.T, 0.0) <= top * 1.01
    assert largest_eigenvalue_bound(np.zeros((3, 3)), 0.5) >= 0.5


def test_arguments_are_checked() -> None:
    x, r = np.ones((3, 2)), np.ones(3)
    with pytest.raises(ArgumentError, match="finite matrix"):
        bound_price(x, np.ones(2))
    with pytest.raises(ArgumentError, match="finite matrix"):
        bound_price(x, np.array([1.0, np.nan, 0.0]))
    with pytest.raises(ArgumentError, match="threshold"):
        bound_price(x, r, threshold=-1.0)
    with pytest.raises(ArgumentError, match="tolerance"):
        bound_price(x, r, tolerance=0.0)


def test_tolerances_below_rounding_end() -> None:
    rng = np.random.default_rng(12)
    for n, d in ((8, 2), (8, 3), (30, 4)):
        x, r = rng.integers(-2, 3, size=(n, d)).astype(float), rng.integers(-2, 3, size=n).astype(float)
        bound = bound_price(x, r, count=0, tolerance=1e-15)
        assert bound.lower <= bound.upper <= bound.lower * (1 + 1e-9)
        assert bound.status in ("proven", "inaccurate")
