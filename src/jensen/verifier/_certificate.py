"""What a certificate holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from typing import Literal, TypeAlias

from jensen.network import Domain
from jensen.verifier._facet import Bends, Hull, Thin, Uncrossed
from jensen.verifier._kink import Multipliers
from jensen.verifier._pieces import Cover
from jensen.verifier._rational import Neuron
from jensen.verifier._twins import Twins

Leaf: TypeAlias = Multipliers | Uncrossed | Thin | Bends
"""What closes a case."""

Tree: TypeAlias = Sequence[Neuron | Leaf]
"""A case tree in preorder: a neuron whose sign is split on (z <= 0 first, then z >= 0), or a leaf."""


@dataclass(frozen=True)
class Violation:
    """x, y and the weight t of x: three points that violate Jensen's inequality."""

    x: tuple[Fraction, ...]
    y: tuple[Fraction, ...]
    t: Fraction


@dataclass(frozen=True)
class Proof:
    """Why no neuron has a negative jump.

    Attributes
    ----------
    twins : Twins
        Neurons that switch together and are judged together.
    cover : Cover
        How the domain is cut into pieces.
    hull : Hull or None
        For polytopes: which of its rows hold with equality.
    trees : mapping of (neuron, piece) to Tree
        A case tree for every neuron and piece that signs and bounds do not settle by themselves.
    """

    twins: Twins = field(default_factory=Twins)
    cover: Cover = field(default_factory=Cover)
    hull: Hull | None = None
    trees: Mapping[tuple[Neuron, int], Tree] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """That rules on signs and curvature prove a traced program convex: the replay applies its own.

    Attributes
    ----------
    arguments : tuple of int
        The program's inputs in which it is convex, the others being held at any value. The certificate's
        domain and `wrt` speak of their entries, one input after the other.
    output : int
        Which entry of the flattened outputs of one sample.
    """

    arguments: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Enclosed:
    """Three points at which enclosures of a program's values violate Jensen's inequality.

    Attributes
    ----------
    arguments, output
        As of `Rules`.
    points : Violation
        They hold the entries of all inputs of one sample; only those asked about move.
    """

    arguments: tuple[int, ...]
    output: int
    points: Violation


@dataclass(frozen=True)
class Certificate:
    """A verdict with its proof, to be replayed by `jensen.verify`.

    Attributes
    ----------
    network : str
        `ReLUNetwork.digest` of the network that it speaks about, or `Program.digest` of the program.
    domain : Domain
    wrt : tuple of int or None
        The inputs in which convexity is claimed or refuted; None means all.
    verdict : {"convex", "not_convex"}
    proof : Proof or Violation, of a network; Rules or Enclosed, of a program
    """

    network: str
    domain: Domain
    wrt: tuple[int, ...] | None
    verdict: Literal["convex", "not_convex"]
    proof: Proof | Violation | Rules | Enclosed

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate as JSON; the file appears whole or not at all.

        Raises
        ------
        CertificateFileError
            If the file cannot be written.
        """
        from jensen.verifier._format import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Certificate:
        """Read a certificate; nothing in it is believed until `jensen.verify` has replayed it.

        Raises
        ------
        CertificateFileError
            If the file is missing, torn, altered, of another kind or of a later version.
        """
        from jensen.verifier._format import load

        return load(path)
