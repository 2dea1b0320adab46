"""The walk over all regions: floats with error bounds, and exact arithmetic where these cannot decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jensen.geometry import _kernel_walk as registers
from jensen.geometry._arrays import Flags, Ints, Net, Out, Stack, build_net, build_stack, grow_stack
from jensen.geometry._bits import to_words
from jensen.geometry._cone import rank
from jensen.geometry._exact_tree import ExactTree, Node
from jensen.geometry._kernel_split import BIT, NEURON, RAYS, REAL, SIDE, SIMPLE
from jensen.geometry._kernel_walk import DONE, FLUSH, GROW, VIOLATED, begin, walk
from jensen.geometry._program import SPLIT
from jensen.network import FloatArray

SLICE = 0.05
"""Seconds that the compiled walk may keep Python waiting, roughly."""


class Sink(Protocol):
    """What becomes of the regions."""

    out: Out

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted."""

    def region(self, node: Node) -> None:
        """Take a region that was found in exact arithmetic."""

    def flush(self, engine: Engine) -> None:
        """Empty the buffers of the compiled walk."""

    def violated(self, engine: Engine) -> None:
        """Take note that the compiled walk found a violation."""


@dataclass(frozen=True)
class Options:
    """How to walk.

    Attributes
    ----------
    check : bool
        Whether jumps are wanted.
    stop : bool
        Whether the first violation ends the walk.
    store : bool
        Whether regions are handed out one by one.
    exact : bool
        Use exact arithmetic alone, for tests.
    deadline : float or None
        On the clock of `time.perf_counter`.
    progress : callable or None
        Called between slices.
    """

    check: bool = True
    stop: bool = True
    store: bool = False
    exact: bool = False
    deadline: float | None = None
    progress: Callable[[], None] | None = None


class Engine:
    """Walks all regions below given nodes and feeds a sink.

    Parameters
    ----------
    tree : ExactTree
    sink : Sink
    needed : (K,) bool array
        Neurons whose frontiers are tested.
    moving : (d,) bool array
        Inputs that convexity is asked in.
    restricted : bool
        Whether frontiers parallel to all moving inputs are to be left out.
    known : dict
        Jumps of neurons for which they are the same everywhere.
    options : Options
    """

    def __init__(
        self,
        tree: ExactTree,
        sink: Sink,
        *,
        needed: Flags,
        moving: Flags,
        restricted: bool,
        known: dict[int, float],
        options: Options,
    ) -> None:
        program = tree.program
        self.tree, self.sink, self.options = tree, sink, options
        self.bits = tree.base + program.n_neurons
        self.words = max(1, -(-self.bits // 64))
        self.net: Net = build_net(program, needed, moving, known, tree.rows)
        self.stack: Stack = build_stack(program.d, program.n_neurons, self.words, 1 << 14)
        self.reg: Ints = np.zeros(16, dtype=np.int64)
        self.reg[registers.BASE] = tree.base
        self.reg[registers.CHECK] = options.check
        self.reg[registers.STOP] = options.stop
        self.reg[registers.STORE] = options.store
        self.reg[registers.RESTRICTED] = restricted
        leaders = np.flatnonzero(program.kinds.kind == SPLIT)
        self.reg[registers.LAST] = leaders[-1] if leaders.size else -1
        self.reg[registers.PRUNE] = options.check and not options.store and not needed[leaders].all()
        self.least: FloatArray = np.array([0.0, -1.0])
        self.idle_lines = self._idle_lines()
        self.exact_nodes = 0
        self._budget = 1
        self._regions_then = 0
        self._nodes = 256

    def _idle_lines(self) -> int:
        """Dimension of the directions that no hidden neuron can ever see."""
        lines = self.tree.cone.lines
        if not lines:
            return 0
        seen = []
        for row in self.tree.program.input_rows():
            values = [v.as_integer_ratio() for v in row.ravel().tolist()]
            common = max((q for _, q in values), default=1)
            flat = [p * (common // q) for p, q in values]
            d = self.tree.program.d
            for at in range(0, len(flat), d):
                part = flat[at : at + d]
                seen.append(tuple(sum(a * b for a, b in zip(part, line, strict=False)) for line in lines))
        return len(lines) - rank(seen)

    def run(self, starts: Iterable[Node]) -> bool:
        """Walk all regions below the given nodes; False if time ran out or the sink had enough."""
        waiting = list(starts)
        while waiting:
            if not self._go_on():
                return False
            node = waiting.pop()
            if self.tree.finished(node):
                self.sink.region(node)
            elif self.options.exact or len(node.cone.lines) > self.idle_lines:
                waiting.extend(reversed(self.tree.advance(node)))
            else:
                self._load(node)
                if not self._walk(waiting):
                    return False
        self.sink.flush(self)
        return not self.sink.ended

    def _go_on(self) -> bool:
        if self.sink.ended:
            return False
        return self.options.deadline is None or time.perf_counter() < self.options.deadline

    def _load(self, node: Node) -> None:
        """Put a node on the empty stack, its rays rounded."""
        cone, n, words = node.cone, self.tree.program.d + 1, self.words
        rays = len(cone.rays)
        while rays * (n + 1) > len(self.stack.reals) or rays * words > len(self.stack.bits):
            self.stack = grow_stack(self.stack, n - 1, words)
        stack, k = self.stack, len(node.states)
        block = np.empty((n + 1, rays))
        for r, ray in enumerate(cone.rays):
            largest = max(map(abs, ray))
            for c, value in enumerate(ray):
                rounded = value / largest
                block[c, r] = rounded if rounded or not value else 1e-290
        block[n] = 2.0**-52
        stack.reals[: block.size] = block.ravel()
        packed = [to_words(t, words) for t in cone.tight]
        stack.bits[: rays * words] = np.array(packed, dtype=np.uint64).ravel()
        facets = 0
        for _, bits in cone.facets():
            own = bits & ~cone.always
            facets |= own & -own
        stack.facets[0] = to_words(facets, words)
        frame = stack.frame[0]
        frame[NEURON], frame[SIDE], frame[RAYS], frame[REAL], frame[BIT] = k, -1, rays, 0, 0
        frame[SIMPLE] = all(t.bit_count() == cone.rank - 1 for t in cone.tight)
        stack.state[:k] = node.states
        self.reg[registers.RANK] = cone.rank
        self.reg[registers.SP] = 1
        begin(self.net, stack, k)

    def _walk(self, waiting: list[Node]) -> bool:
        """Run the compiled walk to its end; what floats cannot decide joins the waiting nodes."""
        while True:
            start = time.perf_counter()
            why = walk(self.net, self.stack, self.sink.out, self.reg, self.least, self._nodes)
            took = time.perf_counter() - start
            if took > 2 * SLICE:
                self._nodes = max(64, self._nodes // 2)
            elif took < SLICE / 2 and why not in (DONE, GROW, FLUSH):
                self._nodes *= 2
            if why == GROW:
                self.stack = grow_stack(self.stack, self.tree.program.d, self.words)
            elif why == FLUSH:
                self.sink.flush(self)
            elif why == VIOLATED:
                self.sink.violated(self)
                return False
            if self.reg[registers.STUCK]:
                self._resolve(waiting)
            if self.options.progress is not None:
                self.options.progress()
            if why == DONE:
                return True
            if not self._go_on():
                return False

    def _resolve(self, waiting: list[Node]) -> None:
        """Walk on exactly from where floats were stuck, for a while that grows, then hand back."""
        out, count = self.sink.out, int(self.reg[registers.STUCK])
        self.reg[registers.STUCK] = 0
        # Where floats are stuck again and again, stay exact for longer before the next attempt.
        regions = int(self.reg[registers.REGIONS])
        often = regions - self._regions_then < 32 * count
        self._budget = self._budget * 2 if often else 1
        self._regions_then = regions
        for at in range(count):
            k = int(out.stuck_at[at])
            stack = [self.tree.replay(out.stuck[at, :k].tolist())]
            spent = 0
            while stack and spent < self._budget:
                node = stack.pop()
                if self.tree.finished(node):
                    self.sink.region(node)
                    continue
                stack.extend(reversed(self.tree.advance(node)))
                spent += 1
                if not self._go_on():
                    return
            self.exact_nodes += spent
            waiting.extend(stack)
