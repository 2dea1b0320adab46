"""`verify`: replay a certificate in rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np

from jensen.errors import CertificateError, DomainError, NetworkError
from jensen.network import Domain, FloatArray, ReLUNetwork, as_network
from jensen.program import Program
from jensen.verifier._adjoints import Everywhere
from jensen.verifier._certificate import Certificate, Enclosed, Leaf, Proof, Rules, Tree, Violation
from jensen.verifier._facet import Frame, Pattern, Thin, facet_holds
from jensen.verifier._kink import Decisions, Ground, Kink, Multipliers
from jensen.verifier._pieces import Layout
from jensen.verifier._rational import Neuron, RationalNetwork
from jensen.verifier._signs import sign_analysis, unsettled
from jensen.verifier.enclosures import enclosures
from jensen.verifier.rules import replay_rules


@dataclass(frozen=True)
class Verification:
    """What a certificate was found to prove.

    Attributes
    ----------
    verdict : {"convex", "not_convex"}
    subject : ReLUNetwork or Program
        What the certificate is about.
    domain : Domain
    wrt : tuple of int or None
    neurons : int
        Hidden neurons in all.
    by_signs : int
        Neurons that signs of weights settle.
    trees, leaves : int
        Case trees replayed, and their leaves.
    arguments : tuple of int
        Inputs of a program in which it is convex; `domain` and `wrt` speak of their entries.
    """

    verdict: Literal["convex", "not_convex"]
    subject: ReLUNetwork | Program
    domain: Domain
    wrt: tuple[int, ...] | None
    neurons: int = 0
    by_signs: int = 0
    trees: int = 0
    leaves: int = 0
    arguments: tuple[int, ...] = ()

    @property
    def input_size(self) -> int:
        """Number of entries of the inputs that it speaks about."""
        if isinstance(self.subject, Program):
            return sum(self.subject.inputs[i].size for i in self.arguments)
        return self.subject.input_size

    @property
    def network(self) -> ReLUNetwork:
        """The network that the certificate is about.

        Raises
        ------
        NetworkError
            If it is about a program that is no ReLU network.
        """
        if isinstance(self.subject, Program):
            raise NetworkError("this certificate is about a program that is no ReLU network")
        return self.subject


def verify(
    certificate: Certificate | str | PathLike[str],
    model: Any,
    domain: Domain | None = None,
    wrt: Sequence[int] | None = None,
    *,
    output: int | None = None,
    input_shape: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Replay a certificate in exact rational arithmetic, sharing no code with the search that found it.

    Parameters
    ----------
    certificate : Certificate or path
    model : anything that `jensen.check` takes, or a `jensen.program.Program`
    domain : Domain, optional
        The domain that the certificate must speak about; by default any, and the result tells which.
    wrt : sequence of int, optional
        The inputs that it must speak about; likewise.
    output : int, optional
        Which output of a model with several.
    input_shape : sequence of int, optional
        Shape of one input without the batch dimension, where the model does not tell it.
    progress : callable, optional
        Called with the number of trees replayed and their number in all.

    Returns
    -------
    Verification

    Raises
    ------
    CertificateFileError
        If the certificate cannot be read.
    CertificateError
        If it is about another network, domain or choice of inputs, or does not prove its verdict.
    NetworkError, UnsupportedOperatorError, ModelFileError
        If the model cannot be read.
    DomainError
        If the domain asked for is none, or does not fit the model.
    """
    if domain is not None and not isinstance(domain, Domain):
        raise DomainError(f"a {type(domain).__name__} is no domain: pass a jensen.Box or jensen.Polytope")
    if not isinstance(certificate, Certificate):
        certificate = Certificate.load(certificate)
    if isinstance(certificate.proof, Rules | Enclosed):
        return _replay_program(certificate, certificate.proof, model, domain, wrt, output, input_shape)
    network = as_network(model, output=output, input_shape=input_shape).network
    if certificate.network != network.digest:
        raise CertificateError(
            f"the certificate is about another network: it names {certificate.network}, "
            f"the model's weights give {network.digest}"
        )
    d = network.input_size
    certified = _inputs(certificate.wrt, d)
    try:
        region = _described(certificate.domain, d)
    except DomainError as error:
        raise CertificateError(f"the certificate's domain does not fit the network: {error}") from error
    if domain is not None and not all(map(np.array_equal, _described(domain, d), region)):
        raise CertificateError("the certificate is about another domain than the one asked for")
    if wrt is not None and _inputs(wrt, d) != certified:
        raise CertificateError("the certificate is about other inputs (wrt) than those asked for")
    claim = certificate.verdict, network, certificate.domain, certificate.wrt
    if {"convex": Proof, "not_convex": Violation}.get(certificate.verdict) is not type(certificate.proof):
        raise CertificateError(f"the proof is not one of the verdict {certificate.verdict!r}")
    if isinstance(certificate.proof, Violation):
        _replay_violation(network, certificate.domain, certified, certificate.proof)
        return Verification(*claim, neurons=network.n_neurons)
    counts = _replay_proof(network, certificate.domain, certificate.wrt, certificate.proof, progress)
    return Verification(*claim, network.n_neurons, *counts)


def _inputs(wrt: Sequence[int] | None, d: int) -> frozenset[int]:
    try:
        chosen = frozenset(range(d) if wrt is None else wrt)
    except TypeError as error:
        raise CertificateError(f"wrt must list numbers of inputs, such as (0, 2); got {wrt!r:.80}") from error
    if not chosen or not chosen <= set(range(d)):
        raise CertificateError(f"wrt names inputs that the network, which has {d}, does not have, or none")
    return chosen


def _described(domain: Domain, d: int) -> list[FloatArray]:
    return [*domain.bounds(d), *domain.inequalities(d)]


def _replay_program(
    certificate: Certificate,
    rules: Rules | Enclosed,
    model: Any,
    domain: Domain | None,
    wrt: Sequence[int] | None,
    output: int | None,
    input_shape: Any,
) -> Verification:
    from jensen.program import read_program  # imports torch

    program = model if isinstance(model, Program) else read_program(model, input_shape)
    if certificate.network != program.digest:
        raise CertificateError(
            f"the certificate is about another program: it names {certificate.network}, "
            f"the model gives {program.digest}"
        )
    if certificate.verdict != ("convex" if isinstance(rules, Rules) else "not_convex"):
        raise CertificateError(f"the proof is not one of the verdict {certificate.verdict!r}")
    if output is not None and output != rules.output:
        raise CertificateError(f"the certificate is about output {rules.output}, not {output}")
    if not all(0 <= i < len(program.inputs) for i in rules.arguments):
        raise CertificateError("the certificate names an input that the program does not have")
    d = sum(program.inputs[i].size for i in rules.arguments)
    certified = _inputs(certificate.wrt, d)
    try:
        region = _described(certificate.domain, d)
    except DomainError as error:
        raise CertificateError(f"the certificate's domain does not fit the program: {error}") from error
    if domain is not None and not all(map(np.array_equal, _described(domain, d), region)):
        raise CertificateError("the certificate is about another domain than the one asked for")
    if wrt is not None and _inputs(wrt, d) != certified:
        raise CertificateError("the certificate is about other inputs (wrt) than those asked for")
    if isinstance(rules, Rules):
        replay_rules(program, certificate.domain, rules.arguments, certificate.wrt, rules.output)
    else:
        _replay_enclosures(program, certificate.domain, rules, certified)
    return Verification(
        certificate.verdict,
        program,
        certificate.domain,
        certificate.wrt,
        arguments=rules.arguments,
    )


def _replay_enclosures(program: Program, domain: Domain, proof: Enclosed, wrt: frozenset[int]) -> None:
    x, y, t = proof.points.x, proof.points.y, proof.points.t
    sizes = [leaf.size for leaf in program.inputs]
    if program.inputs != program.leaves or len(x) != sum(sizes) or len(y) != sum(sizes) or not 0 < t < 1:
        raise CertificateError(f"the witness needs two points of {sum(sizes)} coordinates and 0 < t < 1")
    if not proof.arguments or len(set(proof.arguments)) != len(proof.arguments):
        raise CertificateError("the certificate does not name inputs of the program")
    asked = [k for i in proof.arguments for k in range(sum(sizes[:i]), sum(sizes[: i + 1]))]
    if not all(domain.contains([point[k] for k in asked]) for point in (x, y)):
        raise CertificateError("a point of the witness lies outside the domain")
    if not {k for k in range(len(x)) if x[k] != y[k]} <= {asked[j] for j in wrt}:
        raise CertificateError("the witness moves an input that is held fixed")
    middle = [t * a + (1 - t) * b for a, b in zip(x, y, strict=True)]
    (low, _), (_, high_x), (_, high_y) = enclosures(program, [middle, x, y], proof.output)
    if not low > t * high_x + (1 - t) * high_y:
        raise CertificateError("the witness does not violate Jensen's inequality")


def _replay_violation(network: ReLUNetwork, domain: Domain, wrt: frozenset[int], points: Violation) -> None:
    x, y, t = points.x, points.y, points.t
    d = network.input_size
    if len(x) != d or len(y) != d or not 0 < t < 1:
        raise CertificateError(f"the witness needs two points of {d} coordinates and 0 < t < 1")
    if not (domain.contains(x) and domain.contains(y)):
        raise CertificateError("a point of the witness lies outside the domain")
    if any(x[j] != y[j] for j in range(d) if j not in wrt):
        raise CertificateError("the witness moves an input that is held fixed")
    middle = [t * a + (1 - t) * b for a, b in zip(x, y, strict=True)]
    fx, fy, fm = network.exact.evaluate([x, y, middle])
    if not fm > t * fx + (1 - t) * fy:
        raise CertificateError("the witness does not violate Jensen's inequality")


def _replay_proof(
    network: ReLUNetwork,
    domain: Domain,
    wrt: tuple[int, ...] | None,
    proof: Proof,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, int]:
    """Replay a proof of convexity; return how many neurons signs settle, trees and leaves."""
    _check_names(network, proof)
    proof.twins.check(network)
    signs = sign_analysis(network, domain, wrt, proof.twins)
    if all(settled.all() for settled in signs.settled):
        return network.n_neurons, 0, 0
    net = RationalNetwork(network)
    everywhere = Everywhere(net, signs, proof.twins)
    left = [neuron for neuron in unsettled(signs) if not everywhere.settles(neuron)]
    settled, leaves, done = network.n_neurons - len(left), 0, 0
    if not left:
        return settled, 0, 0
    replay = Replay(network, domain, wrt, proof)
    layout = Layout(net, domain, proof.cover)
    for index in layout.indices:
        ground = Ground(net, layout.piece(index), signs, proof.twins)
        for neuron in left:
            tree = proof.trees.get((neuron, index))
            if tree is None:
                if not ground.at_once(neuron):  # then bounds over the kink must do
                    replay.tree(ground.kink(neuron), [Multipliers()], f"piece {index}")
                continue
            leaves += replay.tree(ground.kink(neuron), tree, f"piece {index}")
            done += 1
            if progress is not None:
                progress(done, len(proof.trees))
    return settled, done, leaves


def _check_names(network: ReLUNetwork, proof: Proof) -> None:
    """Refuse indices that the network does not have, so that nothing later trips over them."""
    widths = network.widths
    named = [v for v, _ in proof.trees]
    for nodes in proof.trees.values():
        for node in nodes:
            if isinstance(node, tuple):
                named.append(node)
            elif isinstance(node, Multipliers):
                for part in (node.z, node.g):
                    if any(not 1 <= k <= len(widths) or len(row) != widths[k - 1] for k, row in part.items()):
                        raise CertificateError("a leaf's multipliers do not fit the network's layers")
            elif isinstance(node, Thin):
                named += node.signs
    if any(not (1 <= k <= len(widths) and 0 <= i < widths[k - 1]) for k, i in named):
        raise CertificateError("the certificate names a neuron that the network does not have")


class Replay:
    """Replays case trees; the domain's exact frame is built when a leaf first asks for it."""

    def __init__(
        self, network: ReLUNetwork, domain: Domain, wrt: tuple[int, ...] | None, proof: Proof
    ) -> None:
        self.network, self.domain, self.wrt, self.hull = network, domain, wrt, proof.hull
        self._frame: Frame | None = None

    @property
    def frame(self) -> Frame:
        """The domain as exact rows."""
        if self._frame is None:
            self._frame = Frame(self.domain, self.network.input_size, self.wrt, self.hull)
        return self._frame

    def tree(self, kink: Kink, nodes: Tree, where: str) -> int:
        """Confirm that a tree covers all sign cases of a kink and that each leaf closes its case.

        Returns
        -------
        int
            The number of leaves.

        Raises
        ------
        CertificateError
            If a case is missing, or a leaf proves nothing.
        """
        name = f"the tree of neuron {kink.neuron} on {where}"
        decisions: dict[Neuron, int] = {}
        pending: list[tuple[int, dict[Neuron, int]]] = [(0, {})]  # (decisions to keep, the one to add)
        leaves = 0
        for node in nodes:
            if not pending:
                raise CertificateError(f"{name} goes on after its last case")
            depth, step = pending.pop()
            while len(decisions) > depth:
                decisions.popitem()
            decisions |= step
            if isinstance(node, tuple):
                if node == kink.neuron or node in decisions:
                    raise CertificateError(f"{name} splits twice on one neuron, or on its own")
                pending += [(len(decisions), {node: side}) for side in (1, 0)]
                continue
            leaves += 1
            if not self.closes(kink, decisions, node):
                raise CertificateError(f"leaf {leaves} of {name} does not prove its case")
        if pending:
            raise CertificateError(f"{name} leaves {len(pending)} cases open")
        return leaves

    def closes(self, kink: Kink, decisions: Decisions, leaf: Leaf) -> bool:
        """Whether a leaf proves its case."""
        if isinstance(leaf, Multipliers):
            if leaf.rows and (len(leaf.rows) != len(kink.piece.right) or any(m < 0 for m in leaf.rows)):
                return False
            return kink.closes(decisions, leaf)
        options = kink.options(decisions)
        if options is None or kink.ranges.empty:
            return True
        pattern: Pattern = [
            [
                True if a == 1 or (k, i) == kink.neuron else choices[0].on if len(choices) == 1 else None
                for i, (choices, a) in enumerate(zip(layer, kink.net.slopes[k - 1], strict=True))
            ]
            for k, layer in enumerate(options, start=1)
        ]
        return facet_holds(self.network, self.frame, kink.neuron, pattern, leaf)
