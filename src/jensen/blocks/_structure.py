"""The maximal sets of parameters in which a training loss is convex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import nn

from jensen.blocks._check import BlockDomain, decide
from jensen.blocks._objective import LossLike, Objective, objective
from jensen.blocks._verdict import BlockVerdict
from jensen.certify._arguments import check_seconds
from jensen.errors import ArgumentError
from jensen.network import Domain

_WORDS = {"convex": "convex", "convex_float": "convex (rounded)", "not_convex": "not convex"}


@dataclass(frozen=True, eq=False)
class BlockStructure:
    """In which sets of parameters a training loss is convex, at the values of the others.

    Attributes
    ----------
    names : tuple of str
        The parameters that were asked about.
    verdicts : mapping of frozenset of str to BlockVerdict
        All sets that were decided; subsets of convex ones are convex, supersets of others are not.
    maximal : tuple of tuple of str
        Sets that are convex, of which no superset is known to be; the largest first.
    """

    names: tuple[str, ...]
    verdicts: Mapping[frozenset[str], BlockVerdict]
    maximal: tuple[tuple[str, ...], ...]

    @property
    def open(self) -> tuple[tuple[str, ...], ...]:
        """Sets of which nothing is known, minimal ones only; empty where `maximal` is complete."""
        found = [s for s, v in self.verdicts.items() if v.kind == "unknown" and self.status(s) == "unknown"]
        least = [s for s in found if not any(other < s for other in found)]
        return tuple(_ordered(s, self.names) for s in least)

    def status(self, block: Sequence[str] | frozenset[str]) -> str:
        """Return "convex", "convex_float", "not_convex" or "unknown" of any set, as far as it follows.

        Raises
        ------
        ArgumentError
            If the set holds a parameter that was not asked about.
        """
        chosen = frozenset(block)
        if not chosen <= frozenset(self.names):
            raise ArgumentError(f"only {', '.join(self.names)} were asked about, got {sorted(chosen)}")
        return _status(self.verdicts, chosen)

    def __str__(self) -> str:
        """Write a table of verdicts, and the maximal blocks."""
        rows = [("block", "entries", "loss is", "proof")]
        for chosen, verdict in sorted(self.verdicts.items(), key=lambda item: len(item[0])):
            size = sum(leaf.size for leaf in verdict.curvature.program.leaves if leaf.label in chosen)
            words = _WORDS.get(verdict.kind, verdict.kind)
            rows.append((" + ".join(_ordered(chosen, self.names)), f"{size:,}", words, verdict.proof or "-"))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
        lines.append("maximal convex blocks:")
        lines += [f"  {' + '.join(block)}" for block in self.maximal] or ["  none"]
        if self.open:
            lines.append("undecided, so that a larger block may exist:")
            lines += [f"  {' + '.join(block)}" for block in self.open]
        return "\n".join(lines)


def convex_blocks(
    model: nn.Module,
    loss: LossLike,
    data: Any,
    wrt: str | Sequence[str] | None = None,
    domain: Mapping[str, Domain | tuple[float, float]] | None = None,
    time_limit: float | None = 10.0,
    *,
    exact: bool | None = None,
    seed: int = 0,
) -> BlockStructure:
    """Find all maximal sets of parameters in which a training loss is convex, the others being held.

    Every single parameter is decided; then the union of all that are convex, and where that fails smaller
    unions, until none is left whose answer does not follow.

    Parameters
    ----------
    model, loss, data
        As of `check_block`.
    wrt : str or sequence of str, optional
        Parameters to ask about; all by default.
    domain : mapping, optional
        From parameters to (low, high) or a `jensen.Box`, where they vary.
    time_limit : float, optional
        Seconds for each set.
    exact, seed
        As of `check_block`.

    Returns
    -------
    BlockStructure

    Raises
    ------
    As `check_block`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> data = torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 2.0])
    >>> convex_blocks(model, "squared", data, ["2.weight", "2.bias"]).maximal
    (('2.weight', '2.bias'),)
    """
    posed = objective(model, loss, data)
    names = posed.names if wrt is None else posed.chosen(wrt)
    limit = check_seconds(time_limit)
    if domain is not None and (not isinstance(domain, Mapping) or not set(domain) <= set(posed.names)):
        raise ArgumentError("domain must map names of parameters to (low, high)")
    search = _Search(posed, names, dict(domain or {}), limit, exact, seed)
    for name in names:
        search.decided(frozenset([name]))
    return BlockStructure(names, search.verdicts, search.maximal())


def _ordered(chosen: frozenset[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in chosen)


def _status(verdicts: Mapping[frozenset[str], BlockVerdict], chosen: frozenset[str]) -> str:
    """Tell what follows from the sets that were decided."""
    if chosen in verdicts and verdicts[chosen].kind != "unknown":
        return verdicts[chosen].kind
    above = {verdict.kind for known, verdict in verdicts.items() if chosen <= known}
    if any(known <= chosen and verdict.kind == "not_convex" for known, verdict in verdicts.items()):
        return "not_convex"
    return next((kind for kind in ("convex", "convex_float") if kind in above), "unknown")


class _Search:
    def __init__(
        self,
        posed: Objective,
        names: Sequence[str],
        domain: Mapping[str, Domain | tuple[float, float]],
        limit: float | None,
        exact: bool | None,
        seed: int,
    ) -> None:
        self.posed, self.names, self.domain = posed, tuple(names), domain
        self.limit, self.exact, self.seed = limit, exact, seed
        self.verdicts: dict[frozenset[str], BlockVerdict] = {}

    def decided(self, chosen: frozenset[str]) -> str:
        """Decide a set, unless the answer follows or was sought in vain."""
        known = _status(self.verdicts, chosen)
        if known != "unknown" or chosen in self.verdicts:
            return known
        block = _ordered(chosen, self.names)
        part: BlockDomain = {name: self.domain[name] for name in block if name in self.domain} or None
        self.verdicts[chosen] = decide(self.posed, block, part, self.limit, self.exact, self.seed)
        return self.verdicts[chosen].kind

    def convex(self, chosen: frozenset[str]) -> bool:
        return self.decided(chosen).startswith("convex")

    def maximal(self) -> tuple[tuple[str, ...], ...]:
        """Go down from the union of all that is convex alone, away from pairs that are not convex."""
        pending = [frozenset(name for name in self.names if self.convex(frozenset([name])))]
        seen: set[frozenset[str]] = set()
        found: list[frozenset[str]] = []
        while pending:
            chosen = pending.pop(0)
            if not chosen or chosen in seen or any(chosen <= other for other in found):
                continue
            seen.add(chosen)
            if self.convex(chosen):
                found.append(chosen)
                continue
            pairs = (frozenset(pair) for pair in combinations(_ordered(chosen, self.names), 2))
            bad = next((pair for pair in pairs if not self.convex(pair)), chosen)
            pending += [chosen - {name} for name in _ordered(bad, self.names)]
        kept = [one for one in found if not any(one < other for other in found)]
        kept.sort(key=lambda one: (-len(one), [self.names.index(n) for n in _ordered(one, self.names)]))
        return tuple(_ordered(one, self.names) for one in kept)
