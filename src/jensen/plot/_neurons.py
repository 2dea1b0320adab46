"""A two-layer network on a line: its output, and every neuron at its activation point, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.network import FloatArray
from jensen.plot._checked import distinct, finite
from jensen.plot._style import FAINT, INK, NEGATIVE, POSITIVE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

_ADDS, _SUBTRACTS = "#0b7a5b", "#b7791f"
_SAMPLES = 401


@dataclass(frozen=True)
class Story:
    """Networks sum_i a_i relu(slope_i x + bias_i) at several steps of training, with their data.

    Attributes
    ----------
    x, y : (n,) arrays
    hidden : (T, m, 2) array
        Rows (slope, bias).
    output : (T, m) array
    steps : (T,) array
    window : (low, high)
        The part of the line that is drawn.
    """

    x: FloatArray
    y: FloatArray
    hidden: FloatArray
    output: FloatArray
    steps: FloatArray
    window: tuple[float, float]

    @classmethod
    def checked(
        cls,
        x: object,
        y: object,
        hidden: object,
        output: object,
        steps: object,
        window: object,
    ) -> Story:
        """Check that shapes fit and numbers are finite."""
        points = finite(x, "x", (None,))
        distinct(points, "x")
        weights = finite(hidden, "hidden", (None, None, 2))
        frames, width = weights.shape[:2]
        if window is None:
            margin = 0.8 * (float(np.ptp(points)) or 1.0)
            low, high = float(points.min()) - margin, float(points.max()) + margin
        else:
            low, high = finite(window, "window", (2,)).tolist()
        if not low < high:
            raise ArgumentError(f"window must be (low, high) with low < high, got ({low}, {high})")
        return cls(
            points,
            finite(y, "y", (len(points),)),
            weights,
            finite(output, "output", (frames, width)),
            finite(np.arange(frames) if steps is None else steps, "steps", (frames,)),
            (low, high),
        )

    @property
    def places(self) -> FloatArray:
        """(n,) places at which outputs are drawn."""
        return np.linspace(*self.window, _SAMPLES)

    def outputs(self, frame: int) -> FloatArray:
        """Compute the outputs of the network of a frame at `places`."""
        return np.asarray(self.neurons(frame, self.places) @ self.output[frame])

    def neurons(self, frame: int, at: FloatArray) -> FloatArray:
        """(k, m) values of the hidden neurons of a frame."""
        slope, bias = self.hidden[frame].T
        return np.asarray(np.maximum(0.0, np.outer(at, slope) + bias))

    def norms(self, frame: int) -> FloatArray:
        """(m,) norms |w_i| |a_i|, by which the neurons count in the convex programme."""
        return np.asarray(np.linalg.norm(self.hidden[frame], axis=1) * np.abs(self.output[frame]))

    def heights(self) -> tuple[float, float, bool]:
        """Smallest and largest norm of all frames, and whether they call for a scale of logarithms.

        The 2 % of neurons with the smallest norms do not count.
        """
        norms = np.array([self.norms(frame) for frame in range(len(self.steps))])
        low, high = float(np.quantile(norms, 0.02)), float(norms.max())
        return low, high, 0 < low < high / 100

    def range(self) -> tuple[float, float]:
        """Limits for outputs: those of the first and the last frame, and the data."""
        values = np.concatenate([self.outputs(0), self.outputs(len(self.steps) - 1), self.y])
        low, high = float(values.min()), float(values.max())
        room = 0.06 * ((high - low) or 1.0)
        return low - room, high + room


class Stage:
    """Two axes, one above the other, on which a frame is shown: outputs, and neurons by place and norm."""

    def __init__(
        self, story: Story, above: Axes, below: Axes, expected: Sequence[float] = (), names: bool = True
    ) -> None:
        self._story = story
        above.plot(
            story.x,
            story.y,
            "x",
            color=NEGATIVE,
            markersize=8,
            markeredgewidth=2.0,
            zorder=4,
            linestyle="none",
        )
        (self._curve,) = above.plot([], [], color=POSITIVE, linewidth=1.8, zorder=3)
        for place in expected:
            below.axvline(place, color=FAINT, linestyle="--", linewidth=1.0, zorder=1)
        self._marks: dict[tuple[bool, bool], Line2D] = {}
        for right in (True, False):
            for adds in (True, False):
                (self._marks[right, adds],) = below.plot(
                    [],
                    [],
                    ">" if right else "<",
                    color=_ADDS if adds else _SUBTRACTS,
                    markersize=3.8,
                    markeredgewidth=0.0,
                    alpha=0.5,
                    linestyle="none",
                    zorder=2,
                )
        dress(above, "", "", "output" if names else "")
        dress(below, "", "activation point", "norm of the neuron" if names else "")
        self._title: Text = above.set_title("", fontsize=9.5, color=INK, loc="left", pad=6)
        above.set_xlim(*story.window)
        above.set_ylim(*story.range())
        below.set_xlim(*story.window)
        low, high, logarithms = story.heights()
        if logarithms:
            below.set_yscale("log")
            below.set_ylim(low / 3, high * 3)
        else:
            below.set_ylim(0.0, 1.08 * high or 1.0)
        above.tick_params(labelbottom=False)
        # No labels at the ends, where those of neighbours would meet.
        below.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], prune="both"))
        if not names:
            above.tick_params(labelleft=False)
            below.tick_params(labelleft=False)

    def show(self, frame: int) -> None:
        """Show a frame."""
        story = self._story
        self._title.set_text(f"step {story.steps[frame]:,.0f}")
        self._curve.set_data(story.places, story.outputs(frame))
        slope, bias = story.hidden[frame].T
        norms = story.norms(frame)
        for (right, adds), marks in self._marks.items():
            chosen = ((slope > 0) if right else (slope < 0)) & ((story.output[frame] > 0) == adds)
            marks.set_data(-bias[chosen] / slope[chosen], norms[chosen])


def plot_neurons(
    x: ArrayLike,
    y: ArrayLike,
    hidden: ArrayLike,
    output: ArrayLike,
    *,
    steps: ArrayLike | None = None,
    window: tuple[float, float] | None = None,
    expected: Sequence[float] = (),
) -> Figure:
    """Draw networks with one input at several steps of training: outputs above, neurons below.

    Every neuron is a triangle at its activation point, where its ReLU is 0, and at the height of its norm
    |w_i| |a_i|. It points to the side that it activates: green if it adds to the output, ochre if it
    subtracts. Heights are logarithms where norms differ by more than a factor of 100.

    Parameters
    ----------
    x, y : (n,) arrays
        Data, red crosses.
    hidden : (T, m, 2) array
        Slopes and biases of the m neurons at T steps.
    output : (T, m) array
        Output weights.
    steps : (T,) array, optional
        Numbers of the steps, for the titles.
    window : (low, high), optional
        The part of the line that is drawn.
    expected : sequence of float, optional
        Places to mark by dashed lines.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ArgumentError
        If shapes do not fit or a number is not finite.
    """
    story = Story.checked(x, y, hidden, output, steps, window)
    marks = finite(expected, "expected", (None,)).tolist() if len(expected) else []
    count = len(story.steps)
    figure = new_figure(2.1 * count + 0.9, 3.9)
    panels = figure.subplots(2, count, sharex=True, squeeze=False)
    for frame, (above, below) in enumerate(panels.T):
        Stage(story, above, below, marks, names=frame == 0).show(frame)
    return figure
