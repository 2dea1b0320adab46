"""The rounding predicates against rational arithmetic: whatever they call exact must be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from jensen.network import FloatArray
from jensen.network.lowering import _matrix, _rounding

WILD = st.floats(allow_nan=False, allow_infinity=False)
TAME = st.one_of(
    st.integers(-64, 64).map(float),
    st.floats(-8, 8, width=32),
    st.floats(-8, 8),
    st.sampled_from([0.0, -0.0, 0.5, 1 / 3, 2.0**-600, 2.0**600, 5e-324, 2.0**-1022]),
)
NUMBERS = st.one_of(WILD, TAME)


@settings(max_examples=500, deadline=None)
@given(NUMBERS, NUMBERS)
@example(5e-324, 0.5)
@example(2.0**-600, 2.0**-600)
@example(1 / 3, 3.0)
def test_sums_products_and_quotients(x: float, y: float) -> None:
    a, b = np.array([x]), np.array([y])
    with np.errstate(all="ignore"):
        total, product = a + b, a * b
        quotient = a / b if y else None
        if np.isfinite(total).all() and _rounding.sum_is_exact(a, b, total):
            assert Fraction(float(total[0])) == Fraction(x) + Fraction(y)
        if np.isfinite(product).all() and _rounding.product_is_exact(a, b, product):
            assert Fraction(float(product[0])) == Fraction(x) * Fraction(y)
        if (
            quotient is not None
            and np.isfinite(quotient).all()
            and _rounding.quotient_is_exact(a, b, quotient)
        ):
            assert Fraction(float(quotient[0])) == Fraction(x) / Fraction(y)


def test_common_cases_are_recognised() -> None:
    a = np.random.default_rng(0).standard_normal(50)
    short = a.astype(np.float32).astype(np.float64)
    assert _rounding.product_is_exact(a, np.full(50, -0.25), a * -0.25)
    assert _rounding.product_is_exact(short, short[::-1], short * short[::-1])
    assert not _rounding.product_is_exact(a, a[::-1], a * a[::-1])
    assert _rounding.sum_is_exact(np.arange(50.0), short * 0, np.arange(50.0))
    assert not _rounding.sum_is_exact(a, a[::-1] / 3, a + a[::-1] / 3)
    assert _rounding.quotient_is_exact(a, np.full(50, 8.0), a / 8)
    assert not _rounding.quotient_is_exact(np.ones(1), np.full(1, 3.0), np.ones(1) / 3)


def rational_product(a: FloatArray, b: FloatArray) -> list[list[Fraction]]:
    return [
        [
            sum((Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True)), Fraction(0))
            for column in b.T.tolist()
        ]
        for row in a.tolist()
    ]


@st.composite
def matrices(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    n, k, m = (draw(st.integers(1, 3)) for _ in range(3))
    kind = draw(st.sampled_from([TAME, st.integers(-3, 3).map(float), st.floats(-8, 8, width=32)]))
    entry = st.one_of(st.just(0.0), kind)
    left, right = (
        np.array(draw(st.lists(entry, min_size=rows * columns, max_size=rows * columns))).reshape(
            rows, columns
        )
        for rows, columns in ((n, k), (k, m))
    )
    return left, right


@settings(max_examples=400, deadline=None)
@given(matrices(), st.booleans(), st.booleans())
def test_compositions(pair: tuple[FloatArray, FloatArray], left_sparse: bool, right_sparse: bool) -> None:
    left, right = pair
    a = sparse.csr_array(left) if left_sparse else left
    b = sparse.csr_array(right) if right_sparse else right
    with np.errstate(all="ignore"):
        product, exact = _matrix.compose(a, b)
    found = _matrix.dense(product)
    if exact and np.isfinite(found).all():
        expected = rational_product(left, np.array(right))
        assert [[Fraction(v) for v in row] for row in found.tolist()] == expected


def test_selections_are_not_multiplied() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 4))
    product, exact = _matrix.compose(weight, _matrix.identity(4))
    assert product is weight
    assert exact
    product, exact = _matrix.compose(weight, _matrix.selection(np.array([2, 0, 5, 1]), 6))
    assert exact
    assert np.array_equal(_matrix.dense(product)[:, [2, 0, 5, 1]], weight)
    integers = np.arange(12.0).reshape(3, 4)
    assert _matrix.compose(integers, integers.T)[1]
    assert not _matrix.compose(weight, weight.T)[1]
