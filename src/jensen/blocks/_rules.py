"""The rules of the calculus, asked about a block of a program's leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jensen.calculus import Analysis, analyse
from jensen.calculus._curvature import sign_between
from jensen.calculus._value import AFFINE, ANY_SIGN, CONSTANT, Value, constant
from jensen.network import Domain, FloatArray, WholeSpace
from jensen.program import Program


def analysed(
    program: Program,
    block: Sequence[str],
    values: Mapping[str, FloatArray] | None,
    domain: Domain | None = None,
) -> Analysis:
    """Apply the rules of the calculus to a program of which a block of leaves varies.

    Parameters
    ----------
    program : Program
    block : sequence of str
        Labels of leaves.
    values : mapping of str to array, or None
        Of the other leaves, as far as they are known: what is held has its own signs. None: all are unknown.
    domain : Domain, optional
        Of the block's entries, one leaf after the other; only the signs that follow are used.
    """
    sizes = {leaf.label: leaf.size for leaf in program.leaves if leaf.label in block}
    lo, hi = (domain or WholeSpace()).bounds(sum(sizes.values()))
    starts = dict(zip(block, np.cumsum([0, *(sizes[name] for name in block)]), strict=False))
    known: dict[str, Value] = {}
    for leaf in program.leaves:
        if leaf.label in starts:
            part = slice(starts[leaf.label], starts[leaf.label] + leaf.size)
            curvature = np.full(leaf.shape, AFFINE, dtype=np.int8)
            known[leaf.name] = Value(sign_between(leaf, lo[part], hi[part]), curvature)
        elif values is None or leaf.label not in values:
            unknown = np.full(leaf.shape, ANY_SIGN, dtype=np.int8)
            known[leaf.name] = Value(unknown, np.full(leaf.shape, CONSTANT, dtype=np.int8))
        else:
            known[leaf.name] = constant(values[leaf.label])
    return analyse(program, known)
