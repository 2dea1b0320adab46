"""A network on a line while it is trained, as an animation, and animations as files."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.animation import AbstractMovieWriter, FuncAnimation
from numpy.typing import ArrayLike

from jensen.errors import ArgumentError
from jensen.network._numbers import as_count
from jensen.plot._checked import finite
from jensen.plot._file import PlotError
from jensen.plot._neurons import Stage, Story
from jensen.plot._regimes import draw_loss
from jensen.plot._style import ACCENT, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from PIL import Image


def animate_neurons(
    x: ArrayLike,
    y: ArrayLike,
    hidden: ArrayLike,
    output: ArrayLike,
    *,
    steps: ArrayLike | None = None,
    losses: ArrayLike | None = None,
    window: tuple[float, float] | None = None,
    expected: Sequence[float] = (),
) -> FuncAnimation:
    """Animate what `plot_neurons` draws, one frame for every step that is given.

    Parameters
    ----------
    x, y : (n,) arrays
        Data, red crosses.
    hidden : (T, m, 2) array
        Slopes and biases of the m neurons at T steps.
    output : (T, m) array
        Output weights.
    steps : (T,) array, optional
        Numbers of the steps.
    losses : (S,) array, optional
        Positive losses from step 0 on, drawn on the right with the current step marked; `steps` lie in it.
    window : (low, high), optional
        The part of the line that is drawn.
    expected : sequence of float, optional
        Places to mark by dashed lines.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        To be written by `save_animation`.

    Raises
    ------
    ArgumentError
        If shapes do not fit or a number is not finite.
    """
    story = Story.checked(x, y, hidden, output, steps, window)
    marks = finite(expected, "expected", (None,)).tolist() if len(expected) else []
    figure = new_figure(6.4 if losses is not None else 4.2, 4.2)
    ratios = (1.0,) if losses is None else (1.7, 1.0)
    grid = figure.add_gridspec(2, len(ratios), width_ratios=ratios)
    above = figure.add_subplot(grid[0, 0])
    stage = Stage(story, above, figure.add_subplot(grid[1, 0], sharex=above), marks)
    dot = None
    if losses is not None:
        values = finite(losses, "losses", (None,))
        if story.steps.max() >= len(values) or (story.steps < 0).any():
            raise ArgumentError(f"steps must lie in 0..{len(values) - 1}, the steps of the losses")
        side = figure.add_subplot(grid[:, 1])
        draw_loss(side, values)
        (dot,) = side.plot(
            [], [], "o", color=ACCENT, markeredgecolor=INK, markersize=7, zorder=5, clip_on=False
        )

    def show(frame: int) -> list[Artist]:
        stage.show(frame)
        if dot is not None:
            step = int(story.steps[frame])
            dot.set_data([step], [values[step]])
        return []

    show(0)
    figure.draw_without_rendering()
    # Otherwise axes would be laid out anew, and tremble, in every frame.
    figure.set_layout_engine("none")
    return FuncAnimation(figure, show, frames=len(story.steps), interval=80, blit=False)


class _PaletteGif(AbstractMovieWriter):
    """Frames in one palette without dithering: a fraction of what the stock writer's files take."""

    def __init__(self, fps: int, colours: int, hold: int) -> None:
        super().__init__(fps=fps, metadata={})
        self._colours, self._hold = colours, hold
        self._images: list[Image.Image] = []

    def setup(self, fig: Figure, outfile: str | PathLike[str], dpi: float | None = None) -> None:
        super().setup(fig, str(outfile), dpi)
        self._images = []

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        from PIL import Image

        buffer = io.BytesIO()
        self.fig.savefig(buffer, **{**savefig_kwargs, "format": "rgba", "dpi": self.dpi})
        image = Image.frombuffer("RGBA", self.frame_size, buffer.getvalue(), "raw", "RGBA", 0, 1)
        self._images.append(image.convert("RGB"))

    def finish(self) -> None:
        from PIL import Image

        first, last = self._images[0], self._images[-1]
        both = Image.new("RGB", (first.width, 2 * first.height))
        both.paste(first, (0, 0))
        both.paste(last, (0, first.height))
        # Maximum coverage keeps rare colours, such as that of the crosses; the median cut blends them.
        palette = both.quantize(self._colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in self._images]
        pause = round(1000 / self.fps)
        frames[0].save(
            self.outfile,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[pause] * (len(frames) - 1) + [pause * self._hold],
            loop=0,
            optimize=True,
        )


def save_animation(
    animation: FuncAnimation,
    file: str | PathLike[str],
    *,
    fps: int = 12,
    dpi: int = 100,
    colours: int = 64,
    hold: int = 20,
) -> None:
    """Write an animation as a small GIF, all of it or nothing.

    Parameters
    ----------
    animation : matplotlib.animation.FuncAnimation
    file : path
        With the suffix ``.gif``.
    fps : int, default 12
        Frames in a second.
    dpi : int, default 100
        Pixels per inch.
    colours : int, default 64
        Size of the palette, from 2 to 256.
    hold : int, default 20
        For how many frames' time the last one is shown.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    PlotError
        If the suffix is another one or the file cannot be written.
    """
    target = Path(file)
    if target.suffix.lower() != ".gif":
        raise PlotError(f"cannot write an animation to {file}: its suffix must be .gif")
    as_count(fps, "fps"), as_count(dpi, "dpi"), as_count(hold, "hold")
    if as_count(colours, "colours", 2) > 256:
        raise ArgumentError(f"colours must be at most 256, got {colours}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        animation.save(part, writer=_PaletteGif(fps, colours, hold), dpi=dpi)
        part.replace(target)
    except OSError as error:
        raise PlotError(f"cannot write the animation {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
