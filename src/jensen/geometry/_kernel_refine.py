"""Compiled refinement of a ray whose error bound has grown: solve for it anew from its tight constraints.

Error bounds grow with every cut, the errors of a linear system do not. The bound is a posteriori: with C
close to the inverse of A, |y* - y| <= |C (A y + a)| / (1 - |I - C A|), every rounding and the uncertainty of
the constraints themselves included.
"""

from __future__ import annotations

from numba import njit

from jensen.geometry._arrays import Ints, Words
from jensen.geometry._kernel_forms import ROOM, TINY, UNIT, u64
from jensen.network import FloatArray


@njit(cache=True, nogil=True)
def gather_rows(
    bits: Words,
    at: int,
    words: int,
    base: int,
    boundary: FloatArray,
    boundary_error: FloatArray,
    forms: FloatArray,
    size: FloatArray,
    error: FloatArray,
    rows: FloatArray,
) -> int:
    """Write the tight constraints of a ray, scaled to one-norm about 1, each followed by its error bound.

    Returns their number, or -1 if there are more than fit.
    """
    n, found = forms.shape[0], 0
    for b in range(base + forms.shape[1]):
        if not (bits[at + (b >> 6)] >> u64(b & 63)) & u64(1):
            continue
        if found == len(rows):
            return -1
        if b < base:
            for c in range(n):
                rows[found, c] = boundary[b, c]
            rows[found, n] = boundary_error[b]
        else:
            scale = 1.0 / size[b - base] if size[b - base] > 0.0 else 0.0
            for c in range(n):
                rows[found, c] = forms[c, b - base] * scale
            rows[found, n] = error[b - base] * scale * ROOM + 4.0 * UNIT
        found += 1
    return found


@njit(cache=True, nogil=True)
def independent_rows(rows: FloatArray, count: int, skip: int, work: FloatArray, chosen: Ints) -> bool:
    """Choose n - 1 rows that are far from dependent, without column `skip`, by elimination with pivoting."""
    n = rows.shape[1] - 1
    for i in range(count):
        for c in range(n):
            work[i, c] = rows[i, c] if c != skip else 0.0
    taken = 0
    for _ in range(n - 1):
        best, best_row, best_column = 1e-7, -1, -1
        for i in range(count):
            used = False
            for t in range(taken):
                used = used or chosen[t] == i
            if used:
                continue
            for c in range(n):
                if abs(work[i, c]) > best:
                    best, best_row, best_column = abs(work[i, c]), i, c
        if best_row < 0:
            return False
        for i in range(count):
            factor = work[i, best_column] / work[best_row, best_column]
            if i != best_row and factor != 0.0:
                for c in range(n):
                    work[i, c] -= factor * work[best_row, c]
                work[i, best_column] = 0.0
        chosen[taken] = best_row
        taken += 1
    return True


@njit(cache=True, nogil=True)
def invert(matrix: FloatArray, inverse: FloatArray, m: int) -> bool:
    """Invert the leading m by m block approximately; the matrix is destroyed."""
    for i in range(m):
        for j in range(m):
            inverse[i, j] = 1.0 if i == j else 0.0
    for c in range(m):
        pivot = c
        for i in range(c + 1, m):
            if abs(matrix[i, c]) > abs(matrix[pivot, c]):
                pivot = i
        if matrix[pivot, c] == 0.0:
            return False
        if pivot != c:
            for j in range(m):
                matrix[c, j], matrix[pivot, j] = matrix[pivot, j], matrix[c, j]
                inverse[c, j], inverse[pivot, j] = inverse[pivot, j], inverse[c, j]
        scale = 1.0 / matrix[c, c]
        for j in range(m):
            matrix[c, j] *= scale
            inverse[c, j] *= scale
        for i in range(m):
            factor = matrix[i, c]
            if i != c and factor != 0.0:
                for j in range(m):
                    matrix[i, j] -= factor * matrix[c, j]
                    inverse[i, j] -= factor * inverse[c, j]
    return True


@njit(cache=True, nogil=True)
def refine(
    reals: FloatArray,
    off: int,
    step: int,
    rows: FloatArray,
    count: int,
    chosen: Ints,
    space: FloatArray,
    finite: bool,
) -> bool:
    """Solve anew for a ray, given its tight constraints; True if its error bound became smaller.

    Parameters
    ----------
    reals : array
        The ray's entries stand at off, off + step, ..., its error bound behind them.
    space : (3, m, n) array
        Room to work in, m at least the number of rows and n.
    finite : bool
        Whether the ray is a vertex for sure, so that it may be found even if its own bound says nothing.
    """
    n = rows.shape[1] - 1
    m = n - 1
    work, inverse, square = space[0], space[1], space[2]
    known = reals[off + n * step]
    fixed = 0
    for c in range(n):
        if abs(reals[off + c * step]) > abs(reals[off + fixed * step]):
            fixed = c
    if not (known < 0.1 or finite) or not independent_rows(rows, count, fixed, work, chosen):
        return False
    for i in range(m):
        at = 0
        for c in range(n):
            if c != fixed:
                square[i, at] = rows[chosen[i], c]
                work[i, at] = square[i, at]
                at += 1
    if not invert(work, inverse, m):
        return False
    gamma = 4.0 * (n + 4) * UNIT
    # How far C A is from the identity.
    defect = 0.0
    for i in range(m):
        total = 0.0
        for j in range(m):
            entry, mass = -1.0 if i == j else 0.0, 1.0
            for c in range(m):
                entry += inverse[i, c] * square[c, j]
                mass += abs(inverse[i, c] * square[c, j])
            total += abs(entry) + gamma * mass
        for c in range(m):
            total += abs(inverse[i, c]) * rows[chosen[c], n]
        defect = max(defect, total)
    if not defect < 0.5:
        return False
    one = 1.0 if reals[off + fixed * step] > 0.0 else -1.0
    y = space[0, n]
    at = 0
    for c in range(n):
        if c != fixed:
            y[at] = reals[off + c * step] / abs(reals[off + fixed * step])
            at += 1
    error = 0.0
    for sweep in range(3):
        # Two corrections, then the bound.
        worst = 0.0
        residual, slack = space[1, n], space[2, n]
        for i in range(m):
            total = one * rows[chosen[i], fixed]
            mass = abs(total)
            for c in range(m):
                total += square[i, c] * y[c]
                mass += abs(square[i, c] * y[c])
            residual[i] = total
            slack[i] = gamma * mass + 1.5 * rows[chosen[i], n]
        for i in range(m):
            change, bound = 0.0, 0.0
            for c in range(m):
                change += inverse[i, c] * residual[c]
                bound += abs(inverse[i, c]) * (abs(residual[c]) + slack[c])
            worst = max(worst, bound)
            if sweep < 2:
                y[i] -= change
        error = worst / (1.0 - defect) * ROOM
    if not error < min(0.5 * known, 0.05):
        return False
    if not known < 0.1:
        # Nothing tells the ray from its opposite but that a vertex has a positive last entry.
        height = one if fixed == m else y[m - 1]
        if not abs(height) > error:
            return False
        if height < 0.0:
            one = -one
            for c in range(m):
                y[c] = -y[c]
    largest = 1.0
    for c in range(m):
        largest = max(largest, abs(y[c]))
    if largest > 1.1:
        return False
    at = 0
    for c in range(n):
        here = off + c * step
        if c == fixed:
            reals[here] = one / largest
            continue
        # What was known to be zero still is.
        if reals[here] != 0.0:
            reals[here] = y[at] / largest if y[at] != 0.0 else TINY
        at += 1
    reals[off + n * step] = error * ROOM + 4.0 * UNIT
    return True
