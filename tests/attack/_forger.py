"""Forged proofs: a search that splits and closes with whatever the checker lets pass, true or not.

The checker itself is the forger's oracle. For a network that is not convex some neuron's tree must stay open,
however the proof's other parts (twins, cover, hull) are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from flint import fmpq
from oracle import read_network
from oracle._oracle import _facet_point, _facets
from oracle._regions import regions
from oracle._weights import read_domain

from jensen.certify._exact_domain import ExactDomain
from jensen.certify._pieces import pieces
from jensen.certify._prover import as_twins
from jensen.certify._twins import JumpWeights
from jensen.network import Domain, ReLUNetwork, WholeSpace
from jensen.verifier import (
    Bends,
    Certificate,
    Cover,
    Ground,
    Hull,
    Kink,
    Layout,
    Leaf,
    Multipliers,
    Neuron,
    Proof,
    RationalNetwork,
    Replay,
    Thin,
    Twins,
    Uncrossed,
    sign_analysis,
)

Vector = list[fmpq]
FEW = [fmpq(0), fmpq(0), fmpq(1), fmpq(-1), fmpq(1, 2), fmpq(2)]
"""What forged multipliers are drawn from."""


@dataclass(frozen=True)
class Frontiers:
    """What the brute-force oracle knows of a network's frontiers.

    Attributes
    ----------
    points : list of points: one inside each frontier whose slope grows, one on each region's rim
    guilty : list of sets of neurons: those that switch on a frontier whose slope falls
    """

    points: list[Vector]
    guilty: list[frozenset[Neuron]]


def frontiers(network: ReLUNetwork, domain: Domain | None, wrt: Sequence[int] | None) -> Frontiers:
    """List frontiers by brute force."""
    weights = read_network(network)
    hull = read_domain(domain, weights.inputs)
    moving = hull.moving(wrt)
    found, _ = regions(weights, hull)
    neurons = [(k, i) for k, n in enumerate(network.widths, 1) for i in range(n)]
    points: list[Vector] = []
    guilty: list[frozenset[Neuron]] = []
    for above, below, jump in _facets(found, hull.size):
        slopes = (sum(c * v for c, v in zip(jump[1:], step, strict=True)) for step in moving)
        if any(slopes) and not above.polyhedron.exceeds_zero(jump):
            signs = zip(neurons, above.pattern, below.pattern, strict=True)
            guilty.append(frozenset(v for v, a, b in signs if a * b < 0))
        else:
            inside = hull.point(_facet_point(above, below, jump, hull.size))
            points.append([fmpq(v.numerator, v.denominator) for v in inside])
    rims = [hull.point(region.polyhedron.point()) for region in found]
    points += [[fmpq(v.numerator, v.denominator) for v in rim] for rim in rims]
    return Frontiers(points, guilty)


class Forger:
    """Tries to prove a network convex that is not.

    Parameters
    ----------
    rng : Random
    network, domain, wrt : the question
    known : Frontiers
    """

    def __init__(
        self,
        rng: Random,
        network: ReLUNetwork,
        domain: Domain | None,
        wrt: tuple[int, ...] | None,
        known: Frontiers,
    ) -> None:
        self.rng, self.network, self.wrt, self.known = rng, network, wrt, known
        self.domain = domain or WholeSpace()
        self.net = RationalNetwork(network)

    def proof(self) -> Proof:
        """Draw everything of a proof but its trees: each part as it should be, or forged."""
        honest = [self.rng.random() < 0.5 for _ in range(3)]
        return Proof(
            as_twins(JumpWeights(self.network)) if honest[0] else self._twins(),
            pieces(self.network, self.domain)[1] if honest[1] else self._cover(),
            ExactDomain(self.domain, self.network.input_size).hull if honest[2] else self._hull(),
        )

    def attempt(self, proof: Proof, neurons: Sequence[Neuron], effort: int) -> Certificate | None:
        """Prove that these neurons have no negative jump; None if some tree stays open.

        Raises
        ------
        CertificateError
            If the proof's other parts are refused.
        """
        proof.twins.check(self.network)
        signs = sign_analysis(self.network, self.domain, self.wrt, proof.twins)
        replay = Replay(self.network, self.domain, self.wrt, proof)
        layout = Layout(self.net, self.domain, proof.cover)
        trees = {}
        for index in layout.indices:
            ground = Ground(self.net, layout.piece(index), signs, proof.twins)
            for neuron in neurons:
                if signs.settled[neuron[0] - 1][neuron[1]] or ground.at_once(neuron):
                    continue
                tree = self._tree(replay, ground.kink(neuron), effort)
                if tree is None:
                    return None
                trees[neuron, index] = tree
        whole = Proof(proof.twins, proof.cover, proof.hull, trees)
        return Certificate(self.network.digest, self.domain, self.wrt, "convex", whole)

    def _tree(self, replay: Replay, kink: Kink, effort: int) -> list[Neuron | Leaf] | None:
        """Split on neurons in a random order until every case is closed; None if one cannot be."""
        others = [(k, i) for k, n in enumerate(self.network.widths, 1) for i in range(n)]
        others.remove(kink.neuron)
        self.rng.shuffle(others)
        nodes: list[Neuron | Leaf] = []
        pending: list[dict[Neuron, int]] = [{}]
        while pending:
            decisions = pending.pop()
            full = len(decisions) == len(others)
            leaf = self._leaf(replay, kink, decisions, effort if full else effort // 4 + 1)
            if leaf is not None:
                nodes.append(leaf)
            elif full:
                return None
            else:
                neuron = others[len(decisions)]
                nodes.append(neuron)
                pending += [{**decisions, neuron: 1}, {**decisions, neuron: 0}]
        return nodes

    def blind(self, proof: Proof, neurons: Sequence[Neuron]) -> Certificate:
        """Draw trees for some neurons on every piece without asking the checker."""
        layout = Layout(self.net, self.domain, proof.cover)
        piece = layout.piece(layout.indices[0])
        trees: dict[tuple[Neuron, int], list[Neuron | Leaf]] = {}
        for neuron in neurons:
            for index in layout.indices:
                others = [(k, i) for k, n in enumerate(self.network.widths, 1) for i in range(n)]
                nodes: list[Neuron | Leaf] = []
                pending = 1
                while pending:
                    split = self.rng.random() < 0.3 and len(nodes) < 20
                    leaf = self.rng.choice(list(self._leaves(len(piece.right), 4)))
                    nodes.append(self.rng.choice(others) if split else leaf)
                    pending += 1 if split else -1
                trees[neuron, index] = nodes
        whole = Proof(proof.twins, proof.cover, proof.hull, trees)
        return Certificate(self.network.digest, self.domain, self.wrt, "convex", whole)

    def _leaf(self, replay: Replay, kink: Kink, decisions: dict[Neuron, int], effort: int) -> Leaf | None:
        return next(
            (
                leaf
                for leaf in self._leaves(len(kink.piece.right), effort)
                if replay.closes(kink, decisions, leaf)
            ),
            None,
        )

    def _leaves(self, cuts: int, effort: int) -> Iterator[Leaf]:
        """Leaves of every kind: the cheapest claims, then drawn ones."""
        rows = list(range(max(2 * self.network.input_size, cuts)))
        yield from (Multipliers(), Multipliers(jump=False), Uncrossed(), Thin())
        yield from (Thin(rows={k: fmpq(1)}) for k in rows)
        everyone = [(k, i) for k, n in enumerate(self.network.widths, 1) for i in range(n)]
        yield from (Thin({u: fmpq(1)}) for u in everyone)
        for _ in range(effort):
            kind = self.rng.randrange(3)
            if kind == 0:
                yield Thin(
                    {u: self._mostly_positive() for u in everyone if self.rng.random() < 0.4},
                    {k: self._mostly_positive() for k in rows if self.rng.random() < 0.3},
                )
            elif kind == 1:
                yield Bends(self._point(), [self._few() for _ in range(self.network.input_size)])
            else:
                yield self._multipliers(cuts)

    def _multipliers(self, rows: int) -> Multipliers:
        def drawn() -> dict[int, Vector]:
            layers = [k for k in range(1, self.network.depth + 1) if self.rng.random() < 0.6]
            return {k: [self._few() for _ in range(self.network.widths[k - 1])] for k in layers}

        mu = [self._mostly_positive() for _ in range(rows)] if self.rng.random() < 0.5 else []
        return Multipliers(self.rng.random() < 0.7, drawn(), drawn(), mu)

    def _few(self) -> fmpq:
        return self.rng.choice(FEW)

    def _mostly_positive(self) -> fmpq:
        value = self._few()
        return value if self.rng.random() < 0.2 else abs(value)

    def _point(self) -> Vector:
        """A point inside a frontier, or anywhere."""
        if self.known.points and self.rng.random() < 0.8:
            return list(self.rng.choice(self.known.points))
        return [fmpq(self.rng.randint(-6, 6), 2) for _ in range(self.network.input_size)]

    def _twins(self) -> Twins:
        """No twins, the true ones, or neurons that are none."""
        groups: dict[int, list[dict[int, fmpq]]] = {}
        for layer, n in enumerate(self.network.widths, 1):
            order = self.rng.sample(range(n), n)
            if n > 1 and self.rng.random() < 0.4:
                size = self.rng.randint(1, n)
                factors = [fmpq(1), *(self.rng.choice([fmpq(1), fmpq(-1), fmpq(2)]) for _ in order[1:size])]
                groups[layer] = [dict(zip(order[:size], factors, strict=True))]
        return Twins(groups)

    def _cover(self) -> Cover:
        radius = self.rng.choice([1.0, 1.0, 0.5, 8.0, 2.0**-1074, 2.0**1000])
        d, (_, b) = self.network.input_size, self.domain.inequalities(self.network.input_size)
        implied = []
        for j, sign, bound, rows in pieces(self.network, self.domain)[1].implied:
            if self.rng.random() < 0.5:
                by = [(k, self._few() if self.rng.random() < 0.1 else m) for k, m in rows]
                implied.append((j, sign, bound - self.rng.choice([0.0, 0.5, 1.0]), by))
        for _ in range(self.rng.choice([0, 0, 1, 3]) if len(b) else 0):
            by = [(k, self._few()) for k in range(len(b)) if self.rng.random() < 0.3]
            bound = self.rng.choice([-1.0, 0.0, 1.0, 5.0])
            implied.append((self.rng.randrange(d), self.rng.choice([1, -1]), bound, by))
        return Cover(radius, self.rng.random() < 0.2, tuple(implied))

    def _hull(self) -> Hull | None:
        """True or drawn multipliers, with a point anywhere."""
        honest = ExactDomain(self.domain, self.network.input_size).hull
        if honest is None:
            return None
        taken = honest.multipliers
        if self.rng.random() < 0.3:
            taken = {k: self._few() for k in range(len(self.domain.inequalities(len(honest.interior))[1]))}
            taken = {k: m for k, m in taken.items() if m}
        shift = [self.rng.choice([fmpq(0), fmpq(1), fmpq(-1, 4)]) for _ in honest.interior]
        return Hull(taken, [a + b for a, b in zip(honest.interior, shift, strict=True)])
