"""Two brute-force deciders of convexity that share nothing with each other but the list of regions.

By pieces: a continuous piecewise affine f is convex iff it is the largest of its pieces, so iff on every
region no other region's piece exceeds its own. By facets: f is convex iff its slope grows across every facet
that two regions share; this one also decides convexity in some of the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from jensen.network import Domain, ReLUNetwork
from oracle._lp import interior_point, polyhedron
from oracle._regions import Form, Region, primitive, regions
from oracle._weights import Hull, Weights, read_domain, read_network, value

Point = tuple[Fraction, ...]


@dataclass(frozen=True)
class Answer:
    """What the oracle found.

    Attributes
    ----------
    convex : bool
    witness : (x, y, t) or None
        Exact points of the domain with f(t x + (1 - t) y) > t f(x) + (1 - t) f(y); present iff not convex.
    regions, pieces : int
        Numbers of full-dimensional regions and of different affine pieces.
    """

    convex: bool
    witness: tuple[Point, Point, Fraction] | None
    regions: int
    pieces: int


def oracle_is_convex(
    network: ReLUNetwork, domain: Domain | None = None, wrt: Sequence[int] | None = None
) -> Answer:
    """Decide convexity by brute force in rational arithmetic.

    Parameters
    ----------
    network : ReLUNetwork
        A small one: the time is exponential in the number of neurons.
    domain : Domain, optional
        Whole space by default.
    wrt : sequence of int, optional
        Inputs in which convexity is asked, the others being fixed at any value.
    """
    return by_pieces(network, domain) if wrt is None else by_facets(network, domain, wrt)


def violates(weights: Weights, x: Point, y: Point, t: Fraction) -> bool:
    """Whether three points violate Jensen's inequality, by the oracle's own forward pass."""
    middle = [t * a + (1 - t) * b for a, b in zip(x, y, strict=True)]
    return 0 < t < 1 and weights(middle) > t * weights(x) + (1 - t) * weights(y)


def by_pieces(network: ReLUNetwork, domain: Domain | None = None) -> Answer:
    """Decide convexity in all inputs: is f the largest of its affine pieces?"""
    weights = read_network(network)
    hull = read_domain(domain, weights.inputs)
    found, _ = regions(weights, hull)
    owners: dict[tuple[int, ...], Region] = {}
    for region in found:
        owners.setdefault(region.piece, region)
    for region in found:
        for piece, owner in owners.items():
            excess = [a - b for a, b in zip(piece, region.piece, strict=True)]
            if any(excess) and region.polyhedron.exceeds_zero(excess):
                witness = _piece_witness(weights, hull, region, owner, excess)
                return Answer(False, witness, len(found), len(owners))
    return Answer(True, None, len(found), len(owners))


def _piece_witness(
    weights: Weights, hull: Hull, low: Region, high: Region, excess: Form
) -> tuple[Point, Point, Fraction]:
    """Three points from a region `low` on which the piece of `high` exceeds f.

    From a point r inside `high`, f follows that piece for a while along the way to a point v of `low` where
    the piece exceeds f; so f lies above the chord there.
    """
    r = interior_point(hull.size, high.rows)
    v = interior_point(hull.size, [*low.rows, excess])
    x, y, t = hull.point(r), hull.point(v), Fraction(1, 2)
    while not violates(weights, x, y, t):
        t = (1 + t) / 2
    return x, y, t


def by_facets(network: ReLUNetwork, domain: Domain | None = None, wrt: Sequence[int] | None = None) -> Answer:
    """Decide convexity in the inputs `wrt` (default all): does the slope grow across every shared facet?"""
    weights = read_network(network)
    hull = read_domain(domain, weights.inputs)
    moving = hull.moving(wrt)
    found, _ = regions(weights, hull)
    pieces = len({region.piece for region in found})
    for above, below, jump in _facets(found, hull.size):
        slopes = [sum(c * v for c, v in zip(jump[1:], direction, strict=True)) for direction in moving]
        crossing = next((k for k, slope in enumerate(slopes) if slope), None)
        if crossing is None or above.polyhedron.exceeds_zero(jump):
            continue
        center = _facet_point(above, below, jump, hull.size)
        step, direction = Fraction(1), moving[crossing]
        while True:
            ends = [[c + s * step * m for c, m in zip(center, direction, strict=True)] for s in (1, -1)]
            x, y = (hull.point(end) for end in ends)
            inside = all(value(row, end) >= 0 for row in hull.rows for end in ends)
            if inside and violates(weights, x, y, Fraction(1, 2)):
                return Answer(False, (x, y, Fraction(1, 2)), len(found), pieces)
            step /= 2
    return Answer(True, None, len(found), pieces)


def _facets(found: list[Region], size: int) -> Iterator[tuple[Region, Region, Form]]:
    """Pairs of regions that share a facet with a jump, and the first piece minus the second."""
    walls = [{tuple(primitive(row)) for row in region.rows} for region in found]
    for i, first in enumerate(found):
        for j in range(i):
            second = found[j]
            jump = [a - b for a, b in zip(first.piece, second.piece, strict=True)]
            if not any(jump[1:]):
                continue
            wall = primitive(jump)
            mirrored = tuple(-v for v in wall)
            # A shared facet spans the hyperplane on which the pieces agree, and there each of the two regions
            # has a row, one on either side.
            here = (tuple(wall) in walls[i] and mirrored in walls[j]) or (
                mirrored in walls[i] and tuple(wall) in walls[j]
            )
            if here and polyhedron(size - 1, _on_wall(first, second, jump), strict=True) is not None:
                yield first, second, jump


def _on_wall(first: Region, second: Region, jump: Form) -> list[Form]:
    """Rows of both regions on the hyperplane jump = 0, in all variables but one; none that vanishes there."""
    column = _eliminated(jump)
    lead = jump[column]
    sign = 1 if lead > 0 else -1
    result = []
    for row in [*first.rows, *second.rows]:
        reduced = [sign * (v * lead - row[column] * w) for v, w in zip(row, jump, strict=True)]
        del reduced[column]
        if any(reduced):
            result.append(primitive(reduced))
    return result


def _eliminated(jump: Form) -> int:
    return next(k for k, v in enumerate(jump) if k and v)


def _facet_point(first: Region, second: Region, jump: Form, size: int) -> list[Fraction]:
    """A point in the relative interior of the facet."""
    column = _eliminated(jump)
    point = interior_point(size - 1, _on_wall(first, second, jump))
    point.insert(column - 1, Fraction(0))
    point[column - 1] = -value(jump, point) / jump[column]
    return point
