"""What is minimised: a network or function of y alone, and how it is known to be convex."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from jensen.certify import Verdict, check
from jensen.errors import ArgumentError, DomainError, JensenError, NotConvexError, UnsupportedOperatorError
from jensen.minimize.posed._dense_network import asymptote, dense_network
from jensen.minimize.posed._icnn import why_not_icnn
from jensen.minimize.posed._oracle import NetworkOracle, Oracle, TorchOracle
from jensen.network import (
    Box,
    Domain,
    FloatArray,
    Lowered,
    Polytope,
    ReLUNetwork,
    WholeSpace,
    as_network,
)

CHECK_SECONDS = 10.0
"""How long `check` may take where nothing else tells that a function is convex."""


@dataclass(frozen=True)
class Problem:
    """A convex function of y on a domain.

    Attributes
    ----------
    network : ReLUNetwork or None
        The function, less its quadratic term, if that is piecewise linear.
    curvature : float
        mu of the term (mu/2) |y|^2 that comes on top of the network.
    oracle : Oracle
        The function, less the same term.
    shape : tuple of int
        Shape of one y.
    """

    network: ReLUNetwork | None
    curvature: float
    oracle: Oracle
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries of one y."""
        return self.oracle.size


def pose(
    f: Any,
    domain: Domain,
    x: Any = None,
    assume_convex: bool = False,
    verdict: Verdict | None = None,
    shape: tuple[int, ...] | None = None,
    seconds: float = CHECK_SECONDS,
) -> Problem:
    """Read a function and make sure that it is convex.

    Parameters
    ----------
    f : ReLUNetwork, torch.nn.Module, callable, path, or whatever `as_network` takes
    domain : Domain
        Where it must be convex.
    x : array or tensor, optional
        The first argument of a function of (x, y), held fixed.
    assume_convex : bool, default False
        Take the caller's word.
    verdict : Verdict, optional
        What `jensen.check` said about f.
    shape : tuple of int, optional
        Of one y, where neither f nor the domain tells.
    seconds : float, default 10.0
        How long `jensen.check` may take where nothing else tells that f is convex.

    Raises
    ------
    NotConvexError
        If f is not known to be convex in y.
    ArgumentError, NetworkError, UnsupportedOperatorError, ModelFileError, DomainError
        If an argument makes no sense.
    """
    if verdict is not None and not isinstance(verdict, Verdict):
        raise ArgumentError(f"verdict must be what jensen.check returned, got a {type(verdict).__name__}")
    if _is_torch_function(f):
        problem, known = _of_torch(f, domain, x, shape)
    elif x is not None:
        raise ArgumentError(
            "x fixes the first argument of a torch function of (x, y); this model has no such"
        )
    else:
        network = as_network(f, input_shape=shape).network
        problem, known = Problem(network, 0.0, NetworkOracle(network), network.input_shape), False
    if not (assume_convex or known):
        _require_convex(f, problem, domain, x, verdict, min(seconds, CHECK_SECONDS))
    return problem


def _is_torch_function(f: Any) -> bool:
    """Whether f is called on tensors, rather than read by `as_network`."""
    if (torch := sys.modules.get("torch")) is None or isinstance(f, (ReLUNetwork, Lowered)):
        return False
    return callable(f) and not isinstance(f, torch.export.ExportedProgram)


def _of_torch(f: Any, domain: Domain, x: Any, shape: tuple[int, ...] | None) -> tuple[Problem, bool]:
    """Read a torch function; tell whether it is convex by construction."""
    import torch

    from jensen.network._torch import known_shape
    from jensen.nn import PICNN, Architecture

    known = False
    if isinstance(f, PICNN):
        if x is None:
            raise ArgumentError("a PICNN is a function of x and y: pass x")
        known = 1 in f.convex_arguments
        like = next(f.parameters())
        f, x = f.at(as_fixed(x).to(like).reshape(-1)), None
    elif isinstance(f, Architecture):
        known = f.convex_arguments == (0,)
    if x is None and isinstance(f, torch.nn.Module):
        curvature = f.strong_convexity if isinstance(f, Architecture) else 0.0
        try:
            given = shape if shape is not None or known_shape(f) is not None else _shape_of(domain)
            network = dense_network(f) or as_network(_without_quadratic(f), input_shape=given).network
        except UnsupportedOperatorError:
            network = None  # smooth: it is minimised by its values and gradients
        if network is not None:
            return Problem(network, curvature, NetworkOracle(network), network.input_shape), known
    one = shape or _shape(f if x is None else None, domain)
    oracle = TorchOracle(_in_double(f, x), one, known, asymptote(f) if x is None else None)
    return Problem(None, 0.0, oracle, one), known


def as_fixed(x: Any) -> Any:
    """Read the argument x that is held fixed as a tensor.

    Raises
    ------
    ArgumentError
        If it holds anything else than finite real numbers.
    """
    import torch

    try:
        fixed = torch.as_tensor(x).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ArgumentError(f"x is no tensor or array of numbers: {error}") from error
    if fixed.is_complex():
        raise ArgumentError("x holds complex numbers; it must hold real ones")
    if not torch.isfinite(fixed).all():
        raise ArgumentError("x must be finite, and holds NaN or infinity")
    return fixed


def _without_quadratic(f: Any) -> Any:
    if getattr(f, "quadratic", None) is None:
        return f
    twin = copy.copy(f)
    twin._modules = {**f._modules, "quadratic": None}
    return twin


def _shape(f: Any, domain: Domain) -> tuple[int, ...]:
    from jensen.network._torch import known_shape

    if f is not None and hasattr(f, "modules") and (own := known_shape(f)) is not None:
        return own
    if (told := _shape_of(domain)) is not None:
        return told
    raise ArgumentError("the number of variables is known neither from f nor from the domain: pass start")


def _shape_of(domain: Domain) -> tuple[int, ...] | None:
    """Tell the shape of a vector that a domain is made for; None if it takes any."""
    if isinstance(domain, Box):
        sizes = [side.size for side in (domain.lo, domain.hi) if side.ndim == 1]
        return (sizes[0],) if sizes else None
    return (int(domain.A.shape[1]),) if isinstance(domain, Polytope) else None


def _in_double(f: Any, x: Any) -> Any:
    """Make a function of y alone that runs in float64; a module is copied first."""
    import torch

    g = copy.deepcopy(f).double().eval() if isinstance(f, torch.nn.Module) else f
    if isinstance(g, torch.nn.Module):
        g.requires_grad_(False)
    if x is None:
        return g
    fixed = as_fixed(x)
    fixed = fixed.double() if fixed.is_floating_point() else fixed
    batch = fixed.unsqueeze(0)
    return lambda y: g(batch, y)


def _require_convex(
    f: Any, problem: Problem, domain: Domain, x: Any, verdict: Verdict | None, seconds: float
) -> None:
    network = problem.network
    if network is not None and not why_not_icnn(network):
        return
    if verdict is not None:
        _require_verdict(f if x is None else None, problem, domain, verdict)
        return
    advice = "; if you know that it is convex, pass assume_convex=True"
    try:
        if network is not None:
            found = check(network, domain, time_limit=seconds, exact=False)
        elif x is not None:
            found = check(f, argument=1, time_limit=seconds, exact=False)
        else:
            found = check(f, domain, time_limit=seconds, exact=False, input_shape=problem.shape)
    except DomainError:
        raise
    except JensenError as error:
        raise NotConvexError(
            f"f is not known to be convex in y, and cannot be checked: {error}{advice}"
        ) from error
    if found.kind == "not_convex":
        raise NotConvexError(
            "f is not convex: jensen.check finds points that violate Jensen's inequality, so that a local "
            "minimum need not be a global one"
        )
    if found.kind == "unknown":
        raise NotConvexError(
            f"f is not known to be convex in y: jensen.check ends with {found.reason!r} within "
            f"{seconds:.3g} s; give it more time and pass its answer as verdict"
            f"{advice}"
        )


def _require_verdict(f: Any, problem: Problem, domain: Domain, verdict: Verdict) -> None:
    """Refuse a verdict about something else; f is None for functions of (x, y), not compared."""
    if verdict.kind not in ("convex", "convex_float", "convex_rules"):
        raise NotConvexError(f'the verdict is "{verdict.kind}": it does not say that f is convex')
    if verdict.wrt is not None and len(verdict.wrt) < problem.size:
        raise NotConvexError(f"the verdict is about the inputs {verdict.wrt} alone, not about all of y")
    if isinstance(verdict.subject, ReLUNetwork):
        if problem.network is None or verdict.subject.digest != problem.network.digest:
            raise NotConvexError("the verdict is about another network than f")
    elif verdict.input_size != problem.size:
        raise NotConvexError(f"the verdict is about {verdict.input_size} inputs, and y has {problem.size}")
    elif f is not None and verdict.subject.digest != _program_digest(f, problem.shape):
        raise NotConvexError("the verdict is about another function than f")
    if not _covers(verdict.domain, domain, problem.size):
        raise NotConvexError("the verdict is about another domain, which is not known to contain this one")


def _program_digest(f: Any, shape: tuple[int, ...]) -> str:
    from jensen.program import read_program  # here, for it needs torch

    return read_program(f, shape).digest


def _covers(known: Domain, asked: Domain, d: int) -> bool:
    if isinstance(known, WholeSpace) or known.to_dict() == asked.to_dict():
        return True
    if not isinstance(known, Box):
        return False
    (low, high), (lo, hi) = known.bounds(d), asked.bounds(d)
    return bool((low <= lo).all() and (hi <= high).all())


def as_start(start: FloatArray | None, size: int) -> FloatArray | None:
    """Read a starting point.

    Raises
    ------
    ArgumentError
        If it is no vector of finite numbers of this size.
    """
    if start is None:
        return None
    point = np.array(start).reshape(-1)
    if point.size != size or not np.isfinite(point).all():
        raise ArgumentError(f"start must hold {size} finite numbers, got {point.size}")
    return point
