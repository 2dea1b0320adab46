"""The independent checker of certificates: knows the model's weights and nothing of the search."""

from jensen.verifier._adjoints import Everywhere
from jensen.verifier._certificate import Certificate, Enclosed, Leaf, Proof, Rules, Tree, Violation
from jensen.verifier._facet import Bends, Hull, Thin, Uncrossed
from jensen.verifier._format import domain_to_json, node_from_json, node_to_json
from jensen.verifier._kink import Ground, Kink, Multipliers
from jensen.verifier._pieces import Cover, Implied, Layout
from jensen.verifier._rational import Neuron, RationalNetwork
from jensen.verifier._signs import Signs, sign_analysis, unsettled
from jensen.verifier._twins import Twins
from jensen.verifier._verify import Replay, Verification, verify
from jensen.verifier.enclosures import enclosure
from jensen.verifier.rules import replay_rules

__all__ = [
    "Bends",
    "Certificate",
    "Cover",
    "Enclosed",
    "Everywhere",
    "Ground",
    "Hull",
    "Implied",
    "Kink",
    "Layout",
    "Leaf",
    "Multipliers",
    "Neuron",
    "Proof",
    "RationalNetwork",
    "Replay",
    "Rules",
    "Signs",
    "Thin",
    "Tree",
    "Twins",
    "Uncrossed",
    "Verification",
    "Violation",
    "domain_to_json",
    "enclosure",
    "node_from_json",
    "node_to_json",
    "replay_rules",
    "sign_analysis",
    "unsettled",
    "verify",
]
