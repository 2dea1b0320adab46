"""Which complete stages decide what the cheap ones leave open, and for how long each is tried."""

from __future__ import annotations

from importlib.util import find_spec
from math import ceil, comb, inf
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from jensen.network import Domain, ReLUNetwork

Method: TypeAlias = Literal["auto", "branch", "enumerate"]

REGIONS_PER_SECOND = 2e5
"""What the enumeration reaches on one core, roughly; only used to choose between complete stages."""
TINY_COUNT = 400
"""Regions up to which enumeration in exact arithmetic is the quickest complete stage."""
RATIONAL_CELLS, ASKED_CELLS = 1_000_000, 10_000_000
"""Matrix entries up to which certificates are made; where they are asked for. Beyond, signs must do."""
BOX_CORNERS, CORNERS = 11, 1 << 15
"""Inputs with bounds up to which the corners of a box, 2 to that power, are found in a second; and how many
corners a polytope may have."""
COMPILING = 15.0
"""Seconds that the enumeration's compilation takes, once per machine."""


def complete_stages(
    method: Method, network: ReLUNetwork, domain: Domain
) -> list[tuple[Literal["branch", "enumerate"], float]]:
    """Choose what decides the rest, as stages and their seconds; the last one has no limit of its own."""
    if method == "branch":
        return [("branch", inf)]
    if method == "enumerate" or is_easily_enumerated(network, domain):
        return [("enumerate", inf)]
    if has_many_corners(domain, network.input_size):
        return [("branch", inf)]
    seconds = regions_at_most(network) / REGIONS_PER_SECOND
    if seconds > 3600:
        return [("branch", inf)]
    return [
        ("branch", seconds / 2 + (1.0 if is_compiled() else COMPILING)),
        ("enumerate", 4 * seconds + 5 + COMPILING),
        ("branch", inf),
    ]


def is_easily_enumerated(network: ReLUNetwork, domain: Domain) -> bool:
    """Whether walking all frontiers costs next to nothing."""
    if has_many_corners(domain, network.input_size):
        return False
    regions = regions_at_most(network)
    return regions <= TINY_COUNT or (is_compiled() and regions < 0.5 * REGIONS_PER_SECOND)


def has_many_corners(domain: Domain, d: int) -> bool:
    """Whether the domain alone, before any neuron cuts it, is too much for double description."""
    lo, hi = domain.bounds(d)
    rows = len(domain.inequalities(d)[0])
    if not rows:
        return int((np.isfinite(lo) | np.isfinite(hi)).sum()) > BOX_CORNERS
    facets = rows + int(np.isfinite(lo).sum() + np.isfinite(hi).sum())
    # The upper bound theorem (McMullen, 1970).
    most = sum(comb(facets - half, facets - d) for half in (ceil(d / 2), d // 2 + 1) if facets >= d)
    return most > CORNERS


def is_easily_proved(network: ReLUNetwork, asked: bool = False) -> bool:
    """Whether the network's matrices, written out, are small enough for rational arithmetic.

    That takes some microseconds and a hundred bytes an entry: more of them if a certificate was asked for.
    """
    sizes = [network.input_size, *network.widths]
    cells = sum(layer.size * sizes[k] for layer in network.layers for k in layer.weights)
    return cells <= (ASKED_CELLS if asked else RATIONAL_CELLS)


def in_exact_arithmetic(network: ReLUNetwork, limit: float) -> bool:
    """Whether to enumerate without compiled code: few regions, or no time to compile."""
    return regions_at_most(network) <= TINY_COUNT or (limit < COMPILING and not is_compiled())


def regions_at_most(network: ReLUNetwork) -> float:
    """Count the regions of as many hyperplanes in general position: a guess at the network's."""
    n, d = network.n_neurons, network.input_size
    d = min(d, network.widths[0] if network.widths else d)
    return float(sum(comb(n, k) for k in range(min(n, d) + 1))) if n < 500 or d < 8 else inf


def is_compiled() -> bool:
    """Whether the enumeration's compiled code lies ready, found out without loading it."""
    spec = find_spec("jensen.geometry")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return any(True for folder in folders for _ in Path(folder, "__pycache__").glob("*.nbi"))
