"""An adversary against `jensen.verify`: no forged certificate of convexity is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from attack import Forger, answer, content_of, frontiers, other_domain, other_inputs, samples, sealed
from flint import fmpq
from oracle import case, oracle_is_convex

import jensen
from jensen.errors import CertificateError
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace
from jensen.verifier import Bends, Certificate, Cover, Hull, Implied, Multipliers, Proof, Thin, Uncrossed

Question = tuple[ReLUNetwork, Domain | None, tuple[int, ...] | None]


def not_convex(seed: int, indices: range) -> Iterator[tuple[Random, Question]]:
    """Questions that the oracle answers with no."""
    for index in indices:
        question, rng = case(seed, index), Random(f"forger/{seed}/{index}")
        network, d = question.network, question.network.input_size
        asked: list[tuple[Domain | None, tuple[int, ...] | None]] = [(question.domain, question.wrt)]
        asked.append((other_domain(rng, d), other_inputs(rng, d)))
        for domain, wrt in asked:
            if not oracle_is_convex(network, domain, wrt).convex:
                yield rng, (network, domain, wrt)


@pytest.mark.parametrize("chunk", range(4))
def test_no_frontier_where_the_slope_falls_can_be_argued_away(chunk: int) -> None:
    tried = 0
    for rng, question in not_convex(31, range(40 * chunk, 40 * chunk + 40)):
        known = frontiers(*question)
        assert known.guilty
        forger = Forger(rng, *question, known)
        for _ in range(3):
            neurons = sorted(rng.choice(known.guilty))
            try:
                forged = forger.attempt(forger.proof(), neurons, effort=20)
            except CertificateError:  # twins, cover or hull are already refused
                continue
            tried += 1
            assert forged is None, f"{question} proved at {neurons}: {forged}"
    assert tried > 20


def test_drawn_proofs_are_refused(tmp_path: Path) -> None:
    tried = 0
    for rng, question in not_convex(32, range(100)):
        known = frontiers(*question)
        forger = Forger(rng, *question, known)
        neurons = sorted({v for guilty in known.guilty for v in guilty})
        for _ in range(2):
            try:
                forged = forger.blind(forger.proof(), neurons)
            except CertificateError:
                continue
            tried += 1
            found = answer(question[0], sealed(content_of(forged)), tmp_path / "forged.json")
            assert found.answer == "logic", found
    assert tried > 50


def test_proofs_of_other_questions_are_refused(tmp_path: Path) -> None:
    pool = list(samples(33, 0, 60))
    tried = 0
    for victim in pool:
        if victim.certificate.verdict == "convex":
            continue
        shape = victim.network.input_size, victim.network.widths
        for other in pool:
            if other.certificate.verdict == "convex" and shape == (
                other.network.input_size,
                other.network.widths,
            ):
                content = {**other.content, **{k: victim.content[k] for k in ("network", "domain", "wrt")}}
                tried += 1
                found = answer(victim.network, sealed(content), tmp_path / "forged.json")
                assert found.answer == "logic", (victim.name, other.name, found)
    assert tried > 10


def minus_relu(d: int, axis: int) -> ReLUNetwork:
    """-relu(x_axis)."""
    return ReLUNetwork(d, [Layer({0: [[float(j == axis) for j in range(d)]]}, [0.0])], {1: [-1.0]})


def test_a_hull_whose_point_lies_outside_is_refused() -> None:
    # Row 2 vanishes on the polytope; at a point outside it is positive, and would then make every facet thin.
    network = minus_relu(2, 1)
    domain = Polytope([[1, 0], [-1, 0], [2, 0], [0, 1], [0, -1]], [0, 0, 0, 1, 1])
    hull = Hull({0: fmpq(1), 1: fmpq(1)}, [fmpq(-1), fmpq(0)])
    trees = {((1, 0), piece): [Thin(rows={2: fmpq(1)})] for piece in range(5)}
    forged = Certificate(network.digest, domain, None, "convex", Proof(hull=hull, trees=trees))
    with pytest.raises(CertificateError, match="hull"):
        jensen.verify(forged, network)


def test_a_direction_that_leaves_the_hull_decides_like_any_other() -> None:
    # f = -relu(x) + 3 relu(y) on the flat y = 0: in the plane, the slope across x = 0 along (1, 1) grows.
    network = ReLUNetwork(2, [Layer({0: [[1.0, 0.0], [0.0, 1.0]]}, [0.0, 0.0])], {1: [-1.0, 3.0]})
    domain = Box([-1.0, 0.0], [1.0, 0.0])
    for direction in ((1, 1), (1, 0)):
        leaf = Bends([fmpq(0), fmpq(0)], [fmpq(v) for v in direction])
        proof = Proof(trees={((1, 0), 0): [(1, 1), leaf, leaf]})
        forged = Certificate(network.digest, domain, None, "convex", proof)
        with pytest.raises(CertificateError, match="does not prove"):
            jensen.verify(forged, network)


@pytest.mark.parametrize("rows", [[fmpq(-1), fmpq(0)], [fmpq(0), fmpq(-1)], [fmpq(-1)] * 2, [fmpq(1)] * 3])
def test_rows_count_nonnegative_times(rows: list[fmpq]) -> None:
    network = minus_relu(1, 0)
    domain = Polytope([[1.0], [-1.0]], [1.0, 1.0])
    for piece in range(3):
        leaf = Multipliers(jump=False, z={1: [fmpq(1)]}, rows=rows)
        trees = {((1, 0), k): [leaf if k == piece else Multipliers()] for k in range(3)}
        forged = Certificate(network.digest, domain, None, "convex", Proof(trees=trees))
        with pytest.raises(CertificateError, match="does not prove"):
            jensen.verify(forged, network)


def test_bounds_that_rows_do_not_imply_are_refused() -> None:
    network = minus_relu(1, 0)  # its kink lies at 0
    domain = Polytope([[1.0], [-1.0]], [2.0, 2.0])
    one = fmpq(1)
    forgeries: list[list[Implied]] = [
        [(0, 1, -1.0, [(0, one)]), (0, -1, 2.0, [(1, one)])],
        [(0, 1, 2.0, [(0, one)]), (0, -1, -1.0, [(0, -one)])],
        [(0, 1, 2.0, [(0, one)]), (0, -1, -1.0, [])],
        [(0, 1, -1.0, [(0, fmpq(1, 2))]), (0, -1, 2.0, [(1, one)])],
        [(1, 1, 0.0, [])],
        [(-1, 1, 0.0, [])],
        [(0, 1, 1.0, [(7, one)])],
        [(0, 1, 1.0, [(-1, one)])],
        [(0, 1, float("inf"), [(0, one)])],
        [(0, 1, float("nan"), [(0, one)])],
    ]
    for implied in forgeries:
        proof = Proof(cover=Cover(1.0, False, tuple(implied)))
        with pytest.raises(CertificateError, match="bound"):
            jensen.verify(Certificate(network.digest, domain, None, "convex", proof), network)


def test_the_row_space_is_for_the_whole_space_alone() -> None:
    # In the row space the kink of -relu(x) would lie anywhere; on this box it does not lie at all.
    network = ReLUNetwork(1, [Layer({0: [[1.0]]}, [-0.5])], {1: [-1.0]})
    for domain in (Box(1.0, float("inf")), Polytope([[-1.0]], [-1.0])):
        proof = Proof(cover=Cover(1.0, True))
        with pytest.raises(CertificateError, match="whole space"):
            jensen.verify(Certificate(network.digest, domain, None, "convex", proof), network)
    wide = ReLUNetwork(1, [Layer({0: [[1.0], [-1.0]]}, [0.0, 0.0])], {1: [-1.0, -1.0]})
    proof = Proof(cover=Cover(1.0, True))
    with pytest.raises(CertificateError, match="fewer"):
        jensen.verify(Certificate(wide.digest, WholeSpace(), None, "convex", proof), wide)


@pytest.mark.parametrize("radius", [0.0, -1.0, 3.0, 1e300, float("nan"), float("inf")])
def test_radii_that_bound_nothing_are_refused(radius: float) -> None:
    network = minus_relu(1, 0)
    proof = Proof(cover=Cover(radius))
    with pytest.raises(CertificateError, match="radius"):
        jensen.verify(Certificate(network.digest, WholeSpace(), None, "convex", proof), network)


@pytest.mark.parametrize("radius", [5e-324, 2.0**-1000, 0.5, 1.0, 2.0, 2.0**1000])
def test_any_other_radius_leaves_the_kink_in_some_piece(radius: float) -> None:
    # -relu(x - 1): the kink lies in the near piece, or in a far one.
    network = ReLUNetwork(1, [Layer({0: [[1.0]]}, [-1.0])], {1: [-1.0]})
    proof = Proof(cover=Cover(radius))
    with pytest.raises(CertificateError, match="does not prove"):
        jensen.verify(Certificate(network.digest, WholeSpace(), None, "convex", proof), network)


def test_moving_inputs_cross_the_kink() -> None:
    network = minus_relu(2, 1)
    proof = Proof(trees={((1, 0), piece): [Uncrossed()] for piece in range(5)})
    still = Certificate(network.digest, WholeSpace(), (0,), "convex", proof)
    assert jensen.verify(still, network).wrt == (0,)
    for wrt in (None, (1,), (0, 1)):
        with pytest.raises(CertificateError, match="does not prove"):
            jensen.verify(replace(still, wrt=wrt), network)
