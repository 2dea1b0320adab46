"""Groups of neurons in one layer whose rows are exactly proportional, so that they switch together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from flint import fmpq
from scipy import sparse

from jensen.errors import CertificateError
from jensen.network import Matrix, ReLUNetwork
from jensen.verifier._rational import rationals


@dataclass(frozen=True)
class Twins:
    """Groups by layer: {leader or member: factor}, a member's row being factor times the leader's.

    The leader comes first, with factor 1. Across the group's common hyperplane the slope changes by
    sum_v |factor_v| (1 - a_v) g_v per unit of the leader's pre-activation.
    """

    groups: dict[int, list[dict[int, fmpq]]] = field(default_factory=dict)

    def check(self, network: ReLUNetwork) -> None:
        """Confirm that the groups are disjoint and their rows proportional.

        Raises
        ------
        CertificateError
        """
        for source, groups in self.groups.items():
            members = [i for group in groups for i in group]
            own = range(network.widths[source - 1] if 1 <= source <= network.depth else 0)
            if not all(groups) or len(set(members)) < len(members) or not set(members) <= set(own):
                raise CertificateError(f"the twins of layer {source} are not disjoint groups of its neurons")
            for group in groups:
                leader, *others = group
                if group[leader] != 1:
                    raise CertificateError(f"neuron {leader} of layer {source} is no unit for its twins")
                first = _row(network, source, leader)
                for i in others:
                    factor = group[i]
                    if not factor or _row(network, source, i) != {j: factor * v for j, v in first.items()}:
                        raise CertificateError(f"neurons {leader} and {i} of layer {source} are no twins")

    def group(self, source: int, neuron: int) -> dict[int, fmpq]:
        """Return the group that a neuron leads: itself alone, where it has no twins."""
        return next((g for g in self.groups.get(source, []) if next(iter(g)) == neuron), {neuron: fmpq(1)})

    def columns(self, network: ReLUNetwork, source: int, neuron: int) -> dict[int, dict[int, fmpq]]:
        """Outgoing weights of a neuron's jump, twins merged: {target (L + 1: output): {row: weight}}."""
        group = self.group(source, neuron)
        slopes = network.layers[source - 1].negative_slope
        result: dict[int, dict[int, fmpq]] = {}
        for target in network.readers[source]:
            total: dict[int, fmpq] = defaultdict(fmpq)
            for i, factor in group.items():
                share = abs(factor) * (1 - rationals([slopes[i]])[0])
                for u, v in _column(network.weight(target, source), i).items():
                    total[u] += share * v
            result[target] = {u: v for u, v in total.items() if v}
        return result


def _column(w: Matrix, i: int) -> dict[int, fmpq]:
    column = w[:, [i]].toarray()[:, 0] if sparse.issparse(w) else w[:, i]
    support = np.flatnonzero(column)
    return dict(zip(support.tolist(), rationals(column[support]), strict=True))


def _row(network: ReLUNetwork, layer: int, i: int) -> dict[tuple[int, int], fmpq]:
    """Return a neuron's incoming weights by (source, column), and its bias under (-1, 0)."""
    row: dict[tuple[int, int], fmpq] = {}
    for k, w in network.layers[layer - 1].weights.items():
        dense = w[[i]].toarray()[0] if sparse.issparse(w) else w[i]
        support = np.flatnonzero(dense)
        row |= {(k, j): v for j, v in zip(support.tolist(), rationals(dense[support]), strict=True)}
    bias = rationals([network.layers[layer - 1].bias[i]])[0]
    return row | ({(-1, 0): bias} if bias else {})
