"""From floating-point answers to leaves of a certificate: every one is replayed exactly before it counts.

The multipliers that HiGHS returns are rounded to short rationals and handed to the checker of certificates.
What does not survive there is not closed, and the search goes on below it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from flint import fmpq
from numpy.typing import NDArray

from jensen.certify._bounds import SMALLEST, Intervals
from jensen.certify._exact_domain import ExactDomain, to_float
from jensen.certify._programme import Neuron, Programme
from jensen.certify._twins import JumpWeights
from jensen.network import Domain, FloatArray, ReLUNetwork
from jensen.verifier import (
    Cover,
    Everywhere,
    Ground,
    Kink,
    Layout,
    Leaf,
    Multipliers,
    Proof,
    RationalNetwork,
    Replay,
    Signs,
    Twins,
    node_to_json,
    sign_analysis,
    unsettled,
)

Node: TypeAlias = tuple[tuple[Neuron, int], ...]
"""Decisions ((layer, index), 0 or 1) on the way from the root."""

ROOT: Node = ()


class ProvedLeaf(NamedTuple):
    """A closed case.

    Attributes
    ----------
    node : Node
    text : str
        What closes it, in the certificate's own notation.
    bound : float
        The least jump that floating point saw for it; +inf where it is empty.
    """

    node: Node
    text: str
    bound: float


REMEMBERED = 256
"""Kinks whose bounds are kept for a task's next slice."""

BITS = (16, 40)
"""Significant bits of multipliers: short ones are tried first."""


class Proving:
    """The checker's view of one question, built once and shared by all searches.

    Parameters
    ----------
    network : ReLUNetwork
    domain : Domain
    wrt : tuple of int or None
    jumps : JumpWeights
    exact : ExactDomain
    """

    def __init__(
        self,
        network: ReLUNetwork,
        domain: Domain,
        wrt: tuple[int, ...] | None,
        jumps: JumpWeights,
        exact: ExactDomain,
    ) -> None:
        self.network, self.domain, self.wrt, self.exact = network, domain, wrt, exact
        self.twins = as_twins(jumps)
        self.replay = Replay(network, domain, wrt, Proof(hull=exact.hull))
        self._layout: Layout | None = None
        self._grounds: dict[int, Ground] = {}
        self._kinks: dict[tuple[Neuron, int], Kink] = {}

    @cached_property
    def signs(self) -> Signs:
        """What signs of weights settle."""
        return sign_analysis(self.network, self.domain, self.wrt, self.twins)

    def left(self, stop: Callable[[], bool]) -> list[Neuron] | None:
        """List the neurons that need a look at pieces of the domain; None if stopped before that is clear."""
        everywhere, left = Everywhere(self.net, self.signs, self.twins), []
        for neuron in unsettled(self.signs):
            if stop():
                return None
            if not everywhere.settles(neuron):
                left.append(neuron)
        return left

    @cached_property
    def net(self) -> RationalNetwork:
        """The weights as rational matrices."""
        return RationalNetwork(self.network)

    def ground(self, index: int, cover: Cover) -> Ground:
        """Bound all pre-activations exactly over a piece."""
        if index not in self._grounds:
            if self._layout is None:
                self._layout = Layout(self.net, self.domain, cover)
            self._grounds[index] = Ground(self.net, self._layout.piece(index), self.signs, self.twins)
        return self._grounds[index]

    def kink(self, neuron: Neuron, index: int, cover: Cover) -> Kink:
        """Bound all pre-activations exactly over one neuron's kink."""
        if (neuron, index) not in self._kinks:
            if len(self._kinks) >= REMEMBERED:
                self._kinks.clear()
            self._kinks[neuron, index] = self.ground(index, cover).kink(neuron)
        return self._kinks[neuron, index]


class Prover:
    """Confirms and collects the closed cases of one neuron's kink on one piece.

    Parameters
    ----------
    kink : Kink
    programme : Programme
        Built with the signs and intervals of `relaxed_kink`.
    replay : Replay
    record : callable, optional
        Called with every leaf as soon as it is accepted.

    Attributes
    ----------
    leaves : list of ProvedLeaf
    """

    def __init__(
        self,
        kink: Kink,
        programme: Programme,
        replay: Replay,
        record: Callable[[ProvedLeaf], None] | None = None,
    ) -> None:
        self.kink, self.programme, self.replay, self.record = kink, programme, replay, record
        self.leaves: list[ProvedLeaf] = []

    def accept(self, node: Node, leaf: Leaf, bound: float) -> bool:
        """Record a leaf if the checker lets it pass."""
        if not self.replay.closes(self.kink, dict(node), leaf):
            return False
        proved = ProvedLeaf(node, json.dumps(node_to_json(leaf), separators=(",", ":")), bound)
        self.leaves.append(proved)
        if self.record is not None:
            self.record(proved)
        return True

    def accept_multipliers(self, node: Node, duals: FloatArray, bound: float) -> bool:
        """Record a leaf that multipliers of the programme's rows close; with an infinite bound, as empty."""
        if not np.isfinite(duals).all():
            return False
        jump = bound < np.inf
        return any(self.accept(node, self._multipliers(duals, jump, bits), bound) for bits in BITS)

    def _multipliers(self, duals: FloatArray, jump: bool, bits: int) -> Multipliers:
        programme = self.programme
        layer, i = programme.neuron
        z: dict[int, FloatArray] = {}
        g: dict[int, FloatArray] = {}
        for rows, part in ((programme.row_of_z, z), (programme.row_of_g, g)):
            for (k, u), row in rows.items():
                if row is not None and duals[row]:
                    # A row z - W h = b with multiplier y takes y (z - W h - b) off the objective; the kink's
                    # own row is W h = -b.
                    own = 1.0 if (k, u) == (layer, i) else -1.0
                    part.setdefault(k, np.zeros(programme.network.widths[k - 1]))[u] = own * duals[row]
        cuts = np.array([0.0 if row is None else max(-duals[row], 0.0) for row in programme.row_of_cut])
        largest = max(
            (float(np.abs(v).max(initial=0.0)) for v in (*z.values(), *g.values(), cuts)), default=0.0
        )
        if not largest:
            return Multipliers(jump)
        exponent = bits - int(np.frexp(largest)[1])

        def rounded(values: FloatArray) -> list[fmpq]:
            return [_scaled(v, exponent) for v in np.rint(np.ldexp(values, exponent)).tolist()]

        return Multipliers(
            jump,
            {k: rounded(v) for k, v in z.items()},
            {k: rounded(v) for k, v in g.items()},
            rounded(cuts) if cuts.any() else [],
        )


def _scaled(value: float, exponent: int) -> fmpq:
    whole = int(value)
    return fmpq(whole, 1 << exponent) if exponent >= 0 else fmpq(whole << -exponent)


def relaxed_kink(kink: Kink) -> tuple[Intervals, list[NDArray[np.int8]]]:
    """Round the checker's bounds over a kink outwards, and read off the signs that it takes for known."""
    lows, highs, signs = [], [], []
    options = kink.options({})
    assert options is not None  # a kink that is seen to be empty needs no search
    for k, choices in enumerate(options, start=1):
        lo = np.array([_rounded(v, -np.inf) for v in kink.ranges.lo[k - 1]])
        hi = np.array([_rounded(v, np.inf) for v in kink.ranges.hi[k - 1]])
        linear = kink.net.network.layers[k - 1].negative_slope == 1
        both = np.array([len(c) != 1 for c in choices], dtype=bool)
        on = np.array([bool(c) and c[0].on for c in choices], dtype=bool)
        lo = np.where(both, np.minimum(lo, -SMALLEST), np.where(on, np.maximum(lo, 0.0), lo))
        hi = np.where(both, np.maximum(hi, SMALLEST), np.where(on, hi, np.minimum(hi, 0.0)))
        lows.append(lo)
        highs.append(hi)
        signs.append(np.where(linear, 1, np.where(both, 0, np.where(on, 1, -1))).astype(np.int8))
    return Intervals(lows, highs), signs


def least_jump(kink: Kink) -> float:
    """Bound a kink's jump from below by signs and bounds alone; +inf where nothing has these signs."""
    options = kink.options({})
    return np.inf if options is None else _rounded(kink.bound(options, Multipliers()), -np.inf)


def _rounded(value: fmpq, outward: float) -> float:
    nearest = to_float(value)
    if not np.isfinite(nearest):
        return nearest
    beyond = fmpq(*nearest.as_integer_ratio())
    inside = beyond > value if outward < 0 else beyond < value
    return float(np.nextafter(nearest, outward)) if inside else nearest


def as_twins(jumps: JumpWeights) -> Twins:
    """Write groups of twins as certificates do."""
    return Twins(
        {
            source: [{i: fmpq(f.numerator, f.denominator) for i, f in group} for group in groups]
            for source, groups in enumerate(jumps.groups, start=1)
            if groups
        }
    )
