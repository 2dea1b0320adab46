"""What `jensen.check` asks of a program: whether one entry of its output is convex, in every sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jensen.calculus._analysis import Analysis, analyse
from jensen.calculus._call import Condition
from jensen.calculus._curvature import declared_sign, sign_between
from jensen.calculus._explain import Break, first_break
from jensen.calculus._value import AFFINE, FOREIGN, UNKNOWN, Value, has, kind_of
from jensen.errors import NetworkError
from jensen.network import Domain
from jensen.program import Program


@dataclass(frozen=True, eq=False)
class Answer:
    """What rules say about an output.

    Attributes
    ----------
    kind : {"constant", "affine", "convex", "concave", "unknown"}
    conditions, registered : tuple
        As of `Analysis`.
    broken : Break or None
        Where the argument breaks, if the kind is "unknown".
    output : int
        The entry that was judged, of the flattened outputs of one sample.
    analysis : Analysis
    """

    kind: str
    conditions: tuple[Condition, ...]
    registered: tuple[str, ...]
    broken: Break | None
    output: int
    analysis: Analysis

    @property
    def convex(self) -> bool:
        """Whether the output is convex, and nothing was taken for granted."""
        return self.kind in ("constant", "affine", "convex") and not self.conditions


def decide(
    program: Program,
    arguments: Sequence[int],
    domain: Domain,
    wrt: Sequence[int] | None,
    output: int | None,
) -> Answer:
    """Judge one entry of the output as a function of one sample.

    Parameters
    ----------
    program : Program
        Its inputs have a batch, or are one sample.
    arguments : sequence of int
        The inputs that the question is about, in order; others are held at any value.
    domain : Domain
        Of the entries of these inputs, one after the other.
    wrt : sequence of int or None
        Which of these entries move; all by default.
    output : int or None
        Which entry of the flattened outputs of one sample.

    Raises
    ------
    NetworkError
        If samples of a batch are mixed, or the output is not one number.
    DomainError
        If the domain does not fit.
    """
    chosen = [program.inputs[i] for i in arguments]
    sizes = [leaf.size for leaf in chosen]
    lo, hi = domain.bounds(sum(sizes))
    moving = np.zeros(sum(sizes), dtype=bool)
    moving[list(range(sum(sizes)) if wrt is None else wrt)] = True
    starts = dict(zip((leaf.name for leaf in chosen), np.cumsum([0, *sizes[:-1]]), strict=True))
    values: dict[str, Value] = {}
    for leaf in program.leaves:
        curvature = np.zeros(leaf.shape, dtype=np.int8)
        sign = declared_sign(leaf, None)
        if leaf.name in starts:
            part = slice(starts[leaf.name], starts[leaf.name] + leaf.size)
            sign = sign_between(leaf, lo[part], hi[part])
            mine = np.where(moving[part], np.int8(AFFINE), np.int8(0)).reshape(leaf.sample_shape)
            if leaf.batched:
                curvature[0] = mine
            else:
                curvature[...] = mine
        if leaf.batched and leaf.shape[0] > 1:
            curvature[1:] = FOREIGN
        values[leaf.name] = Value(sign, curvature)
    analysis = analyse(program, values)
    batch = max((leaf.shape[0] for leaf in program.leaves if leaf.batched), default=None)
    result, entry = _entry(analysis, batch, output)
    kind = kind_of(result)
    broken = first_break(analysis) if kind == "unknown" else None
    return Answer(kind, analysis.conditions, analysis.registered, broken, entry, analysis)


def _entry(analysis: Analysis, batch: int | None, output: int | None) -> tuple[int, int]:
    """Find the curvature of the entry that is asked for, and its number."""
    parts, mixed = [], False
    for value in analysis.outputs:
        bits = value.curvature
        if batch is not None:
            if bits.ndim == 0 or bits.shape[0] != batch:
                raise NetworkError(
                    f"the output has shape {bits.shape} for a batch of {batch} samples: the model mixes "
                    "them, or has no batch as its first axis"
                )
            if bits.size and (has(bits[0], FOREIGN).any() or (bits[1:] & ~FOREIGN).any()):
                mixed = True
            bits = bits[0]
        parts.append(bits.ravel())
    flat = np.concatenate(parts)
    if output is None and flat.size != 1:
        raise NetworkError(
            f"the model has {flat.size} outputs; choose one with output=0..{flat.size - 1}, an index into "
            "the flattened output of one input"
        )
    index = 0 if output is None else output
    if not -flat.size <= index < flat.size:
        raise NetworkError(f"output={index} is out of range: the model has {flat.size} outputs")
    # Where the rules break, they do not tell samples apart any more.
    if mixed and int(flat[index]) & UNKNOWN != UNKNOWN:
        raise NetworkError("the model mixes the samples of a batch, so that it is no function of one")
    return int(flat[index]) & ~FOREIGN, index % flat.size
