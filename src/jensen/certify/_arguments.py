"""What `check` accepts."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from jensen.errors import ArgumentError, DomainError
from jensen.network import Domain

_FOREVER = 1e15


def check_choices(
    domain: Any, method: Any, n_jobs: Any, seed: Any, exact: Any, resume: Any, progress: Any
) -> None:
    """Refuse arguments that make no sense."""
    if domain is not None and not isinstance(domain, Domain):
        raise DomainError(
            f"a {type(domain).__name__} is no domain: pass a jensen.Box, jensen.Polytope or jensen.WholeSpace"
        )
    if not isinstance(method, str) or method not in ("auto", "branch", "enumerate"):
        raise ArgumentError(f"method must be 'auto', 'branch' or 'enumerate', got {method!r:.80}")
    if n_jobs is not None and not (_is_whole(n_jobs) and n_jobs != 0):
        raise ArgumentError(f"n_jobs must be a number of processes, -1 for all cores, got {n_jobs!r:.80}")
    if not (_is_whole(seed) and seed >= 0):
        raise ArgumentError(f"seed must be an integer of at least 0, got {seed!r:.80}")
    if exact is not None and not isinstance(exact, bool):
        raise ArgumentError(f"exact must be True, False or None, got {exact!r:.80}")
    if resume is not None and (exact is False or method == "enumerate"):
        raise ArgumentError(
            "only branch and bound with exact proofs can be resumed: leave out exact and method"
        )
    if progress is not None and not callable(progress):
        raise ArgumentError(f"progress must be a function of one Progress, got {progress!r:.80}")


def check_seconds(limit: Any) -> float | None:
    """Return a time limit; None if there is none."""
    if limit is None:
        return None
    is_number = isinstance(limit, Real) and not isinstance(limit, bool)
    if not is_number or not limit >= 0:
        raise ArgumentError(f"time_limit must be a number of seconds, at least 0, or None; got {limit!r:.80}")
    return float(limit) if limit < _FOREVER else None


def check_wrt(wrt: Sequence[int] | None, d: int) -> tuple[int, ...] | None:
    """Return the inputs that move, in order; None for all."""
    if wrt is None:
        return None
    chosen = set()
    try:
        for j in wrt:
            if not _is_whole(j):
                raise DomainError(f"wrt must list numbers of inputs, such as (0, 2); it holds {j!r:.80}")
            if not 0 <= j < d:
                raise DomainError(f"wrt names input {j if abs(j) < _FOREVER else 'huge'}, of 0..{d - 1}")
            chosen.add(int(j))
    except TypeError as error:
        raise DomainError(f"wrt must list numbers of inputs, such as (0, 2); got {wrt!r:.80}") from error
    if not chosen:
        raise DomainError("wrt is empty: name at least one input")
    return tuple(sorted(chosen))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
