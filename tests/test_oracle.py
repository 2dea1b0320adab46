"""The brute-force oracle against itself, HiGHS, samples, counting formulae and functions known by hand."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import comb
from random import Random

import numpy as np
import pytest
from oracle import Case, by_facets, by_pieces, case, oracle_is_convex, read_domain, read_network, violates
from oracle._lp import interior_point, polyhedron
from oracle._networks import CHANGED, GENERATORS
from oracle._oracle import Point
from oracle._regions import regions
from oracle._weights import domain_rows, value
from scipy.optimize import linprog

from jensen.network import Box, Domain, FloatArray, Layer, Matrix, Polytope, ReLUNetwork, from_arrays

ABS = ReLUNetwork(1, [Layer({0: [[1.0], [-1.0]]}, [0.0, 0.0])], {1: [1.0, 1.0]})


def questions(seed: int, count: int) -> list[Case]:
    return [case(seed, index) for index in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_linear_programs_agree_with_highs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    statuses = set()
    for _ in range(60):
        k, m = int(rng.integers(1, 5)), int(rng.integers(1, 10))
        A, b, c = rng.integers(-3, 4, (m, k)), rng.integers(-2, 5, m), rng.integers(-3, 4, k)
        rows = [[int(r), *(-int(v) for v in a)] for a, r in zip(A, b, strict=True)]
        ours = polyhedron(k, rows)
        theirs = linprog(-c, A_ub=A, b_ub=b, bounds=(None, None))
        feasible = linprog(np.zeros(k), A_ub=A, b_ub=b, bounds=(None, None)).status == 0
        assert (ours is not None) == feasible
        if ours is None:
            continue
        assert all(value(row, ours.point()) >= 0 for row in rows)
        objective = [int(rng.integers(-3, 4)), *(int(v) for v in c)]
        positive = ours.copy().exceeds_zero(objective)
        best = ours.maximum(objective)
        statuses.add(theirs.status)
        if best is None:
            assert theirs.status in {2, 3}  # unbounded, or "infeasible or unbounded" of a feasible one
            assert positive
        else:
            assert theirs.status == 0
            assert float(best) == pytest.approx(objective[0] - float(theirs.fun or 0.0), abs=1e-7)
            assert best == value(objective, ours.point())
            assert positive == (best > 0)
    assert 0 in statuses


@pytest.mark.parametrize("seed", range(3))
def test_interior_agrees_with_highs(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    outcomes = set()
    for _ in range(60):
        k, m = int(rng.integers(1, 4)), int(rng.integers(2, 8))
        A, b = rng.integers(-2, 3, (m, k)), rng.integers(-1, 3, m)
        A[~A.any(axis=1), 0] = 1
        rows = [[int(r), *(-int(v) for v in a)] for a, r in zip(A, b, strict=True)]
        slack = linprog(
            [0] * k + [-1], A_ub=np.c_[A, np.ones(m)], b_ub=b, bounds=[(None, None)] * k + [(None, 1)]
        )
        solid = -float(slack.fun or 0.0) > 1e-9
        outcomes.add(solid)
        assert (polyhedron(k, rows, strict=True) is not None) == solid
        if solid:
            assert all(value(row, interior_point(k, rows)) > 0 for row in rows)
        else:
            with pytest.raises(ValueError, match="interior"):
                interior_point(k, rows)
    assert outcomes == {True, False}


@pytest.mark.parametrize(("d", "n"), [(1, 5), (2, 6), (3, 5), (4, 5)])
def test_regions_of_a_general_arrangement(d: int, n: int) -> None:
    rng = np.random.default_rng(d)
    network = from_arrays([rng.integers(-99, 100, (n, d)), np.ones(n)], [rng.integers(-99, 100, n), [0]])
    found, _ = regions(read_network(network), read_domain(None, d))
    assert len(found) == sum(comb(n, i) for i in range(d + 1))


def test_regions_cover_and_carry_the_values() -> None:
    for question in questions(11, 80):
        weights = read_network(question.network)
        hull = read_domain(question.domain, weights.inputs)
        found, scale = regions(weights, hull)
        centers = [interior_point(hull.size, region.rows) for region in found]
        for i, (region, center) in enumerate(zip(found, centers, strict=True)):
            assert value(region.piece, center) / scale == weights(hull.point(center))
            others = [other for j, other in enumerate(found) if j != i]
            assert all(any(value(row, center) < 0 for row in other.rows) for other in others)


def test_exact_values_agree_with_floats() -> None:
    rng = Random(3)
    for question in questions(12, 60):
        point = [Fraction(rng.randint(-24, 24), 8) for _ in range(question.network.input_size)]
        ours = read_network(question.network)(point)
        assert float(ours) == pytest.approx(float(question.network([[float(v) for v in point]])[0]), abs=1e-9)


def test_both_criteria_agree_and_witnesses_hold() -> None:
    kinds = set()
    for question in questions(13, 400):
        weights = read_network(question.network)
        rows = domain_rows(question.domain, weights.inputs)
        answers = by_pieces(question.network, question.domain), by_facets(question.network, question.domain)
        assert answers[0].convex == answers[1].convex
        kinds.add(answers[0].convex)
        for answer in answers:
            assert answer.convex == (answer.witness is None)
            if answer.witness is not None:
                x, y, t = answer.witness
                assert violates(weights, x, y, t)
                assert all(value(row, end) >= 0 for row in rows for end in (x, y))
    assert kinds == {True, False}


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "random"])
def test_purpose_built_networks_are_convex(name: str) -> None:
    for index in range(60):
        network, domain = GENERATORS[name](Random(f"{name}/{index}"))
        assert oracle_is_convex(network, domain).convex


def test_campaign_has_every_kind_in_numbers() -> None:
    drawn = questions(14, 600)
    convex = [oracle_is_convex(q.network, q.domain, q.wrt).convex for q in drawn]
    changed = [c for q, c in zip(drawn, convex, strict=True) if q.generator.endswith(CHANGED)]
    assert 0.5 < sum(convex) / len(convex) < 0.9
    assert sum(not c for c in changed) > 0.15 * len(changed)
    assert {q.network.input_size for q in drawn} == {1, 2, 3, 4}
    assert {q.network.depth for q in drawn} >= {1, 2, 3, 4}
    assert {type(q.domain) for q in drawn} == {type(None), Box, Polytope}
    assert any(q.wrt is not None for q in drawn)


def _sample(rng: Random, domain: Domain | None, d: int) -> Point:
    hull = read_domain(domain, d)
    box = [[4, *(-int(i == k) * s for i in range(hull.size))] for k in range(hull.size) for s in (1, -1)]
    while True:
        u = [Fraction(rng.randint(-32, 32), 8) for _ in range(hull.size)]
        if all(value(row, u) >= 0 for row in [*hull.rows, *box]):
            return hull.point(u)


def test_no_sample_contradicts_a_convex_verdict() -> None:
    rng = Random(15)
    for question in questions(15, 100):
        answer = oracle_is_convex(question.network, question.domain)
        weights = read_network(question.network)
        if answer.convex:
            points = [_sample(rng, question.domain, weights.inputs) for _ in range(12)]
            assert not any(violates(weights, x, y, Fraction(1, 2)) for x, y in pairwise(points))


def _slice(network: ReLUNetwork, wrt: tuple[int, ...], fixed: list[Fraction]) -> ReLUNetwork:
    """Fix all inputs but some; the fixed values must be floats."""
    free = list(wrt)
    shift = np.array([0.0 if i in wrt else float(v) for i, v in enumerate(fixed)])

    def split(weights: Mapping[int, Matrix], bias: FloatArray) -> tuple[dict[int, FloatArray], FloatArray]:
        dense = {k: np.asarray(w) for k, w in weights.items()}
        total = bias + dense[0] @ shift if 0 in dense else bias
        return {k: w[:, free] if k == 0 else w for k, w in dense.items()}, total

    layers = [Layer(*split(lay.weights, lay.bias), lay.negative_slope) for lay in network.layers]
    output, bias = split(network.output_weights, np.array([network.output_bias]))
    return ReLUNetwork(len(free), layers, output, float(bias[0]))


def test_partial_convexity_agrees_with_slices() -> None:
    """Convex in some inputs iff every slice is; a witness shows a slice that is not."""
    rng = Random(16)
    seen = set()
    for question in questions(16, 500):
        d = question.network.input_size
        if question.wrt is None or not isinstance(question.domain, Box | None):
            continue
        answer = by_facets(question.network, question.domain, question.wrt)
        lo, hi = (Box(-9, 9) if question.domain is None else question.domain).bounds(d)
        low, high = np.maximum(lo, -9), np.minimum(hi, 9)
        part = (
            None if question.domain is None else Box(lo[list(question.wrt)], hi[list(question.wrt)])
        )  # a slice of a box is a box
        seen.add(answer.convex)
        if answer.witness is None:
            for _ in range(4):
                fixed = [
                    Fraction(int(8 * a) + rng.randint(0, int(8 * (b - a))), 8)
                    for a, b in zip(low, high, strict=True)
                ]
                assert by_pieces(_slice(question.network, question.wrt, fixed), part).convex
        else:
            x, y, t = answer.witness
            assert violates(read_network(question.network), x, y, t)
            assert all(a == b for i, (a, b) in enumerate(zip(x, y, strict=True)) if i not in question.wrt)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("network", "domain", "convex"),
    [
        (ABS, None, True),
        (ReLUNetwork(1, ABS.layers, {1: [-1.0, -1.0]}), None, False),
        (ReLUNetwork(1, ABS.layers, {1: [-1.0, -1.0]}), Box(0, 3), True),
        (ReLUNetwork(1, ABS.layers, {1: [-1.0, -1.0]}), Box(-1, 3), False),
        (ReLUNetwork(1, ABS.layers, {1: [1.0, -1.0]}), None, True),
        (ReLUNetwork(1, ABS.layers, {1: [2.0, -1.0]}), None, True),
        (ReLUNetwork(1, ABS.layers, {1: [1.0, -2.0]}), None, False),
        (ReLUNetwork(2, [], {0: [1.0, -2.0]}, 3.0), None, True),
        # min(x, y) = y - relu(y - x), on the plane and on the half where it is x
        (ReLUNetwork(2, [Layer({0: [[-1.0, 1.0]]}, [0.0])], {0: [0.0, 1.0], 1: [-1.0]}), None, False),
        (
            ReLUNetwork(2, [Layer({0: [[-1.0, 1.0]]}, [0.0])], {0: [0.0, 1.0], 1: [-1.0]}),
            Polytope([[1.0, -1.0]], [0.0]),
            True,
        ),
        # on the line x + y = 1 min(x, y) bends downwards, on the line x = y it does not
        (
            ReLUNetwork(2, [Layer({0: [[-1.0, 1.0]]}, [0.0])], {0: [0.0, 1.0], 1: [-1.0]}),
            Polytope([[1.0, 1.0], [-1.0, -1.0]], [1.0, -1.0]),
            False,
        ),
        (
            ReLUNetwork(2, [Layer({0: [[-1.0, 1.0]]}, [0.0])], {0: [0.0, 1.0], 1: [-1.0]}),
            Polytope([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0]),
            True,
        ),
        # a single point
        (ReLUNetwork(1, ABS.layers, {1: [-1.0, -1.0]}), Box(0, 0), True),
    ],
)
def test_known_functions(network: ReLUNetwork, domain: Domain | None, convex: bool) -> None:
    assert by_pieces(network, domain).convex == convex
    assert by_facets(network, domain).convex == convex


def test_an_empty_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        by_pieces(ABS, Polytope([[1.0], [-1.0]], [0.0, -1.0]))
