"""What the checker takes for proved, against plain arithmetic at points and patterns, and exact LPs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from random import Random

import numpy as np
import plain
import pytest
from attack import other_domain, other_inputs
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import read_domain
from oracle._lp import interior_point, polyhedron
from oracle._weights import Hull as OracleHull
from oracle._weights import integers

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._pieces import pieces
from jensen.certify._prover import as_twins
from jensen.certify._twins import JumpWeights
from jensen.network import Box, Domain, FloatArray, Matrix, ReLUNetwork
from jensen.verifier import (
    Bends,
    Cover,
    Everywhere,
    Ground,
    Layout,
    Multipliers,
    Neuron,
    Proof,
    RationalNetwork,
    Replay,
    Signs,
    Thin,
    Twins,
    Uncrossed,
    sign_analysis,
    unsettled,
)
from jensen.verifier._facet import Frame, facet_holds
from jensen.verifier._pieces import Piece
from jensen.verifier._ranges import Ranges

Values = list[list[Fraction]]
SEEDS = st.integers(0, 2**32)


def exact(value: fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def at(net: RationalNetwork, piece: Piece, point: list[Fraction]) -> Values:
    """All pre-activations at a point of a piece, from the piece's own coordinates."""
    activations: Values = []
    result: Values = []
    for layer in range(1, net.depth + 1):
        z = [
            sum((exact(w) * c for w, c in zip(row, point, strict=True)), exact(b))
            for row, b in zip(piece.inputs[layer - 1].tolist(), piece.biases[layer - 1], strict=True)
        ]
        for k, w in net.weights[layer - 1].items():
            for i, row in enumerate(w.tolist()):
                z[i] += sum((exact(v) * h for v, h in zip(row, activations[k - 1], strict=True)), Fraction(0))
        result.append(z)
        slopes = map(exact, net.slopes[layer - 1])
        activations.append([v if v > 0 else a * v for v, a in zip(z, slopes, strict=True)])
    return result


def within(piece: Piece, point: list[Fraction]) -> bool:
    rows = piece.rows.tolist()
    cuts = (
        sum((exact(a) * c for a, c in zip(row, point, strict=True)), Fraction(0)) <= exact(r)
        for row, r in zip(rows, piece.right, strict=True)
    )
    ends = zip(piece.lo, point, piece.hi, strict=True)
    return all(exact(lo) <= c <= exact(hi) for lo, c, hi in ends) and all(cuts)


Plane = tuple[list[fmpq], fmpq]
"""Coefficients and constant of an affine function."""


def points(rng: Random, piece: Piece, plane: Plane | None, count: int) -> list[list[Fraction]]:
    """Draw points of a piece, corners among them; on a hyperplane if one is given."""
    found = []
    for _ in range(count):
        shares = [Fraction(rng.choice([0, 12, rng.randint(0, 12)]), 12) for _ in piece.lo]
        ends = zip(piece.lo, piece.hi, shares, strict=True)
        point = [exact(lo) + (exact(hi) - exact(lo)) * share for lo, hi, share in ends]
        if plane is not None:
            row, offset = [exact(v) for v in plane[0]], exact(plane[1])
            moved = [j for j, v in enumerate(row) if v]
            if moved:
                j = rng.choice(moved)
                value = offset + sum(v * c for v, c in zip(row, point, strict=True))
                point[j] -= value / row[j]
        if within(piece, point):
            found.append(point)
    return found


def patterns(z: Values, signs: Signs, decisions: dict[Neuron, int]) -> Iterator[list[list[bool]]]:
    """All patterns that closed signs at a point allow; who never has a sign takes the other slope."""
    choices = []
    for k, layer in enumerate(z, start=1):
        for i, v in enumerate(layer):
            up, down = signs.positive[k - 1][i], signs.negative[k - 1][i]
            allowed = {True: v >= 0 and (up or not down), False: v <= 0 and (down or not up)}
            side = decisions.get((k, i))
            choices.append([s for s in allowed if allowed[s] and side in (None, int(s))])
    widths = [len(layer) for layer in z]
    for flat in product(*choices):
        rest = iter(flat)
        yield [[next(rest) for _ in range(n)] for n in widths]


def members(twins: Twins, neuron: Neuron) -> dict[int, Fraction]:
    layer, i = neuron
    group = next((g for g in twins.groups.get(layer, []) if next(iter(g)) == i), {i: fmpq(1)})
    return {j: exact(f) for j, f in group.items()}


def drawn(rng: Random, wild: bool = False) -> tuple[ReLUNetwork, Domain]:
    network = plain.random_network(rng, wild=wild, width=3)
    return network, other_domain(rng, network.input_size)


def few(rng: Random) -> fmpq:
    return rng.choice([fmpq(0), fmpq(0), fmpq(1), fmpq(-1), fmpq(1, 2), fmpq(-3, 4)])


@settings(max_examples=120, deadline=None)
@given(SEEDS, st.booleans())
def test_every_point_of_a_domain_lies_in_a_piece_with_its_signs(seed: int, row_space: bool) -> None:
    rng = Random(seed)
    network, domain = drawn(rng)
    d = network.input_size
    net, exact_domain = RationalNetwork(network), ExactDomain(domain, d)
    whole = not exact_domain.inequalities and not exact_domain.equalities
    seen = sum(layer.size for layer in network.layers if 0 in layer.weights)
    cover = pieces(network, domain)[1]
    cover = Cover(rng.choice([cover.radius, 0.25, 1.0]), row_space and whole and 0 < seen <= d, cover.implied)
    layout = Layout(net, domain, cover)
    found = [layout.piece(index) for index in layout.indices]
    for _ in range(20):
        x = [Fraction(rng.randint(-40, 40), rng.choice([1, 8])) for _ in range(d)]
        if not domain.contains(x):
            continue
        z = plain.preactivations(network, x)
        values = x
        if cover.row_space:
            blocks = [dense(layer.weights[0]) for layer in network.layers if 0 in layer.weights]
            table = [[Fraction(w) for w in row] for block in blocks for row in block.tolist()]
            values = [sum((w * c for w, c in zip(row, x, strict=True)), Fraction(0)) for row in table]
        meets = []
        for piece in found:
            scale = Fraction(1)
            point = list(values)
            if piece.index:
                i, positive = divmod(piece.index - 1, 2)
                scale = values[i] if positive else -values[i]
                if scale <= 0:
                    continue
                point = [c / scale for j, c in enumerate(values) if j != i] + [1 / scale]
            if within(piece, point):
                meets.append(piece.index)
                assert at(net, piece, point) == [[v / scale for v in layer] for layer in z]
        assert meets, (x, domain, cover)


def dense(w: Matrix) -> FloatArray:
    return np.asarray(w if isinstance(w, np.ndarray) else w.toarray())


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.booleans())
def test_ranges_hold_at_every_point(seed: int, wild: bool) -> None:
    rng = Random(seed)
    network, domain = drawn(rng, wild)
    net = RationalNetwork(network)
    layout = Layout(net, domain, pieces(network, domain)[1])
    signs = sign_analysis(network, domain, None, Twins())
    piece = layout.piece(rng.choice(layout.indices))
    ground = Ground(net, piece, signs, Twins())
    sets: list[tuple[Ranges, Plane | None]] = [(ground.ranges, None)]
    for layer, n in enumerate(network.widths, start=1):
        if not net.weights[layer - 1]:
            i = rng.randrange(n)
            kink = piece.inputs[layer - 1].tolist()[i], piece.biases[layer - 1][i]
            sets.append((ground.kink((layer, i)).ranges, kink))
    for ranges, row in sets:
        for point in points(rng, piece, row, 12):
            z = at(net, piece, point)
            if row is not None and not any(row[0]) and row[1]:
                continue  # a constant that is not zero has no kink
            for layer, values in enumerate(z):
                for v, lo, hi in zip(values, ranges.lo[layer], ranges.hi[layer], strict=True):
                    assert exact(lo) <= v <= exact(hi)


@settings(max_examples=250, deadline=None)
@given(SEEDS)
def test_bounds_of_the_jump_hold_at_every_point_and_pattern(seed: int) -> None:
    rng = Random(seed)
    network, domain = drawn(rng)
    net, twins = RationalNetwork(network), as_twins(JumpWeights(network))
    signs = sign_analysis(network, domain, None, twins)
    layout = Layout(net, domain, pieces(network, domain)[1])
    piece = layout.piece(rng.choice(layout.indices))
    layer = next(k for k in range(1, net.depth + 1) if not net.weights[k - 1])
    neuron = layer, rng.randrange(network.widths[layer - 1])
    ground = Ground(net, piece, signs, twins)
    kink = ground.kink(neuron)
    if piece.alone:  # then bounds over the piece hold on all of the domain
        lows, highs = ground.ranges.lo, ground.ranges.hi
        up = [known & [bool(v > 0) for v in row] for known, row in zip(signs.positive, highs, strict=True)]
        down = [known & [bool(v < 0) for v in row] for known, row in zip(signs.negative, lows, strict=True)]
        signs = Signs(up, down, signs.settled)
    row = piece.inputs[layer - 1].tolist()[neuron[1]], piece.biases[layer - 1][neuron[1]]
    others = [(k, i) for k, n in enumerate(network.widths, 1) for i in range(n) if (k, i) != neuron]
    decisions = {u: rng.randint(0, 1) for u in others if rng.random() < 0.3}

    def vectors() -> dict[int, list[fmpq]]:
        return {
            k: [few(rng) for _ in range(n)] for k, n in enumerate(network.widths, 1) if rng.random() < 0.5
        }

    mu = [abs(few(rng)) for _ in piece.right] if rng.random() < 0.5 else []
    by = Multipliers(rng.random() < 0.8, vectors(), vectors(), mu)
    options = kink.options(decisions)
    for point in points(rng, piece, row, 10):
        z = at(net, piece, point)
        if z[layer - 1][neuron[1]]:
            continue
        for pattern in patterns(z, signs, decisions):
            assert options is not None
            assert not kink.ranges.empty
            jump = plain.jump(network, pattern, layer, members(twins, neuron)) if by.jump else Fraction(0)
            assert exact(kink.bound(options, by)) <= jump


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_signs_settle_what_every_pattern_that_they_allow_confirms(seed: int) -> None:
    rng = Random(seed)
    network, domain = drawn(rng)
    wrt, twins = other_inputs(rng, network.input_size), as_twins(JumpWeights(network))
    signs = sign_analysis(network, domain, wrt, twins)
    everywhere = Everywhere(RationalNetwork(network), signs, twins)
    for _ in range(10):
        x = plain.random_point(rng, network.input_size, 4)
        if domain.contains(x):
            z = plain.preactivations(network, x)
            for layer, up, down in zip(z, signs.positive, signs.negative, strict=True):
                assert all((v <= 0 or u) and (v >= 0 or w) for v, u, w in zip(layer, up, down, strict=True))
    moved = reached(network, domain, wrt)
    followers = {(k, i) for k, groups in twins.groups.items() for g in groups for i in list(g)[1:]}
    left = unsettled(signs)
    zero = [[Fraction(0)] * n for n in network.widths]
    allowed = list(patterns(zero, signs, {}))
    for k, n in enumerate(network.widths, start=1):
        for i in range(n):
            switches = signs.positive[k - 1][i] and signs.negative[k - 1][i]
            if (k, i) in followers or (k, i) not in moved or not switches:
                continue
            if (k, i) not in left or everywhere.settles((k, i)):
                group = members(twins, (k, i))
                assert all(plain.jump(network, pattern, k, group) >= 0 for pattern in allowed)


def reached(network: ReLUNetwork, domain: Domain, wrt: tuple[int, ...] | None) -> set[Neuron]:
    """Neurons to which some path leads from a moving input."""
    lo, hi = domain.bounds(network.input_size)
    moved = {(0, j) for j in range(lo.size) if lo[j] < hi[j] and (wrt is None or j in wrt)}
    for k, layer in enumerate(network.layers, start=1):
        for source, w in layer.weights.items():
            moved |= {(k, int(i)) for i, j in np.argwhere(dense(w)) if (source, int(j)) in moved}
    return moved - {(0, j) for j in range(lo.size)}


@pytest.mark.parametrize("seed", range(150))
def test_facet_claims_agree_with_exact_linear_programming(seed: int) -> None:
    rng = Random(seed)
    network, domain = drawn(rng)
    d, wrt = network.input_size, other_inputs(rng, network.input_size)
    frame = Frame(domain, d, wrt, ExactDomain(domain, d).hull)
    hull = read_domain(domain, d)
    neurons = [(k, i) for k, n in enumerate(network.widths, 1) for i in range(n)]
    neuron = rng.choice(neurons)
    slopes = {(k, i): network.layers[k - 1].negative_slope[i] for k, i in neurons}
    pattern = [
        [slopes[k, i] == 1 or rng.random() < 0.5 for i in range(n)] for k, n in enumerate(network.widths, 1)
    ]
    pattern[neuron[0] - 1][neuron[1]] = True
    forms = [
        [in_hull(hull, [Fraction(int(v)) for v in row]) for row in layer.tolist()]
        for layer, _ in network.exact.affine_forms([np.array(row) for row in pattern])[:-1]
    ]
    kink = forms[neuron[0] - 1][neuron[1]]
    crossed = any(sum(c * v for c, v in zip(kink[1:], step, strict=True)) for step in hull.moving(wrt))
    assert facet_holds(network, frame, neuron, pattern, Uncrossed()) == (not crossed)
    signed = {
        u: [v if pattern[u[0] - 1][u[1]] else -v for v in forms[u[0] - 1][u[1]]]
        for u in neurons
        if u != neuron and slopes[u] != 1
    }
    column = next((j for j, v in enumerate(kink) if j and v), None)
    if column is None:
        return  # no facet at all
    wall = [
        on_wall(row, kink, column)
        for row in [*signed.values(), *([Fraction(v) for v in r] for r in hull.rows)]
    ]
    strict = [integers(row) for row in wall if any(row)]
    open_facet = len([r for r in wall[len(signed) :] if not any(r)]) == 0 and (
        polyhedron(hull.size - 1, strict, strict=True) is not None
    )
    for _ in range(40):
        claim = Thin(
            {u: few(rng) if rng.random() < 0.1 else abs(few(rng)) for u in neurons if rng.random() < 0.4},
            {k: abs(few(rng)) for k in frame.positive if rng.random() < 0.4},
        )
        assert not (facet_holds(network, frame, neuron, pattern, claim) and open_facet)
    if not open_facet:
        return
    inside = interior_point(hull.size - 1, strict)
    inside.insert(column - 1, Fraction(0))
    inside[column - 1] = -(kink[0] + sum(c * v for c, v in zip(kink[1:], inside, strict=True))) / kink[column]
    point = hull.point(inside)
    unit = [Fraction(int(j == column - 1)) for j in range(hull.size)]
    direction = [a - b for a, b in zip(hull.point(unit), hull.point([Fraction(0)] * hull.size), strict=True)]
    back = [-v for v in direction]
    grows = plain.slope_along(network, point, direction) + plain.slope_along(network, point, back) >= 0
    bends = Bends(*([fmpq(v.numerator, v.denominator) for v in part] for part in (point, direction)))
    assert facet_holds(network, frame, neuron, pattern, bends) == grows
    for _ in range(10):
        other = Bends([v + few(rng) for v in bends.point], [few(rng) for _ in range(d)])
        assert not facet_holds(network, frame, neuron, pattern, other) or grows
    if signed:
        u = rng.choice(list(signed))
        undecided: list[list[bool | None]] = [list(row) for row in pattern]
        undecided[u[0] - 1][u[1]] = None
        for leaf in (bends, Thin({u: fmpq(1)})):
            assert not facet_holds(network, frame, neuron, undecided, leaf)
        assert u[0] >= neuron[0] or not facet_holds(network, frame, neuron, undecided, Uncrossed())


def in_hull(hull: OracleHull, row: list[Fraction]) -> list[Fraction]:
    """Rewrite [coefficients, constant] of x as [constant, coefficients] of the hull's own coordinates."""
    out = [row[-1], *[Fraction(0)] * hull.size]
    for a, form in zip(row[:-1], hull.forms, strict=True):
        out = [v + a * Fraction(c, hull.scale) for v, c in zip(out, form, strict=True)]
    return out


def on_wall(row: list[Fraction], kink: list[Fraction], column: int) -> list[Fraction]:
    reduced = [v - row[column] * w / kink[column] for v, w in zip(row, kink, strict=True)]
    return reduced[:column] + reduced[column + 1 :]


def test_a_leaf_is_only_asked_about_its_own_rows() -> None:
    network = plain.random_network(Random(3), d=2, depth=2)
    replay = Replay(network, Box(-1.0, 1.0), None, Proof())
    net, domain = RationalNetwork(network), Box(-1.0, 1.0)
    signs = sign_analysis(network, domain, None, Twins())
    ground = Ground(net, Layout(net, domain, Cover()).piece(0), signs, Twins())
    assert not replay.closes(ground.kink((1, 0)), {}, Multipliers(rows=[fmpq(1)]))
