"""Exact decisions: the simplex, domains, bounded pieces, facets."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import plain
import pytest
from flint import fmpq
from scipy.optimize import linprog

from jensen.certify._exact_domain import ExactDomain, to_float
from jensen.certify._facet import Kink, decide_facet
from jensen.certify._pieces import _implied_bounds, pieces
from jensen.certify._simplex import Row, solve
from jensen.certify._strict import strict_solution, value
from jensen.errors import DomainError
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace, from_arrays
from jensen.verifier import Bends, Thin, Uncrossed


def _rows(rng: Random, m: int, n: int) -> list[Row]:
    return [[fmpq(rng.choice([-2, -1, 0, 0, 1, 2])) for _ in range(n + 1)] for _ in range(m)]


def _largest_slack(closed: list[Row], strict: list[Row], n: int) -> float | None:
    """The largest t <= 1 with closed >= 0 and strict >= t; None if even the closed rows have no solution."""
    table = np.array([[int(v) for v in row] for row in [*closed, *strict]], dtype=float).reshape(-1, n + 1)
    gap = np.array([0.0] * len(closed) + [1.0] * len(strict))
    found = linprog(
        [0.0] * n + [-1.0],
        A_ub=np.column_stack([-table[:, :-1], gap]),
        b_ub=table[:, -1],
        bounds=[(None, None)] * n + [(None, 1.0)],
    )
    return None if found.fun is None else -float(found.fun)


@pytest.mark.parametrize("seed", range(200))
def test_the_rational_simplex_agrees_with_scipy_and_its_points_hold(seed: int) -> None:
    rng = Random(seed)
    n = rng.randint(1, 3)
    closed, strict = _rows(rng, rng.randint(0, 4), n), _rows(rng, rng.randint(1, 4), n)
    found = solve(closed, strict, n)
    slack = _largest_slack(closed, strict, n)
    assert (found is not None) == (slack is not None and slack > 1e-7)
    if found is not None:
        assert all(value(row, found) >= 0 for row in closed)
        assert all(value(row, found) > 0 for row in strict)


@pytest.mark.parametrize("seed", range(200))
def test_strict_solutions_agree_with_the_simplex(seed: int) -> None:
    rng = Random(1000 + seed)
    n = rng.randint(1, 4)
    rows = _rows(rng, rng.randint(1, 7), n)
    found = strict_solution(rows, n)
    assert (found is None) == (solve([], rows, n) is None)
    assert found is None or all(value(row, found) > 0 for row in rows)


def test_systems_that_floats_cannot_decide() -> None:
    sliver = fmpq(1, 10**40)
    assert strict_solution([[fmpq(1), fmpq(0)], [fmpq(-1), sliver]], 1) is not None
    assert strict_solution([[fmpq(1), -sliver], [fmpq(-1), fmpq(0)]], 1) is None
    assert solve([[fmpq(1), fmpq(0)], [fmpq(-1), fmpq(0)]], [], 1) == [fmpq(0)]


def test_numbers_beyond_floats() -> None:
    assert to_float(fmpq(10) ** 400) == np.inf
    assert to_float(Fraction(-(10**400))) == -np.inf
    assert to_float(fmpq(1, 3)) == 1 / 3


def test_implicit_equalities_are_split_off() -> None:
    # x + y <= 1, -x - y <= -1, x <= 3: the second pair is an equation.
    domain = ExactDomain(Polytope([[1.0, 1.0], [-1.0, -1.0], [1.0, 0.0]], [1.0, -1.0, 3.0]), 2)
    assert (len(domain.equalities), len(domain.inequalities)) == (2, 1)
    (step,) = domain.directions
    assert step[0] == -step[1]
    x, y = domain.interior_point
    assert x + y == pytest.approx(1.0)


def test_directions_keep_the_other_inputs_still() -> None:
    plane = Polytope([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], [0.0, 0.0])
    assert ExactDomain(plane, 3, (0,)).directions == []
    (step,) = ExactDomain(plane, 3, (0, 2)).directions
    assert set(step) == {0, 2}
    assert [set(s) for s in ExactDomain(Box([0.0, 0.0], [0.0, 1.0]), 2).directions] == [{1}]
    assert [set(s) for s in ExactDomain(WholeSpace(), 3, (2,)).directions] == [{2}]


@pytest.mark.parametrize(
    ("rows", "right"),
    [([[1.0], [-1.0]], [0.0, -1.0]), ([[0.0]], [-1.0]), ([[3.0], [-3.0]], [1.0, np.nextafter(-1.0, -2.0)])],
)
def test_empty_domains_are_refused(rows: list[list[float]], right: list[float]) -> None:
    with pytest.raises(DomainError, match="empty"):
        ExactDomain(Polytope(rows, right), 1)


def test_flat_and_open_boxes() -> None:
    domain = ExactDomain(Box([0.0, 1.0, -np.inf], [np.inf, 1.0, 5.0]), 3)
    assert domain.interior_point.tolist() == [1.0, 1.0, 4.0]
    assert (len(domain.equalities), len(domain.inequalities)) == (1, 2)


@pytest.mark.parametrize("seed", range(40))
def test_bounding_boxes_contain_the_polyhedron(seed: int) -> None:
    rng = Random(seed)
    d = rng.randint(1, 3)
    A = np.array(
        [[rng.choice([-2.0, -1.0, 0.0, 0.3, 1.0]) for _ in range(d)] for _ in range(rng.randint(1, 5))]
    )
    b = np.array([rng.choice([0.0, 0.1, 1.0, 2.0]) for _ in A])  # the origin is inside
    low, high = np.full(d, -np.inf), np.full(d, np.inf)
    for j, sign, bound, combination in _implied_bounds(low, high, A, b):
        assert all(m > 0 for _, m in combination)
        (high if sign > 0 else low)[j] = sign * bound
    for j in range(d):
        for side, end in ((-1.0, -low[j]), (1.0, high[j])):
            found = linprog(-side * np.eye(d)[j], A_ub=A, b_ub=b, bounds=[(None, None)] * d)
            assert end == (np.inf if found.fun is None else pytest.approx(-found.fun, abs=1e-9))


DOMAINS: list[Domain] = [WholeSpace(), Box(0.0, np.inf), Polytope([[1.0, -1.0], [-1.0, -1.0]], [1.0, 3.0])]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("seed", range(6))
def test_pieces_cover_the_domain_and_carry_the_same_network(domain: Domain, seed: int) -> None:
    rng = Random(seed)
    network = plain.random_network(rng, d=2, width=3)
    cover, _ = pieces(network, domain)
    for piece in cover:
        for _ in range(6):
            c = [Fraction(rng.randint(1, 12), 12) for _ in range(piece.lo.size)]
            local = [
                Fraction(float(a)) + share * (Fraction(float(b)) - Fraction(float(a)))
                for a, b, share in zip(piece.lo, piece.hi, c, strict=True)
            ]
            if piece.rows is not None:
                continue
            if piece.chart is None:
                x, unit = local, Fraction(1)
            else:
                i, sign = piece.chart
                unit = local[-1]
                x = [*(v / unit for v in local[:i]), sign / unit, *(v / unit for v in local[i:-1])]
            there, here = plain.preactivations(network, x), plain.preactivations(piece.network, local)
            assert [[v * unit for v in row] for row in there] == here
            assert unit * network.exact.evaluate([x])[0] == piece.network.exact.evaluate([local])[0]
            within = all(
                sum((Fraction(float(a)) * v for a, v in zip(row, local, strict=True))) <= Fraction(float(r))
                for row, r in zip(piece.A, piece.b, strict=True)
            )
            assert domain.contains(x) == within
            found = piece.to_input(np.array([float(v) for v in local]))
            assert found is not None
            np.testing.assert_allclose(found, [float(v) for v in x], rtol=1e-9)


def test_pieces_reach_bounds_beyond_the_largest_radius() -> None:
    network = ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0])], {1: [1.0]})
    names = [piece.name for piece in pieces(network, Box(-1e300, np.inf))[0]]
    assert names == ["near", "far x0-", "far x0+"]
    assert [piece.name for piece in pieces(network, Box(1e300, np.inf))[0]] == ["far x0+"]


def test_facets_of_a_hat() -> None:
    # f = -|x| on [-1, 1] and on [0, 1], where the kink lies on the boundary.
    network = from_arrays([[[1.0], [-1.0]], [[-1.0, -1.0]]])
    pattern = [np.array([True, False])]
    found = decide_facet(network, ExactDomain(Box(-1.0, 1.0), 1), (1, 0), pattern)
    assert isinstance(found, Kink)
    assert found.point == (Fraction(0),)
    assert decide_facet(network, ExactDomain(Box(0.0, 1.0), 1), (1, 0), pattern) == Thin(rows={0: fmpq(1)})


def test_facets_exist_only_with_their_full_dimension() -> None:
    # y is positive and negative on x = 0, but x + y > 0 and x + y < -1 never hold together with y's sign.
    network = ReLUNetwork(
        2, [Layer({0: [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]}, [0.0, 0.0, -1.0])], {1: [1.0] * 3}
    )
    domain = ExactDomain(WholeSpace(), 2)
    for signs, kind in (
        ([True, True, True], Bends),
        ([True, True, False], Bends),
        ([True, False, True], Thin),
    ):
        assert isinstance(decide_facet(network, domain, (1, 0), [np.array(signs)]), kind)
    held = ExactDomain(WholeSpace(), 2, (1,))
    assert decide_facet(network, held, (1, 0), [np.ones(3, dtype=bool)]) == Uncrossed()


def test_a_linear_neuron_may_have_either_sign_on_a_facet() -> None:
    layers = [Layer({0: [[1.0]]}, [0.0], [1.0]), Layer({1: [[1.0]]}, [1.0])]
    network = ReLUNetwork(1, layers, {2: [-1.0]})  # -relu(x + 1): the kink is where x < 0
    pattern = [np.array([True]), np.array([True])]
    assert isinstance(decide_facet(network, ExactDomain(WholeSpace(), 1), (2, 0), pattern), Kink)


def test_jumps_of_neurons_on_one_hyperplane_are_summed() -> None:
    # relu(x) - relu(x) / 2, in two layers: no violation although the second neuron's own jump is negative.
    layers = [Layer({0: [[1.0]]}, [0.0]), Layer({0: [[1.0]]}, [0.0])]
    domain = ExactDomain(WholeSpace(), 1)
    pattern = [np.array([True]), np.array([True])]
    for weight, neuron, kind in ((-0.5, (2, 0), Bends), (-1.5, (1, 0), Kink)):
        network = ReLUNetwork(1, layers, {1: [1.0], 2: [weight]})
        assert isinstance(decide_facet(network, domain, neuron, pattern), kind)
