"""Writing a figure to a file: the suffix chooses the format, and a torn file is never left behind."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from jensen.errors import JensenError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


class PlotError(JensenError, ValueError):
    """A picture cannot be drawn or written: an unknown suffix, a missing folder, a window without area."""


def check_suffix(file: str | PathLike[str]) -> str:
    """Return the format that a file's suffix chooses: "png", "svg" or "pdf".

    Raises
    ------
    PlotError
        If the suffix is another one.
    """
    suffix = Path(file).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise PlotError(f"cannot write a picture to {file}: its suffix must be one of {known}")
    return suffix[1:]


def save_figure(figure: Figure, file: str | PathLike[str], dpi: int = 160) -> None:
    """Write a figure to a file, all of it or nothing.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    file : path
        The suffix chooses the format: ``.png``, ``.svg`` or ``.pdf``.
    dpi : int, default 160
        Pixels per inch of a PNG.

    Raises
    ------
    PlotError
        If the suffix is unknown or the file cannot be written.
    """
    from matplotlib import rc_context

    kind = check_suffix(file)
    target = Path(file)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    # Without dates and random identifiers, the same figure gives the same file.
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    try:
        with rc_context({"svg.hashsalt": "jensen"}):
            figure.savefig(part, format=kind, dpi=dpi, metadata=metadata)
        part.replace(target)
    except OSError as error:
        raise PlotError(f"cannot write the picture {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
