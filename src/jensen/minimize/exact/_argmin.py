"""The function `argmin`: the global minimum of a convex network over its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jensen.certify import Verdict
from jensen.certify._arguments import check_seconds
from jensen.certify._progress import Clock
from jensen.errors import ArgumentError
from jensen.minimize._arguments import as_domain
from jensen.minimize.exact._cuts import Cuts
from jensen.minimize.exact._engine import Engine, Exact
from jensen.minimize.exact._lp import EpigraphLP
from jensen.minimize.exact._scaling import Scaled, scaled_network, scaled_oracle
from jensen.minimize.posed._icnn import LARGEST, packed_size, why_not_icnn
from jensen.minimize.posed._oracle import NetworkOracle
from jensen.minimize.posed._polyhedron import Polyhedron, polyhedron
from jensen.minimize.posed._problem import Problem, as_start, pose
from jensen.minimize.posed._result import Minimum
from jensen.network import Domain, ReLUNetwork
from jensen.network._numbers import as_floats, as_positive

if TYPE_CHECKING:
    from jensen.minimize.walk._walker import Walker

Method: TypeAlias = Literal["auto", "walk", "lp", "cuts"]
METHODS = ("auto", "walk", "lp", "cuts")


def argmin(
    f: Any,
    domain: Domain | None = None,
    x: Any = None,
    *,
    method: Method = "auto",
    gap: float = 1e-6,
    time_limit: float | None = None,
    assume_convex: bool = False,
    verdict: Verdict | None = None,
    start: Any = None,
    progress: Callable[[Minimum], None] | None = None,
) -> Minimum:
    """Minimise a convex network globally over its inputs, with a proven lower bound.

    Parameters
    ----------
    f : ReLUNetwork, torch.nn.Module, callable, path, or list of arrays
        A function of y, or of (x, y). ReLU networks are minimised in float64, as the networks that
        `as_network` makes of them; other torch functions are run in float64 on a copy of the module.
    domain : Domain, optional
        Of y; the whole space by default.
    x : array or tensor, optional
        The value of the first argument, without batch, for a `PICNN` or another torch function of (x, y).
    method : {"auto", "walk", "lp", "cuts"}
        "walk": from kink to kink of an input convex ReLU network, the fastest; "lp": the same problem as a
        linear programme, on HiGHS; "cuts": cutting planes, for every other convex function. "auto" takes the
        first that serves, and "lp" where rounding keeps the walk from its gap. For networks that are convex
        without nonnegative weights it walks first, although nothing is proved on the way, and cuts then prove
        the point that was reached, or improve it. The walk is compiled once per machine, which takes half a
        minute: "auto" takes linear programmes in its place until these have taken as long.
    gap : float, default 1e-6
        Ends "cuts" once value - lower_bound <= gap max(1, |value|); the others are exact, and report
        "inaccurate" where they miss it.
    time_limit : float, optional
        Seconds.
    assume_convex : bool, default False
        Minimise a function that is not known to be convex. If it is not convex, the point may be far from
        optimal and the lower bound wrong.
    verdict : Verdict, optional
        What `jensen.check` said about f on this domain (or on one that contains it), which saves
        the check. Without it, networks that are not convex by the signs of their weights are checked, for at
        most 10 seconds, or the time limit.
    start : (n,) array, optional
        Where to begin.
    progress : callable, optional
        Called now and then with the best `Minimum` so far.

    Returns
    -------
    Minimum
        Its status is "infeasible" where the domain is empty, and "unbounded", with a ray, where f has no
        minimum. An interrupt (Ctrl-C) gives the best so far.

    Raises
    ------
    NotConvexError
        If f is not known to be convex in y.
    ArgumentError
        If an argument makes no sense, or the method does not serve this function.
    DomainError, NetworkError, UnsupportedOperatorError, ModelFileError
        As `jensen.check` does.

    Notes
    -----
    The epigraph of an input convex network as linear programme: Amos, Xu and Kolter, "Input Convex Neural
    Networks", ICML 2017, section 3.

    Examples
    --------
    >>> import jensen
    >>> net = jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 2.0]]], [[-1.0, 1.0], [0.0]])
    >>> float(jensen.minimize.argmin(net, jensen.Box(-5, 5)).value)
    0.0
    """
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r:.80}")
    gap, where = as_positive(gap, "gap"), as_domain(domain)
    if progress is not None and not callable(progress):
        raise ArgumentError(f"progress must be a function of one Minimum, got {progress!r:.80}")
    clock = Clock(check_seconds(time_limit))
    given = None if start is None else as_floats(start, "start", ArgumentError)
    shape = None if given is None else given.shape
    problem = pose(f, where, x, assume_convex, verdict, shape, clock.left)
    point = as_start(given, problem.size)
    engine = make_engine(problem, polyhedron(where, problem.size), method)
    return engine.solve(None, problem.curvature, point, gap, clock, progress)


def make_engine(problem: Problem, inside: Polyhedron, method: Method) -> Engine:
    """Make what minimises a problem.

    Raises
    ------
    ArgumentError
        If the method does not serve it.
    """
    network = problem.network
    if network is None:
        if method in ("walk", "lp"):
            raise ArgumentError(
                f'method "{method}" is for ReLU networks, and this function is none; use "cuts"'
            )
        scaled = scaled_oracle(problem.oracle, inside)
        if scaled is None:
            return Cuts(problem.oracle, inside)
        return Scaled(Cuts(scaled[0], scaled[1].inside(inside)), scaled[1])
    small = packed_size(network) <= LARGEST
    icnn = not why_not_icnn(network)
    if method == "walk" or (method == "auto" and icnn and small):  # the walk minds no scale
        return _walker(network, inside) if method == "walk" else Exact(network, inside)
    units = None
    if (other := scaled_network(network, inside)) is not None:
        network, units = other
        inside = units.inside(inside)
    engine: Engine
    if method == "lp" or (method == "auto" and icnn and not problem.curvature):
        engine = EpigraphLP(network, inside)
    else:
        scout = _walker(network, inside, scout=True) if method == "auto" and not icnn and small else None
        oracle = problem.oracle if units is None else NetworkOracle(network)
        engine = Cuts(oracle, inside, scout)
    return engine if units is None else Scaled(engine, units)


def _walker(network: ReLUNetwork, inside: Polyhedron, scout: bool = False) -> Walker:
    from jensen.minimize.walk._walker import Walker  # compiled code: only loaded where it is used

    return Walker(network, inside, scout)
