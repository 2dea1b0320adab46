"""An upper bound of the price without any search, for every dimension."""

from __future__ import annotations

import numpy as np

from jensen.fit._outward import UNIT, largest_eigenvalue_bound, length_bound, outward
from jensen.fit._price_rows import Rows


def quick_bound(raised: Rows, lowered: Rows) -> float:
    """Bound F - G over the unit ball; rows are of size 1 or so.

    With relu(z) = (z + |z|) / 2 for raised rows a_j and relu(z) >= z / 2 for lowered ones, F - G is at most
    c w / 2 + sum |a_j w| / 2, where c is the sum of raised rows minus lowered ones; and
    sum |a_j w| <= (sum |a_j|)^(1/2) (sum (a_j w)^2 / |a_j|)^(1/2).
    """
    rows, n = raised.rows, len(raised.rows) + len(lowered.rows)
    total = outward(float(length_bound(rows).sum()), n)
    lower_total = outward(float(length_bound(lowered.rows).sum()), n)
    if n == 0:
        return 0.0
    slope = rows.sum(0) - lowered.rows.sum(0)
    linear = float(length_bound(slope[None])[0]) + 1.1 * n * UNIT * (total + lower_total)
    scaled = rows / np.sqrt(raised.length)[:, None]
    d = rows.shape[1]
    gram = scaled.T @ scaled if d <= len(rows) else scaled @ scaled.T
    largest = largest_eigenvalue_bound(gram, 1.1 * (n + d + 12) * UNIT * total) if len(rows) else 0.0
    bent = min(total, outward(float(np.sqrt(total * largest)), 4))
    return min(total, outward((linear + bent) / 2, 4))
