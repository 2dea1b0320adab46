"""The checker of certificates on networks made by hand: every kind of leaf, and every complaint."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from flint import fmpq

import jensen
from jensen.errors import CertificateError, DomainError
from jensen.network import Box, Domain, Layer, Polytope, ReLUNetwork, WholeSpace
from jensen.verifier import (
    Bends,
    Certificate,
    Cover,
    Hull,
    Leaf,
    Multipliers,
    Neuron,
    Proof,
    Thin,
    Twins,
    Uncrossed,
    Violation,
)

ONE = fmpq(1)
CUBE = Box(-1.0, 1.0)


def q(*values: float) -> list[fmpq]:
    return [fmpq(*float(v).as_integer_ratio()) for v in values]


def certificate(
    network: ReLUNetwork,
    domain: Domain = CUBE,
    trees: dict[tuple[Neuron, int], list[Neuron | Leaf]] | None = None,
    wrt: tuple[int, ...] | None = None,
    **parts: Any,
) -> Certificate:
    return Certificate(network.digest, domain, wrt, "convex", Proof(trees=trees or {}, **parts))


def refused(network: ReLUNetwork, made: Certificate, match: str, **asked: Any) -> None:
    with pytest.raises(CertificateError, match=match):
        jensen.verify(made, network, **asked)


def layered(
    first: list[list[float]], bias: list[float], output: list[float], slope: Any = 0.0
) -> ReLUNetwork:
    return ReLUNetwork(len(first[0]), [Layer({0: first}, bias, slope)], {1: output})


MINUS = layered([[1.0]], [0.0], [-1.0])
"""-relu(x)."""
KINKED = ReLUNetwork(
    1, [Layer({0: [[1.0]]}, [0.0]), Layer({0: [[1.0]], 1: [[1.0]]}, [0.0])], {1: [-1.0], 2: [1.0]}
)
"""relu(x + relu(x)) - relu(x) = relu(x): where both switch, at 0, the first alone would bend downwards."""
BENDING: list[Neuron | Leaf] = [(2, 0), Bends([fmpq(0)], [ONE]), Multipliers()]


def test_signs_need_no_tree() -> None:
    network = layered([[1.0], [-2.0]], [0.0, 1.0], [1.0, 0.5])
    found = jensen.verify(certificate(network), network)
    assert (found.verdict, found.neurons, found.by_signs, found.trees, found.leaves) == ("convex", 2, 2, 0, 0)


@pytest.mark.parametrize("network", [
    ReLUNetwork(2, [], {0: [1.0, -1.0]}, 3.0),
    ReLUNetwork(2, [], {}),
    ReLUNetwork(2, [Layer({}, [])], {}),
    ReLUNetwork(2, [Layer({0: [[0.0, 0.0]]}, [-1.0])], {1: [-1.0]}),
    ReLUNetwork(2, [Layer({}, [1.0, 0.0])], {1: [-1.0, -1.0]}),
    ReLUNetwork(
        1, [Layer({0: [[1.0]]}, [0.0]), Layer({}, []), Layer({1: [[-1.0]]}, [0.5])], {3: [1.0], 1: [2.0]}
    ),
    ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0], 1.0)], {1: [-1.0]}),
    ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0], 2.0)], {1: [-1.0]}),
    ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0], -1.0)], {1: [1.0]}),
])  # fmt: skip
def test_degenerate_networks_are_certified(network: ReLUNetwork) -> None:
    for domain in (WholeSpace(), CUBE, Box(0.5, 0.5), Polytope([[0.0] * network.input_size], [0.0])):
        found = jensen.check(network, domain, exact=True)
        assert found.kind == "convex"
        assert found.certificate is not None
        assert jensen.verify(found.certificate, network).verdict == "convex"


def test_bounds_over_the_kink_settle_a_neuron() -> None:
    # The second neuron is on where the first one switches, whatever x is.
    network = ReLUNetwork(1, [Layer({0: [[1.0]]}, [0.0]), Layer({1: [[1.0]]}, [1.0])], {1: [-1.0], 2: [1.0]})
    assert jensen.verify(certificate(network), network).trees == 0


def test_a_facet_on_which_two_neurons_switch_bends_upwards() -> None:
    trees: dict[tuple[Neuron, int], list[Neuron | Leaf]] = {((1, 0), 0): BENDING}
    found = jensen.verify(certificate(KINKED, trees=trees), KINKED)
    assert (found.by_signs, found.trees, found.leaves) == (1, 1, 2)
    refused(KINKED, certificate(KINKED), "leaf 1 of the tree of neuron .1, 0. on piece 0 does not prove")


@pytest.mark.parametrize(
    "leaf",
    [
        Bends(q(0), q(0)),
        Bends(q(0.5), q(1)),
        Bends(q(0, 0), q(1, 0)),
        Bends([], []),
        Thin(),
        Thin({(2, 0): ONE}),
        Thin({(2, 0): -ONE}),
        Thin(rows={0: ONE}),
        Thin(rows={7: ONE}),
        Uncrossed(),
        Multipliers(),
        Multipliers(jump=False),
        Multipliers(z={1: q(1)}, g={2: q(1)}),
        Multipliers(rows=q(1)),
    ],
)
def test_leaves_that_prove_nothing(leaf: Leaf) -> None:
    trees: dict[tuple[Neuron, int], list[Neuron | Leaf]] = {((1, 0), 0): [(2, 0), leaf, Multipliers()]}
    refused(KINKED, certificate(KINKED, trees=trees), "does not prove")


def test_thin_by_rows_and_by_signs() -> None:
    # f = relu(x) - relu(x + y - 2)
    network = layered([[1.0, 1.0], [1.0, 0.0]], [-2.0, 0.0], [-1.0, 1.0])
    # touches the square at a corner only, and a triangle along an edge.
    assert jensen.verify(certificate(network, Box([0.0, 0.0], [1.0, 1.0])), network).trees == 0
    polytope = Polytope([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], [2.0, 0.0, 0.0])
    hull = Hull(interior=q(0.5, 0.5))
    edge: list[Neuron | Leaf] = [Thin(rows={0: ONE})]
    trees = {((1, 0), piece): edge for piece in range(5)}
    found = jensen.verify(certificate(network, polytope, trees, hull=hull), network)
    assert found.leaves == 5
    refused(network, certificate(network, polytope, trees), "which rows of the polytope are strict")
    for wrong in (Hull(interior=q(0.5)), Hull(), Hull({0: ONE}, q(0.5, 0.5)), Hull({5: ONE}, q(0.5, 0.5)),
                  Hull({0: -ONE}, q(0.5, 0.5)), Hull(interior=q(2, 0)), Hull(interior=q(3, 3))):  # fmt: skip
        refused(network, certificate(network, polytope, trees, hull=wrong), "hull|strict")


def test_uncrossed_by_the_inputs_that_move() -> None:
    network = layered([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], [1.0, -1.0])
    assert jensen.verify(certificate(network, wrt=(0,)), network, wrt=[0]).by_signs == 2
    refused(network, certificate(network, wrt=(1,)), "does not prove")
    # -relu(y - x + relu(x + 4) - 4), where x + 4 is positive: -relu(y).
    mixed = ReLUNetwork(
        2,
        [Layer({0: [[1.0, 0.0]]}, [4.0]), Layer({0: [[-1.0, 1.0]], 1: [[1.0]]}, [-4.0])],
        {2: [-1.0]},
    )
    trees: dict[tuple[Neuron, int], list[Neuron | Leaf]] = {((2, 0), 0): [Uncrossed()]}
    assert jensen.verify(certificate(mixed, trees=trees, wrt=(0,)), mixed).leaves == 1
    refused(mixed, certificate(mixed, trees=trees, wrt=(0, 1)), "does not prove")


def test_trees_must_cover_all_cases() -> None:
    good = BENDING
    wrong: list[tuple[list[Neuron | Leaf], str]] = [
        (good[:2], "leaves 1 cases open"),
        ([], "leaves 1 cases open"),
        ([*good, Multipliers()], "goes on after its last case"),
        ([(1, 0), *good, Multipliers()], "splits twice on one neuron, or on its own"),
        ([(2, 0), *good, Multipliers()], "splits twice"),
        ([(3, 0)], "does not have"),
        ([(0, 0)], "does not have"),
        ([(2, 1)], "does not have"),
        ([(2, -1)], "does not have"),
        ([Thin({(2, 5): ONE})], "does not have"),
        ([Multipliers(z={1: q(1, 1)})], "do not fit"),
        ([Multipliers(g={3: q(1)})], "do not fit"),
        ([Multipliers(z={0: q(1)})], "do not fit"),
    ]
    for nodes, match in wrong:
        refused(KINKED, certificate(KINKED, trees={((1, 0), 0): nodes}), match)
    refused(KINKED, certificate(KINKED, trees={((1, 1), 0): good}), "does not have")
    assert jensen.verify(certificate(KINKED, trees={((1, 0), 0): good}), KINKED).leaves == 2


def test_a_deep_tree_takes_little_memory() -> None:
    wide = layered([[1.0]] * 1200, [0.0] * 1200, [-1.0] * 1200)
    nodes: list[Neuron | Leaf] = [(1, i) for i in range(1, 1200)]
    refused(wide, certificate(wide, trees={((1, 0), 0): [*nodes, Uncrossed()]}), "does not prove")


def test_twins() -> None:
    network = layered([[1.0, -2.0], [-2.0, 4.0]], [1.0, -2.0], [-1.0, 0.5])
    pair = {0: ONE, 1: fmpq(-2)}
    assert jensen.verify(certificate(network, twins=Twins({1: [pair]})), network).by_signs == 2
    refused(network, certificate(network), "does not prove")
    wrong: list[tuple[dict[int, list[dict[int, fmpq]]], str]] = [
        ({1: [{0: ONE, 1: fmpq(2)}]}, "no twins"),
        ({1: [{0: ONE, 1: fmpq(0)}]}, "no twins"),
        ({1: [{0: fmpq(2), 1: fmpq(-4)}]}, "no unit"),
        ({1: [pair, {1: ONE}]}, "not disjoint"),
        ({1: [{0: ONE, 2: ONE}]}, "not disjoint"),
        ({1: [{0: ONE, -1: fmpq(-2)}]}, "not disjoint"),
        ({1: [{}]}, "not disjoint"),
        ({2: [pair]}, "not disjoint"),
        ({0: [pair]}, "not disjoint"),
    ]
    for groups, match in wrong:
        refused(network, certificate(network, twins=Twins(groups)), match)
    refused(network, certificate(network, twins=Twins({1: []})), "does not prove")


def test_the_question_must_be_the_one_asked() -> None:
    network, other = layered([[1.0, 0.0]], [0.0], [1.0]), layered([[1.0, 0.0]], [0.5], [1.0])
    made = certificate(network)
    refused(other, made, "another network")
    refused(network, made, "another domain", domain=Box(-1.0, 2.0))
    refused(network, made, "another domain", domain=WholeSpace())
    refused(network, made, r"other inputs \(wrt\)", wrt=[0])
    refused(network, made, "wrt names inputs", wrt=[2])
    refused(network, made, "wrt must list", wrt=3)
    assert (
        jensen.verify(made, network, domain=Box([-1.0, -1.0], [1.0, 1.0]), wrt=[1, 0]).domain is made.domain
    )
    with pytest.raises(DomainError, match="3 variables"):
        jensen.verify(made, network, domain=Box([0.0] * 3, [1.0] * 3))
    with pytest.raises(DomainError, match="no domain"):
        jensen.verify(made, network, domain="box")  # type: ignore[arg-type]
    for domain in (Box([0.0] * 3, [1.0] * 3), Polytope([[1.0]], [1.0])):
        refused(network, replace(made, domain=domain), "does not fit the network")
    for wrt in ((), (2,), (-1,), (0, 1, 2)):
        refused(network, replace(made, wrt=wrt), "wrt names inputs")
    assert jensen.verify(replace(made, wrt=(1, 0, 0)), network, wrt=None).verdict == "convex"


def test_verdict_and_proof_belong_together() -> None:
    witness = Violation((Fraction(-1),), (Fraction(1),), Fraction(1, 2))
    refused(MINUS, Certificate(MINUS.digest, CUBE, None, "convex", witness), "not one of the verdict")
    refused(MINUS, Certificate(MINUS.digest, CUBE, None, "not_convex", Proof()), "not one of the verdict")
    refused(MINUS, Certificate(MINUS.digest, CUBE, None, "maybe", Proof()), "not one")  # type: ignore[arg-type]


def test_witnesses() -> None:
    def made(x: float, y: float, t: Fraction, domain: Domain = CUBE) -> Certificate:
        points = Violation((Fraction(x),), (Fraction(y),), t)
        return Certificate(MINUS.digest, domain, None, "not_convex", points)

    half = Fraction(1, 2)
    assert jensen.verify(made(-1, 1, half), MINUS).verdict == "not_convex"
    tiny = Fraction(1, 10**400)
    assert jensen.verify(made(-1, 1, tiny), MINUS).verdict == "not_convex"
    for x, y, t, domain in (
        (-2, 1, half, CUBE),
        (-1, 1.0000000000000002, half, CUBE),
        (-1, 1, half, Polytope([[1.0]], [0.5])),
        (-1, 1, half, Box(0.0, 1.0)),
    ):
        refused(MINUS, made(x, y, t, domain), "outside the domain")
    for t in (Fraction(0), Fraction(1), Fraction(-1), Fraction(2)):
        refused(MINUS, made(-1, 1, t), "0 < t < 1")
    refused(MINUS, made(0, 1, half), "does not violate")
    refused(MINUS, made(-1, 0, half), "does not violate")
    wrong = Violation((Fraction(0),) * 2, (Fraction(1),) * 2, half)
    refused(MINUS, Certificate(MINUS.digest, CUBE, None, "not_convex", wrong), "coordinates")
    plane = layered([[1.0, 1.0]], [0.0], [-1.0])
    slanted = Violation((Fraction(-1), Fraction(0)), (Fraction(1), Fraction(1, 10)), half)
    assert jensen.verify(Certificate(plane.digest, CUBE, None, "not_convex", slanted), plane).wrt is None
    refused(plane, Certificate(plane.digest, CUBE, (0,), "not_convex", slanted), "held fixed")


def test_far_pieces_count() -> None:
    # The kink of -relu(x - 4) lies beyond the near piece of radius 1.
    network = layered([[1.0]], [-4.0], [-1.0])
    refused(network, certificate(network, WholeSpace(), cover=Cover(1.0)), "piece 2")
    refused(network, certificate(network, WholeSpace(), cover=Cover(8.0)), "piece 0")
    refused(network, certificate(network, Box(-float("inf"), 5.0), cover=Cover(1.0)), "piece 2")
    beyond: list[Neuron | Leaf] = [Multipliers(jump=False, z={1: q(3)}, rows=q(4))]
    made = certificate(network, Box(-float("inf"), 3.0), {((1, 0), 2): beyond}, cover=Cover(1.0))
    assert jensen.verify(made, network).leaves == 1
    # With x = 1 / c: 1 - 4 c = 0 on the kink, 1 - 3 c <= 0 in the domain; -3 and 4 times these add to 1 <= 0.
    for z, rows in ((q(3), q(3)), (q(4), q(4)), (q(-3), q(4)), (q(3), q(-4)), (q(3), [])):
        wrong: list[Neuron | Leaf] = [Multipliers(jump=False, z={1: z}, rows=rows)]
        refused(
            network, replace(made, proof=Proof(cover=Cover(1.0), trees={((1, 0), 2): wrong})), "not prove"
        )
