"""Certificates out of what a check has established."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from jensen.certify._programme import Neuron
from jensen.certify._prover import ProvedLeaf
from jensen.certify._verdict import Witness
from jensen.network import Domain, ReLUNetwork
from jensen.verifier import Certificate, Cover, Hull, Leaf, Proof, Twins, Violation, node_from_json


def violation_certificate(
    network: ReLUNetwork, domain: Domain, wrt: tuple[int, ...] | None, witness: Witness
) -> Certificate:
    """Certify that a network is not convex."""
    points = Violation(witness.x, witness.y, witness.t)
    return Certificate(network.digest, domain, wrt, "not_convex", points)


def convexity_certificate(
    network: ReLUNetwork,
    domain: Domain,
    wrt: tuple[int, ...] | None,
    twins: Twins,
    cover: Cover,
    hull: Hull | None,
    leaves: Mapping[tuple[Neuron, int], Sequence[ProvedLeaf]],
) -> Certificate:
    """Certify that a network is convex.

    Parameters
    ----------
    leaves : mapping of (neuron, piece) to the closed cases of the neuron's kink there
        What is left out is settled by signs and bounds alone.
    """
    trees = {key: case_tree(closed) for key, closed in leaves.items()}
    return Certificate(network.digest, domain, wrt, "convex", Proof(twins, cover, hull, trees))


def case_tree(leaves: Sequence[ProvedLeaf]) -> list[Neuron | Leaf]:
    """Order closed cases, each with the decisions that lead to it, as one tree in preorder.

    Parameters
    ----------
    leaves : sequence of ProvedLeaf
        Together they cover every sign of every neuron that is decided on the way.
    """
    tree: list[Neuron | Leaf] = []
    pending = [(0, list(leaves))]
    while pending:
        depth, group = pending.pop()
        if len(group) == 1 and len(group[0].node) == depth:
            tree.append(node_from_json(json.loads(group[0].text)))
            continue
        neuron = group[0].node[depth][0]
        sides: tuple[list[ProvedLeaf], list[ProvedLeaf]] = [], []
        for leaf in group:
            if leaf.node[depth][0] != neuron:
                raise AssertionError("cases that share their first decisions go on with the same neuron")
            sides[leaf.node[depth][1]].append(leaf)
        tree.append(neuron)
        pending += [(depth + 1, sides[1]), (depth + 1, sides[0])]
    return tree
