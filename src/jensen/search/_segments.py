"""Segments on which a function bends down: drawn, found along second derivatives, and improved by ascent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from jensen.network import FloatArray
from jensen.search._many_points import ManyPoints
from jensen.search._region import Region

_CLEAR = 1e-3
"""Part of the values' size: a violation that large needs no further ascent."""
_ROUNDING = 16 * 2.0**-52
_MOST_POINTS = 128
_BEST = 8
"""Segments that are improved in a round."""
_ASCENTS = 12
_MOST_DENSE = 256
"""Directions up to which all second derivatives are computed."""
_LINES = (0.3, 3.0, 30.0, 300.0)
"""How far lines go to either side."""
_ON_LINE = 65
_HUGE = 1e300
_RISING = 0.01
"""Part by which a second difference must have risen for ascent to go on in the next round."""
_LANCZOS = 48
_SCALES = (1e-4, 1e-2, 0.3)
"""Distances over which gradients are compared: the largest sees kinks too."""
_HALVES = (0.01, 0.1, 0.5, 2.0)
"""Half lengths of the segments along a direction that bends down."""
_ROUND_SECONDS = 0.1


@dataclass
class Segments:
    """Segments m - s to m + s, and how far the value in the middle lies above the mean of the ends.

    Attributes
    ----------
    m, s : (n, size) arrays
    gap : (n,) array
    part : (n,) array
        The gap by the values' size.
    """

    m: FloatArray
    s: FloatArray
    gap: FloatArray
    part: FloatArray

    def __len__(self) -> int:
        return len(self.gap)

    def take(self, chosen: NDArray[np.intp]) -> Segments:
        return Segments(self.m[chosen], self.s[chosen], self.gap[chosen], self.part[chosen])

    @classmethod
    def of(cls, function: ManyPoints, m: FloatArray, s: FloatArray) -> Segments:
        """Evaluate segments; those that have no length, or no finite values, violate nothing."""
        values = function.values(np.concatenate([m, m - s, m + s])).reshape(3, len(m))
        return cls.compared(m, s, *values)

    @classmethod
    def compared(
        cls, m: FloatArray, s: FloatArray, fm: FloatArray, fx: FloatArray, fy: FloatArray
    ) -> Segments:
        """Compare values in the middles and at both ends."""
        gap, size = fm - (fx + fy) / 2, np.abs(fm) + np.abs(fx) + np.abs(fy)
        part = np.where(size > 0, gap / np.maximum(size, 1e-300), 0.0)
        good = np.isfinite(gap) & (s != 0).any(axis=1)
        return cls(m, s, np.where(good, gap, -np.inf), np.where(good, part, -np.inf))

    def bent(self) -> FloatArray:
        """Return second differences, upside down: large where the function bends down."""
        bent = self.gap / np.maximum((self.s**2).sum(axis=1), 1e-300)
        # Where the function is flat there is only rounding to climb.
        return np.asarray(np.where(np.abs(self.part) > _ROUNDING, bent, -np.inf))


class Finder:
    """Draws segments of a region and improves them, round by round, until a deadline."""

    def __init__(
        self, function: ManyPoints, region: Region, rng: np.random.Generator, deadline: float
    ) -> None:
        self.function, self.region, self.rng, self.deadline = function, region, rng, deadline
        self.number, self.count = 0, 4
        self.kept: Segments | None = None
        """Those of the last round that ascent still improved."""

    def round(self, prove: Callable[[Segments], bool]) -> bool:
        """Look at some segments and improve the best; say whether the search is over, as `prove` tells."""
        began = perf_counter()
        m = self.region.points(self.rng, self.count)
        if not self.number:
            m[0] = self.region.moved(m[:1], -m[:1])[0]  # the origin, or what is near it
        drawn = Segments.of(self.function, *self.region.clipped(m, self.region.steps(self.rng, self.count)))
        if clear(drawn) and prove(drawn):
            return True
        if self.late():
            return prove(drawn)
        # Where it bends down most, where ascent came from, and anywhere.
        starts = [m[np.argmax(drawn.bent())][None], m[self.rng.integers(0, len(m), 2)]]
        starts += [] if self.kept is None else [self.kept.m[:2]]
        points = np.concatenate(starts) if self.count > 4 else starts[0]
        curved = self.along_curvature(points, _SCALES[self.number % len(_SCALES)])
        if clear(curved) and prove(curved):
            return True
        if self.late():
            return prove(joined([drawn, curved]))
        lines = self.along_lines(m[: max(1, self.count // 4)])
        if clear(lines) and prove(lines):
            return True
        found = joined([drawn, curved, lines, *([] if self.kept is None else [self.kept])])
        chosen = [np.argsort(-found.part)[: _BEST // 4], np.argsort(-found.bent())[: _BEST // 2]]
        chosen += [np.arange(len(found) - (0 if self.kept is None else len(self.kept)), len(found))]
        before = found.take(np.unique(np.concatenate(chosen)))
        better = self.ascended(before)
        if prove(better):
            return True
        was = np.nan_to_num(before.bent(), neginf=-_HUGE)
        rising = np.flatnonzero(better.bent() > was + _RISING * np.abs(was))
        self.kept = better.take(rising[np.argsort(-better.bent()[rising])[: _BEST // 2]])
        self.number += 1
        if perf_counter() - began < _ROUND_SECONDS:
            self.count = min(2 * self.count, _MOST_POINTS)
        return False

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return perf_counter() > self.deadline

    def along_lines(self, m: FloatArray) -> Segments:
        """Compare neighbours on long lines, which cross what is too narrow or too far for a random point."""
        n, region = len(m), self.region
        u = region.steps(self.rng, n)
        u /= norms(u)
        length = self.rng.choice(_LINES, (n, 1))
        low, high = (region.reach(m, sign * length * u, 1.0)[:, None] * length for sign in (-1, 1))
        step = (high + low) / (_ON_LINE - 1)
        t = step * np.arange(_ON_LINE) - low
        points = m[:, None] + t[:, :, None] * u[:, None]
        values = self.function.values(points.reshape(-1, m.shape[1])).reshape(n, _ON_LINE)
        found = []
        for k in (1, 2, 4, 8, 16):
            fm, fx, fy = values[:, k:-k], values[:, : -2 * k], values[:, 2 * k :]
            halves = np.repeat(k * step * u, fm.shape[1], axis=0)
            middles = points[:, k:-k].reshape(-1, m.shape[1])
            every = Segments.compared(middles, halves, fm.ravel(), fx.ravel(), fy.ravel())
            found.append(every.take(np.unique([np.argmax(every.part), np.argmax(every.bent())])))
        return joined(found)

    def along_curvature(self, m: FloatArray, scale: float) -> Segments:
        """Find segments along the direction in which the function bends down most."""
        directions = self.directions(m, scale)
        n = len(_HALVES)
        middles, halves = np.repeat(m, n, axis=0), np.repeat(directions, n, axis=0)
        halves *= np.tile(_HALVES, len(m))[:, None]
        return Segments.of(self.function, middles, self.region.shortened(middles, halves))

    def directions(self, m: FloatArray, scale: float) -> FloatArray:
        """Find unit vectors along which second derivatives are least, one for each point."""
        if self.region.dimension <= _MOST_DENSE:
            rows = self.region.directions()
            found: list[FloatArray] = []
            for point in m:
                if found and self.late():
                    break
                products = self.products(np.tile(point, (len(rows), 1)), rows, scale)
                matrix = products @ rows.T
                found.append(np.linalg.eigh((matrix + matrix.T) / 2)[1][:, 0] @ rows)
            return np.array(found + [found[0]] * (len(m) - len(found)))
        return self.lanczos(m, scale)

    def products(self, m: FloatArray, v: FloatArray, scale: float) -> FloatArray:
        """Multiply second derivatives at points by unit vectors, by differences of gradients."""
        d = self.region.shortened(m, scale * v)
        ends = self.function.gradients(np.concatenate([m + d, m - d]))
        return self.region.across((ends[: len(m)] - ends[len(m) :]) / (2 * norms(d)))

    def lanczos(self, m: FloatArray, scale: float) -> FloatArray:
        """Lanczos's method with full orthogonalisation, at several points at once."""
        start = self.region.across(self.rng.standard_normal(m.shape))
        basis = [start / norms(start)]
        alphas: list[FloatArray] = []
        betas: list[FloatArray] = []
        for _ in range(min(_LANCZOS, self.region.dimension)):
            w = self.products(m, basis[-1], scale)
            alphas.append((w * basis[-1]).sum(axis=1))
            for _ in range(2):
                for v in basis:
                    w = w - (w * v).sum(axis=1, keepdims=True) * v
            betas.append(np.linalg.norm(w, axis=1))
            if self.late() or not betas[-1].all():
                break
            basis.append(w / norms(w))
        k = len(alphas)
        matrices = np.zeros((len(m), k, k))
        for i in range(k):
            matrices[:, i, i] = alphas[i]
            if i + 1 < k:
                matrices[:, i, i + 1] = matrices[:, i + 1, i] = betas[i]
        least = np.linalg.eigh(matrices)[1][:, :, 0]
        lowest = np.einsum("nk,knd->nd", least, np.array(basis[:k]))
        return np.asarray(lowest / norms(lowest))

    def ascended(self, segments: Segments) -> Segments:
        """Climb from segments, each with a step size of its own."""
        rate = np.full((len(segments), 1), 0.3)
        for _ in range(_ASCENTS):
            if clear(segments) or self.late():
                break
            m, s = segments.m, segments.s
            n, length = len(m), norms(s)
            at_m, at_x, at_y = np.split(
                self.function.gradients(np.concatenate([m, m - s, m + s])), [n, 2 * n]
            )
            by_m = self.region.along(at_m - (at_x + at_y) / 2)
            by_s = self.region.across((at_x - at_y) / 2)
            grown = s + rate * length * by_s / norms(by_s)
            violated = (segments.gap > 0)[:, None]
            # While nothing is violated the length is kept, lest the second difference fade with it.
            grown = np.where(violated, grown, grown * length / norms(grown))
            reach = np.maximum(length, 0.1)
            centre = self.region.moved(m, rate * reach * by_m / norms(by_m))
            tried = Segments.of(self.function, centre, self.region.shortened(centre, grown))
            rising = np.where(violated[:, 0], tried.part > segments.part, tried.bent() > segments.bent())
            rate = np.where(rising[:, None], 1.5 * rate, 0.3 * rate)
            segments = Segments(
                np.where(rising[:, None], tried.m, m),
                np.where(rising[:, None], tried.s, s),
                np.where(rising, tried.gap, segments.gap),
                np.where(rising, tried.part, segments.part),
            )
        return segments


def clear(segments: Segments) -> bool:
    """Whether there is a violation that needs no further ascent."""
    return bool(len(segments)) and float(segments.part.max()) > _CLEAR


def joined(parts: list[Segments]) -> Segments:
    return Segments(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("m", "s", "gap", "part"))
    )


def norms(rows: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
