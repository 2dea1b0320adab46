"""Pictures of networks and verdicts; every function returns a matplotlib Figure and none touches pyplot."""

from jensen.plot._file import PlotError, check_suffix, save_figure
from jensen.plot._jumps import plot_jumps
from jensen.plot._regions import plot_regions
from jensen.plot._slice import Slice
from jensen.plot._verdict import plot_verdict
from jensen.plot._witness import plot_witness

__all__ = [
    "PlotError",
    "Slice",
    "check_suffix",
    "plot_jumps",
    "plot_regions",
    "plot_verdict",
    "plot_witness",
    "save_figure",
]
