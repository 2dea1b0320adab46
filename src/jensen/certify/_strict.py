"""Strict linear inequalities, decided exactly: floats propose a point, rationals confirm or decide."""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np
from flint import fmpq

from jensen.certify._highs import quiet_highs
from jensen.certify._simplex import Row, decide


def strict_solution(rows: Sequence[Row], n: int) -> list[fmpq] | None:
    """Find y with row[:-1] @ y + row[-1] > 0 for every row; None if there is none."""
    found = decide_strict(rows, n)
    return found if isinstance(found, list) else None


def decide_strict(rows: Sequence[Row], n: int) -> list[fmpq] | dict[int, fmpq]:
    """Find y with row[:-1] @ y + row[-1] > 0 for every row, or prove that there is none.

    Parameters
    ----------
    rows : sequence of n + 1 rationals each
    n : int
        Number of variables.

    Returns
    -------
    list of n rationals, or a dict
        The dict is a proof: positive multiples of these rows add up to a constant <= 0.
    """
    for i, row in enumerate(rows):
        if not any(row[:-1]) and not row[-1] > 0:
            return {i: fmpq(1)}
    live = [i for i, row in enumerate(rows) if any(row[:-1])]
    if not live:
        return [fmpq(0)] * n
    system = [rows[i] for i in live]
    guess = _float_guess(system)
    if guess is not None and all(value(row, guess) > 0 for row in system):
        return guess
    found = decide([], system, n)
    if isinstance(found, list):
        return found
    return {i: y for i, y in zip(live, found.strict, strict=True) if y}


def value(row: Row, y: Sequence[fmpq]) -> fmpq:
    """Evaluate an affine function."""
    total = row[-1]
    for a, v in zip(row[:-1], y, strict=True):
        if a and v:
            total += a * v
    return total


def _float_guess(rows: Sequence[Row]) -> list[fmpq] | None:
    """Maximise the least slack in floating point, with rows scaled to largest entry 1."""
    m, n = len(rows), len(rows[0]) - 1
    table = np.empty((m, n + 1))
    for i, row in enumerate(rows):
        top = max(abs(v) for v in row)
        table[i] = [int(q.p) / int(q.q) for q in (v / top for v in row)]
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n + 1, m
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.append(np.zeros(n), 1.0)
    lp.col_lower_ = np.full(n + 1, -np.inf)
    lp.col_upper_ = np.append(np.full(n, np.inf), 1.0)
    lp.row_lower_, lp.row_upper_ = -table[:, -1], np.full(m, np.inf)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.arange(m + 1, dtype=np.int32) * (n + 1)
    lp.a_matrix_.index_ = np.tile(np.arange(n + 1, dtype=np.int32), m)
    lp.a_matrix_.value_ = np.hstack([table[:, :-1], -np.ones((m, 1))]).ravel()
    highs = quiet_highs()
    highs.passModel(lp)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    point = np.asarray(highs.getSolution().col_value)
    if not np.isfinite(point).all() or point[-1] <= 0:
        return None
    return [fmpq(*float(v).as_integer_ratio()) for v in point[:-1]]
