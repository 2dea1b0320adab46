"""Pictures of networks and verdicts; every function returns a matplotlib Figure and none touches pyplot."""

from jensen.plot._file import PlotError, check_suffix, save_figure

__all__ = ["PlotError", "check_suffix", "save_figure"]
