"""Is a training loss convex in a block of parameters? Exactly where it is piecewise linear in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jensen.blocks._lowering import BlockNetwork, lower_block
from jensen.blocks._objective import LossLike, Objective, objective
from jensen.blocks._refuted import refuted, with_witness
from jensen.blocks._rules import analysed
from jensen.blocks._verdict import BlockVerdict, BlockWitness, Exact
from jensen.calculus import Curvature
from jensen.calculus._curvature import described
from jensen.certify import Verdict, Witness, check
from jensen.certify._arguments import check_seconds
from jensen.errors import CertificateError, DomainError, NetworkError, UnsupportedOperatorError
from jensen.network import Box, Domain, ReLUNetwork, WholeSpace
from jensen.verifier.enclosures import enclosures

_DIGITS = (0, 2, 4, 8, 16, 32)
"""Binary digits after the point to which a witness is rounded, fewest first."""
BlockDomain = Domain | Mapping[str, Domain | tuple[float, float]] | None


def check_block(
    model: nn.Module,
    loss: LossLike,
    data: Any,
    wrt: str | Sequence[str],
    domain: BlockDomain = None,
    time_limit: float | None = 60.0,
    *,
    exact: bool | None = None,
    seed: int = 0,
) -> BlockVerdict:
    """Decide whether a training loss is convex in some parameters, data and other parameters being held.

    In the weights and bias of one layer a ReLU network is a ReLU network, and so is the training loss if it
    is piecewise linear in the network's output. That network is built without rounding where float64 can hold
    its weights (means become sums, with the number of samples in front), and `jensen.check` decides. Smooth
    losses, and several layers at once, are judged by the rules of `jensen.curvature` and refuted by
    the search of `jensen.refute`. What the rules prove goes to `jensen.check` only if exact=True.

    Parameters
    ----------
    model : torch.nn.Module
        Any that `torch.export` traces, in eval mode and float64. `model(*data[:-1])` is its output.
    loss : callable, str or None
        A function of (output, targets), or one of "absolute", "squared", "hinge", "logistic", "pinball",
        "epsilon_insensitive", "multiclass_hinge", "cross_entropy". None: `model(*data)` is the loss.
    data : sequence of tensors or arrays
        The model's inputs, with all samples, and then the targets.
    wrt : str or sequence of str
        Dotted names of parameters, or of modules for all their parameters.
    domain : Domain or mapping, optional
        Of the block's entries, one parameter after the other in the order of `wrt`; or from parameters to
        (low, high) or a `jensen.Box` each. The whole space by default.
    time_limit : float, optional
        Seconds after which the answer is "unknown".
    exact : bool, optional
        True: convexity must come with a certificate where the loss is piecewise linear, even if rules prove
        it already. False: no certificate is made.
    seed : int
        Of the search for a violation.

    Returns
    -------
    BlockVerdict

    Raises
    ------
    ArgumentError, DomainError
        If an argument makes no sense.
    NetworkError
        If torch cannot trace the loss, or it is not one number.
    UnsupportedOperatorError
        If it is random.

    Notes
    -----
    Functions that are convex in each of several blocks are called multi-convex (Xu and Yin, "A block
    coordinate descent method for regularized multiconvex optimization", 2013).

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> data = torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 2.0])
    >>> check_block(model, "absolute", data, "2").kind
    'convex'
    """
    posed = objective(model, loss, data)
    return decide(posed, posed.chosen(wrt), domain, check_seconds(time_limit), exact, seed)


def decide(
    posed: Objective,
    block: Sequence[str],
    domain: BlockDomain = None,
    time_limit: float | None = None,
    exact: bool | None = None,
    seed: int = 0,
) -> BlockVerdict:
    """Decide for a loss that was traced before; see `check_block`."""
    began = perf_counter()
    where = as_block_domain(posed, block, domain)
    found = described(analysed(posed.program, block, posed.values, where), tuple(block))
    if not _proves(found):
        # Written out, losses of which the calculus knows nothing fall apart into what it knows.
        other = described(analysed(posed.elementary, block, posed.values, where), tuple(block))
        found = other if _proves(other) else found
    by_rules = _proves(found)
    base = BlockVerdict("unknown", tuple(block), where, "", found, None, None, None, "", 0.0)
    if by_rules:
        own = f"by registered rules for {', '.join(found.registered)}" if found.registered else ""
        base = replace(base, kind="convex", proof="rules", reason=own)
    if found.kind == "constant" or (by_rules and not exact):
        return _timed(base, began)
    try:
        lowered = lower_block(posed, block)
    except (UnsupportedOperatorError, NetworkError) as refusal:
        base = base if by_rules else refuted(base, posed, where, time_limit, seed, refusal)
        return _timed(base, began)
    left = None if time_limit is None else max(time_limit - (perf_counter() - began), 0.01)
    verdict = check(lowered.network, where, time_limit=left, exact=exact, seed=seed)
    base = replace(base, verdict=verdict, network=lowered)
    return _timed(_judged(base, posed, where, lowered, verdict), began)


def _timed(verdict: BlockVerdict, began: float) -> BlockVerdict:
    return replace(verdict, seconds=perf_counter() - began)


def as_block_domain(posed: Objective, block: Sequence[str], domain: BlockDomain) -> Domain:
    """Read a domain of a block's entries.

    Raises
    ------
    DomainError
        If it does not fit.
    """
    size = posed.size(block)
    if domain is None:
        return WholeSpace()
    if isinstance(domain, Domain):
        domain.bounds(size)
        return domain
    if not isinstance(domain, Mapping) or not set(domain) <= set(block):
        raise DomainError(
            f"domain must be a jensen domain, or map parameters among {', '.join(block)} to (low, high), "
            f"got {domain!r:.80}"
        )
    low, high = [], []
    for name in block:
        part = domain.get(name, (-np.inf, np.inf))
        if not isinstance(part, Domain):
            if not isinstance(part, Sequence) or len(part) != 2:
                raise DomainError(f"a parameter's domain is a pair (low, high), got {part!r:.80}")
            part = Box(*part)
        if len(part.inequalities(posed.values[name].size)[0]):
            raise DomainError(f"the domain of {name} must be a box; give a polytope of the whole block")
        ends = part.bounds(posed.values[name].size)
        low.append(ends[0])
        high.append(ends[1])
    return Box(np.concatenate(low), np.concatenate(high))


def _proves(found: Curvature) -> bool:
    return found.kind in ("constant", "affine", "convex") and not found.conditions


def _judged(
    base: BlockVerdict, posed: Objective, where: Domain, lowered: BlockNetwork, verdict: Verdict
) -> BlockVerdict:
    """Turn what was found of the network into what is known of the loss."""
    if verdict.kind in ("convex", "convex_float"):
        if not lowered.exact:
            if base.kind == "convex":
                return base
            return replace(base, kind="convex_float", proof="float", reason="; ".join(lowered.notes))
        if verdict.certificate is not None:
            return replace(base, kind="convex", proof="certificate")
        return base if base.kind == "convex" else replace(base, kind="convex_float", proof="float")
    if verdict.witness is None:
        return base if base.kind == "convex" else replace(base, reason=verdict.reason)
    tidy = _tidied(lowered.network, where, verdict.witness)
    points = [_split(posed, base.block, point) for point in (tidy.x, tidy.y)]
    if lowered.exact:
        values = [lowered.scale * v for v in (tidy.fx, tidy.fy, tidy.fm)]
        return with_witness(base, BlockWitness(points[0], points[1], tidy.t, *values))
    witness = _enclosed(posed, points[0], points[1], tidy.t)
    if witness is None:
        reason = "the network with its constants rounded is not convex, but its violation is within rounding"
        return base if base.kind == "convex" else replace(base, reason=reason)
    return with_witness(base, witness)


def _split(posed: Objective, block: Sequence[str], point: Sequence[Fraction]) -> Exact:
    array: NDArray[Any] = np.empty(len(point), dtype=object)
    array[:] = list(point)
    return posed.split(block, array)


def _tidied(network: ReLUNetwork, where: Domain, witness: Witness) -> Witness:
    """Round a witness to few digits that keep at least half of the violation, with the middle halfway."""
    x, y, m = (np.array([float(v) for v in p]) for p in (witness.x, witness.y, witness.middle))
    reach = min(float(np.abs(m - x).max()), float(np.abs(m - y).max()))
    step = (y - x) / max(float(np.abs(y - x).max()), 1e-300) * reach
    for digits in _DIGITS:
        a, b = (np.round(v * 2.0**digits) / 2.0**digits for v in (m - step, m + step))
        points = [[Fraction(float(v)) for v in end] for end in (a, b)]
        if not all(where.contains(point) for point in points):
            continue
        try:
            found = Witness.evaluate(network, points[0], points[1])
        except ValueError:
            continue
        if found.violation * 2 >= witness.violation:
            return found
    return witness


def _enclosed(posed: Objective, x: Exact, y: Exact, t: Fraction) -> BlockWitness | None:
    """Prove a violation of the loss itself, nothing of it rounded, or return None."""
    middle = {name: t * v + (1 - t) * y[name] for name, v in x.items()}
    try:
        (_, fx), (_, fy), (fm, _) = enclosures(
            posed.elementary, [_point(posed, changed) for changed in (x, y, middle)], 0
        )
    except CertificateError:
        return None
    return BlockWitness(x, y, t, fx, fy, fm) if fm > t * fx + (1 - t) * fy else None


def _point(posed: Objective, changed: Exact) -> list[Fraction]:
    """List the entries of all parameters, some of them changed."""
    return [
        Fraction(v) if isinstance(v, float) else v
        for leaf in posed.elementary.leaves
        for v in np.asarray(changed.get(leaf.label, posed.values[leaf.label])).ravel().tolist()
    ]
