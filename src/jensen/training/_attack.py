"""Counterexamples in bulk: neurons and patterns whose jump is negative."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from jensen.certify._bounds import interval_bounds
from jensen.certify._descend import Descent
from jensen.certify._exact_domain import ExactDomain
from jensen.certify._lines import Lines
from jensen.certify._rules import jump_lower_bounds
from jensen.certify._twins import JumpWeights
from jensen.certify._verdict import Witness
from jensen.network import Domain, FloatArray, ReLUNetwork, WholeSpace
from jensen.training._cases import Cases
from jensen.training._chords import DECADES

ENTRIES = 1 << 26
"""Rows of a batch times entries of sparse weights, at most: what makes a descent on convolutions slow."""


class Attack:
    """Descends the jumps of neurons along their kinks, from random starts; floats throughout.

    Parameters
    ----------
    domain : Domain or None
    d : int
    seed : int
    """

    def __init__(self, domain: Domain | None, d: int, seed: int) -> None:
        where = WholeSpace() if domain is None else domain
        self._lines = Lines(where, ExactDomain(where, d), seed)
        self._lines.decades = DECADES

    def __call__(self, network: ReLUNetwork, starts: int = 4, steps: int = 20, most: int = 1024) -> Cases:
        """Look for negative jumps.

        Parameters
        ----------
        network : ReLUNetwork
        starts : int
            Starts per neuron that bounds do not settle.
        steps : int
            Of each descent.
        most : int
            Starts in all; fewer for networks with large sparse weights.

        Returns
        -------
        Cases
            Each neuron and pattern once, worst jumps first.
        """
        lines = self._lines
        jumps = JumpWeights(network, merge=False)
        lower = jump_lower_bounds(network, interval_bounds(network, lines.lo, lines.hi), jumps)
        targets = np.array([(k + 1, i) for k, low in enumerate(lower) for i in np.flatnonzero(low < 0)])
        if not len(targets):
            return Cases.none(network.widths)
        rows = min(most, starts * len(targets), max(ENTRIES // max(_sparse_entries(network), 1), 16))
        chosen = targets[lines.rng.permutation(len(targets))][np.arange(rows) % len(targets)]
        points, _, begin, end = lines.sample(rows)
        points, span = np.resize(points, (rows, lines.d)), np.resize(end - begin, rows)
        descent = Descent(network, jumps, chosen[:, 0], chosen[:, 1], lines.lo, lines.hi, lines.mask)
        found = descent.run(np.clip(points, lines.lo, lines.hi), steps, 0.25 * span)
        real = (found.jump < 0) & found.direction.any(axis=1)
        if len(lines.b):  # descents keep to the bounds only
            real &= (found.point @ lines.A.T <= lines.b).all(axis=1)
        order = np.flatnonzero(real)[np.argsort(found.jump[real], kind="stable")]
        cases = Cases.at(network, chosen[order, 0], chosen[order, 1], found.point[order])
        return cases[cases.jumps(network) < 0].distinct()


def _sparse_entries(network: ReLUNetwork) -> int:
    weights = (w for layer in network.layers for w in layer.weights.values())
    return sum(w.nnz for w in weights if sparse.issparse(w))


def from_witness(network: ReLUNetwork, witness: Witness) -> Cases:
    """Neurons that switch at a witness's middle and bend the function down there; none if floats see none."""
    ends = np.array([[float(v) for v in p] for p in (witness.x, witness.y, witness.middle)])
    z = network.preactivations(ends)
    switching = {
        (position, int(i))
        for position, v in enumerate(z, start=1)
        for i in np.flatnonzero((v[0] > 0) != (v[1] > 0))
    }
    pairs = sorted(switching)
    layers, indices = np.array([p for p, _ in pairs], int), np.array([i for _, i in pairs], int)
    cases = Cases.at(network, layers, indices, np.repeat(ends[2:], len(pairs), axis=0))
    return cases[cases.jumps(network) < 0].distinct()


def features(network: ReLUNetwork, x: FloatArray) -> dict[int, FloatArray]:
    """Values of the sources that the output reads, as (batch, n_k) arrays."""
    z = network.preactivations(x)
    values = [x, *(s * v for s, v in zip(network.slopes(z), z, strict=True))]
    return {k: values[k] for k in network.output_weights}
