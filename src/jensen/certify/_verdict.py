"""Verdicts are data: what was decided, on which domain, by which stage, and what proves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from typing import Any, Literal, TypeAlias

from jensen.errors import CertificateError, NetworkError
from jensen.network import Domain, ReLUNetwork
from jensen.program import Program
from jensen.verifier import Certificate

Kind: TypeAlias = Literal["convex", "convex_float", "convex_rules", "not_convex", "unknown"]
Point: TypeAlias = tuple[Fraction, ...]


@dataclass(frozen=True)
class Witness:
    """Three points that violate Jensen's inequality, in exact rational arithmetic.

    ``f(t x + (1 - t) y) > t f(x) + (1 - t) f(y)``. The constructor evaluates the network exactly and
    refuses points that violate nothing, so that a witness that exists is a proof.

    Attributes
    ----------
    x, y : tuple of Fraction
        The end points; of a program, the entries of all its inputs, one after the other.
    t : Fraction
        Weight of x, strictly between 0 and 1.
    fx, fy, fm : Fraction
        Exact values at x, at y and at the middle point t x + (1 - t) y. Of a program that is no ReLU network:
        upper bounds at x and y and a lower bound at the middle, from enclosures.
    neurons : tuple of (layer, index)
        The neurons that switch between x and y; layers count from 1, neurons from 0.
    """

    x: Point
    y: Point
    t: Fraction
    fx: Fraction
    fy: Fraction
    fm: Fraction
    neurons: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.t < 1:
            raise ValueError("a witness needs 0 < t < 1")
        if not self.violation > 0:
            raise ValueError("these points do not violate Jensen's inequality")

    @property
    def middle(self) -> Point:
        """The point t x + (1 - t) y."""
        return tuple(self.t * a + (1 - self.t) * b for a, b in zip(self.x, self.y, strict=True))

    @property
    def violation(self) -> Fraction:
        """By how much f at the middle exceeds the chord, exactly."""
        return self.fm - (self.t * self.fx + (1 - self.t) * self.fy)

    @classmethod
    def evaluate(
        cls,
        network: ReLUNetwork,
        x: Sequence[Fraction | int],
        y: Sequence[Fraction | int],
        t: Fraction = Fraction(1, 2),
        neurons: tuple[tuple[int, int], ...] = (),
    ) -> Witness:
        """Evaluate the network exactly at three points and build the witness.

        Raises
        ------
        ValueError
            If the points do not violate Jensen's inequality.
        """
        px, py = tuple(Fraction(v) for v in x), tuple(Fraction(v) for v in y)
        middle = [t * a + (1 - t) * b for a, b in zip(px, py, strict=True)]
        fx, fy, fm = network.exact.evaluate([px, py, middle])
        return cls(px, py, t, fx, fy, fm, neurons)


@dataclass(frozen=True)
class NeuronReport:
    """What was established about one hidden neuron.

    Jumps are in units of slope change per unit of the neuron's pre-activation: g_v times
    (1 - negative slope). A neuron that never switches has lower_bound = +inf.

    Attributes
    ----------
    layer, index : int
        Layers count from 1, neurons from 0.
    status : {"proved", "violated", "open"}
    stage : str
        The stage that settled it; empty while open.
    lower_bound : float
        No frontier of this neuron on the domain has a smaller jump (-inf if nothing is known).
    worst_jump : float or None
        Smallest jump seen at an actual frontier, if one was looked at.
    """

    layer: int
    index: int
    status: Literal["proved", "violated", "open"]
    stage: str = ""
    lower_bound: float = float("-inf")
    worst_jump: float | None = None


@dataclass(frozen=True)
class StageReport:
    """What one stage of the check did: neurons it settled, neurons it left, seconds, and details."""

    name: str
    seconds: float
    settled: int
    left: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The answer of `jensen.check`.

    Attributes
    ----------
    kind : {"convex", "convex_float", "convex_rules", "not_convex", "unknown"}
        "convex" and "not_convex" come with a certificate. "convex_float" was proved in floating point with
        rounding errors bounded, and nothing was written down that could be replayed. "convex_rules" was
        proved by rules on signs and curvature that the verifier does not know or that a user registered.
    subject : ReLUNetwork or Program
        What the verdict is about: a network (weights are float64 and taken as exact), or a traced program
        that is no ReLU network, judged as the real function that its operators stand for.
    domain : Domain
        Of the network's inputs, or of the entries of the program's `arguments`, one after the other.
    wrt : tuple of int or None
        Which of these move; None means all.
    witness : Witness or None
        Present iff the kind is "not_convex".
    margin : float
        The smallest jump found (not convex) or the smallest lower bound proved (convex); +inf where no
        neuron switches. See `NeuronReport` for the units. NaN for a program, which has no neurons.
    neurons : tuple of NeuronReport
    stages : tuple of StageReport
    reason : str
        For "unknown": why (time limit, interrupted, where the rules break). For "convex_rules": why there is
        no certificate.
    lowering_error : float or None
        Largest deviation, on samples, of the lowered network from the model it came from, where lowering
        rounds; 0.0 where the lowering is exact; None if the model was a ReLUNetwork already.
    certificate : Certificate or None
        What `jensen.verify` replays; present iff the kind is "convex" or "not_convex".
    arguments : tuple of int
        The program's inputs in which convexity was asked, for every value of the others.
    """

    kind: Kind
    subject: ReLUNetwork | Program
    domain: Domain
    wrt: tuple[int, ...] | None
    witness: Witness | None
    margin: float
    neurons: tuple[NeuronReport, ...]
    stages: tuple[StageReport, ...]
    reason: str = ""
    lowering_error: float | None = None
    certificate: Certificate | None = None
    arguments: tuple[int, ...] = ()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate, for `jensen.verify` or `jensen verify` to replay.

        Raises
        ------
        CertificateError
            If there is none: the kind is "unknown", "convex_float" or "convex_rules".
        CertificateFileError
            If the file cannot be written.
        """
        if self.certificate is None:
            raise CertificateError(
                f'a verdict of kind "{self.kind}" has no certificate'
                + ("; check again with exact=True" if self.kind == "convex_float" else "")
            )
        self.certificate.save(path)

    @property
    def network(self) -> ReLUNetwork:
        """The network that the verdict is about.

        Raises
        ------
        NetworkError
            If it is about a program that is no ReLU network.
        """
        if isinstance(self.subject, Program):
            raise NetworkError(
                "this verdict is about a program that is no ReLU network: it has no neurons and no pieces"
            )
        return self.subject

    @property
    def program(self) -> Program | None:
        """The program that the verdict is about; None for a network."""
        return self.subject if isinstance(self.subject, Program) else None

    @property
    def input_size(self) -> int:
        """Number of entries in which convexity could be asked."""
        if isinstance(self.subject, Program):
            return sum(self.subject.inputs[i].size for i in self.arguments)
        return self.subject.input_size

    @property
    def seconds(self) -> float:
        """Total time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def open_neurons(self) -> tuple[NeuronReport, ...]:
        """Neurons that no stage settled."""
        return tuple(n for n in self.neurons if n.status == "open")

    def to_dict(self) -> dict[str, Any]:
        """Describe the verdict as plain, strictly JSON-valid data: what `jensen check --json` prints."""
        from jensen.certify._render import verdict_to_dict

        return verdict_to_dict(self)

    def __str__(self) -> str:
        """Describe the verdict for a person, as `jensen check` prints it in a pipe."""
        from jensen.certify._report import report_text

        return report_text(self)
