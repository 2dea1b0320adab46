"""Pictures; every function returns a matplotlib Figure or an animation and none touches pyplot.

Networks and verdicts, and the landscape that two-layer networks are trained in. Names are imported from
their files when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.plot._activation_patterns import plot_activation_patterns
    from jensen.plot._animate import animate_neurons, save_animation
    from jensen.plot._convex_versus_descent import plot_convex_versus_descent
    from jensen.plot._file import PlotError, check_suffix, save_figure
    from jensen.plot._jumps import plot_jumps
    from jensen.plot._loss_surface import plot_loss_surface
    from jensen.plot._neurons import plot_neurons
    from jensen.plot._pattern_bound import plot_pattern_bound
    from jensen.plot._pattern_counts import plot_pattern_counts
    from jensen.plot._regimes import plot_regimes
    from jensen.plot._regions import plot_regions
    from jensen.plot._slice import Slice
    from jensen.plot._verdict import plot_verdict
    from jensen.plot._witness import plot_witness

_HOMES = {
    "_activation_patterns": ("plot_activation_patterns",),
    "_animate": ("animate_neurons", "save_animation"),
    "_convex_versus_descent": ("plot_convex_versus_descent",),
    "_file": ("PlotError", "check_suffix", "save_figure"),
    "_jumps": ("plot_jumps",),
    "_loss_surface": ("plot_loss_surface",),
    "_neurons": ("plot_neurons",),
    "_pattern_bound": ("plot_pattern_bound",),
    "_pattern_counts": ("plot_pattern_counts",),
    "_regimes": ("plot_regimes",),
    "_regions": ("plot_regions",),
    "_slice": ("Slice",),
    "_verdict": ("plot_verdict",),
    "_witness": ("plot_witness",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PlotError",
    "Slice",
    "animate_neurons",
    "check_suffix",
    "plot_activation_patterns",
    "plot_convex_versus_descent",
    "plot_jumps",
    "plot_loss_surface",
    "plot_neurons",
    "plot_pattern_bound",
    "plot_pattern_counts",
    "plot_regimes",
    "plot_regions",
    "plot_verdict",
    "plot_witness",
    "save_animation",
    "save_figure",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name in _HOME_OF:
        return getattr(import_module(f"jensen.plot.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'jensen.plot' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
