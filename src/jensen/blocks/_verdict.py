"""Verdicts on convexity in a block of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from jensen.blocks._lowering import BlockNetwork
from jensen.calculus import Curvature
from jensen.certify import Verdict
from jensen.certify._report import describe_domain
from jensen.network import Domain, WholeSpace

Kind: TypeAlias = Literal["convex", "convex_float", "not_convex", "unknown"]
Proof: TypeAlias = Literal["rules", "certificate", "float", "witness", ""]
Exact: TypeAlias = Mapping[str, NDArray[Any]]

_HEADLINES = {
    "convex": "CONVEX",
    "convex_float": "CONVEX (up to rounding)",
    "not_convex": "NOT CONVEX",
    "unknown": "UNKNOWN",
}


@dataclass(frozen=True, eq=False)
class BlockWitness:
    """Three settings of a block's parameters at which the training loss violates Jensen's inequality.

    Attributes
    ----------
    x, y : mapping of str to object array of Fraction
        By dotted names, in the parameters' shapes.
    t : Fraction
        The third setting is t x + (1 - t) y.
    fx, fy : Fraction
        Upper bounds of the loss at x and y; its values, where the loss is piecewise linear.
    fm : Fraction
        Lower bound of the loss at the third setting; greater than t fx + (1 - t) fy.
    """

    x: Exact
    y: Exact
    t: Fraction
    fx: Fraction
    fy: Fraction
    fm: Fraction

    @property
    def middle(self) -> Exact:
        """The setting t x + (1 - t) y."""
        return {name: self.t * v + (1 - self.t) * self.y[name] for name, v in self.x.items()}

    @property
    def violation(self) -> Fraction:
        """By how much the loss at the middle exceeds the chord, at least."""
        return self.fm - (self.t * self.fx + (1 - self.t) * self.fy)

    def states(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Give x, the middle and y as float64 tensors, to be loaded with `load_state_dict(strict=False)`.

        Returns
        -------
        tuple of three dicts of str to float64 tensor
        """
        x, middle, y = (
            {name: torch.from_numpy(v.astype(np.float64)) for name, v in point.items()}
            for point in (self.x, self.middle, self.y)
        )
        return x, middle, y

    def __str__(self) -> str:
        """Write the settings, if they are short, and the three values."""
        lines = []
        for letter, point in (("x", self.x), ("y", self.y)):
            for name, v in point.items():
                shown = (
                    str(v.astype(np.float64).tolist()) if v.size <= 24 else f"{v.size} entries in {v.shape}"
                )
                lines.append(f"  {letter}: {name} = {shown}")
        chord = self.t * self.fx + (1 - self.t) * self.fy
        lines.append(
            f"  loss at {self.t} x + {1 - self.t} y: {float(self.fm):.6g}, on the chord: {float(chord):.6g}"
        )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class BlockVerdict:
    """The answer of `check_block`.

    Attributes
    ----------
    kind : {"convex", "convex_float", "not_convex", "unknown"}
        "convex" and "not_convex" are proved of the loss itself. "convex_float": proved of the ReLU network
        that the loss becomes with its constants rounded to float64, see `network`.
    block : tuple of str
        Dotted names of the parameters that vary together.
    domain : Domain
        Of their entries, one parameter after the other.
    proof : {"rules", "certificate", "float", "witness", ""}
        "rules": signs and curvature of every operator (`curvature`); "certificate": `verdict.certificate`,
        which `jensen.verify` replays on `network.network`; "float": as `jensen.check` with exact=False;
        "witness": three settings, enclosed by interval arithmetic or computed exactly.
    curvature : Curvature
        The annotated program, and where the rules break.
    verdict : Verdict or None
        What `jensen.check` said of the network, where it was asked.
    network : BlockNetwork or None
        The loss as a ReLU network of the block, where it is piecewise linear in it.
    witness : BlockWitness or None
        Present iff the kind is "not_convex".
    reason : str
        For "unknown": why. For "convex_float": what rounded.
    seconds : float
    """

    kind: Kind
    block: tuple[str, ...]
    domain: Domain
    proof: Proof
    curvature: Curvature
    verdict: Verdict | None
    network: BlockNetwork | None
    witness: BlockWitness | None
    reason: str
    seconds: float

    @property
    def convex(self) -> bool:
        """Whether the loss is convex in the block, be it up to rounding."""
        return self.kind in ("convex", "convex_float")

    def __str__(self) -> str:
        """Describe the verdict for a person."""
        size = sum(leaf.size for leaf in self.curvature.program.leaves if leaf.label in self.block)
        within = "" if isinstance(self.domain, WholeSpace) else f" on {describe_domain(self.domain, size)}"
        lines = [f"{_HEADLINES[self.kind]} in {', '.join(self.block)}{within}"]
        if self.proof:
            lines.append(f"  proof: {_PROOFS[self.proof]}")
        if self.network is not None:
            net = self.network.network
            how = "exactly" if self.network.exact else f"up to {self.network.deviation:.2g} on samples"
            lines.append(
                f"  the loss is {self.network.scale} times a ReLU network of {net.input_size} inputs and "
                f"{net.n_neurons:,} neurons, {how}"
            )
        if self.reason:
            lines.append(f"  {self.reason}")
        if self.witness is not None:
            lines.append(str(self.witness))
        lines.append(f"  {self.seconds:.3g} s")
        return "\n".join(lines)


_PROOFS = {
    "rules": "rules on signs and curvature",
    "certificate": "a certificate, replayed in rational arithmetic",
    "float": "in floating point, with rounding errors bounded",
    "witness": "three settings that violate Jensen's inequality",
}
