"""Branch and bound over the cones of one sign of the signal, which can be cut into slices."""

from __future__ import annotations

from jensen.fit._price_cone import make_work
from jensen.fit._price_frontier import Frontier, make_frontier
from jensen.fit._price_rows import Floats, Rows
from jensen.fit._price_tree import make_stack
from jensen.fit._price_walk import FOUND, NEXT, NODES, explore, make_walk

_SLOTS = 400
_NEURONS = 64
_BYTES = 1 << 27
"""Memory for the cones that wait for a harder target; it is used only as far as there are cones."""


class Tree:
    """Proves max F - G <= target over the unit ball for ever smaller targets.

    Parameters
    ----------
    raised, lowered : Rows
        Of F and G.
    d : int
        Columns.
    total : float
        Sum of the lengths of all rows, or more.
    """

    def __init__(self, raised: Rows, lowered: Rows, d: int, total: float) -> None:
        self.raised, self.lowered, self.total, self.d = raised, lowered, total, d
        shape = (_SLOTS, len(raised.rows), len(lowered.rows), d)
        self._stack, self._walk, self._work = make_stack(*shape), make_walk(*shape, _NEURONS), make_work(d)
        self._first = make_frontier(0, d)
        self._later = self._room()

    def _room(self) -> Frontier:
        return make_frontier(_BYTES // (8 * (self.d**2 + self.d + 1)), self.d)

    @property
    def nodes(self) -> int:
        """Cones that were bounded so far."""
        return int(self._walk.counters[NODES])

    @property
    def upper(self) -> float:
        """Proven bound, once all cones are closed."""
        waiting = self._later.bound[: self._later.size[0]]
        return max(float(self._walk.most[0]), float(waiting.max(initial=0.0)))

    def advance(self, target: float, goal: float, nodes: int) -> bool:
        """Go on for some cones; whether the target is reached everywhere."""
        walk, aims = self._walk, (target, goal)
        return explore(
            self._stack,
            self._work,
            walk,
            self.raised,
            self.lowered,
            self._first,
            self._later,
            aims,
            self.total,
            nodes,
        )

    def found(self) -> Floats:
        """Take the unit vectors above the goal that were found since the last call."""
        points = self._walk.found[: self._walk.counters[FOUND]].copy()
        self._walk.counters[FOUND] = 0
        return points

    def turn(self) -> None:
        """Prepare for the next target."""
        self._first, self._later = self._later, self._room()
        self._walk.counters[NEXT] = 0
