"""Convex networks as LP and MPS files, and whether a solution lies on the graph of the network."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import highspy
import numpy as np
from numpy.typing import ArrayLike

from jensen.certify._highs import quiet_highs
from jensen.errors import ArgumentError, JensenError
from jensen.minimize._arguments import as_domain, as_tolerance
from jensen.minimize.exact._lp import Epigraph, linear_program
from jensen.minimize.posed._icnn import why_not_icnn
from jensen.minimize.posed._polyhedron import polyhedron
from jensen.minimize.posed._problem import pose
from jensen.network import Domain, WholeSpace
from jensen.network._numbers import as_floats, as_number

_FORMATS = (".lp", ".mps")


def write_lp(f: Any, domain: Domain | None, path: str | PathLike[str], x: Any = None) -> None:
    """Write the minimisation of an input convex ReLU network as a linear programme, for any solver.

    Columns ``y0, y1, ...`` are the network's inputs, ``h1_0, ...`` the activations of its hidden layers. The
    file's objective is the network's value, constant included. At a minimum the activations are those of the
    network, wherever they count; where other things in a problem push the objective up, they need not be: see
    `is_tight`.

    Parameters
    ----------
    f : ReLUNetwork, torch.nn.Module, path, or list of arrays
    domain : Domain or None
        The whole space if None.
    path : path
        Ending in ``.lp`` or ``.mps``. A file that exists is replaced.
    x : array or tensor, optional
        The first argument of a `PICNN`.

    Raises
    ------
    ArgumentError
        If the network is no ICNN (with the reason), has a quadratic term or is not piecewise linear, or the
        path ends otherwise.
    JensenError
        If the file cannot be written.
    """
    if not isinstance(path, (str, PathLike)):
        raise ArgumentError(f"path must be a file's path, got a {type(path).__name__}")
    file = Path(path)
    if file.suffix.lower() not in _FORMATS:
        raise ArgumentError(f"the file must end in {' or '.join(_FORMATS)}, got {file.name!r}")
    where = as_domain(domain)
    problem = pose(f, where, x, assume_convex=True)
    network = problem.network
    if network is None:
        raise ArgumentError("only piecewise-linear networks are linear programmes, and this one is smooth")
    if problem.curvature:
        raise ArgumentError("a network with a quadratic term is no linear programme; see to_cvxpy")
    if reason := why_not_icnn(network):
        raise ArgumentError(f"the network is no ICNN and its epigraph no linear programme: {reason}")
    highs = quiet_highs()
    highs.passModel(linear_program(Epigraph(network), polyhedron(where, network.input_size)))
    names = [f"y{i}" for i in range(network.input_size)]
    names += [f"h{k}_{i}" for k, width in enumerate(network.widths, 1) for i in range(width)]
    for column, name in enumerate(names):
        highs.passColName(column, name)
    try:  # HiGHS ends the process where it cannot open a file
        file.open("wb").close()
    except OSError as error:
        raise JensenError(f"cannot write {file}: {error.strerror}") from error
    if highs.writeModel(str(file)) == highspy.HighsStatus.kError:
        raise JensenError(f"HiGHS cannot write {file}")


def is_tight(f: Any, y: ArrayLike, value: float, x: Any = None, *, tolerance: float = 1e-6) -> bool:
    """Whether an epigraph variable is the network's value: ``|value - f(y)| <= tolerance max(1, |f(y)|)``.

    An epigraph says value >= f(y). Where everything else in a problem presses the value down, equality holds
    at the solution; where something pushes it up, the solution is one of a relaxation and says nothing
    of f.

    Parameters
    ----------
    f : ReLUNetwork, torch.nn.Module, callable, path, or list of arrays
    y : (n,) array
        The solution.
    value : float
        What the solver says of the network's output there.
    x : array or tensor, optional
        The first argument of a function of (x, y).
    tolerance : float, default 1e-6

    Returns
    -------
    bool

    Raises
    ------
    ArgumentError, NetworkError, UnsupportedOperatorError, ModelFileError
        If f cannot be read, or y does not fit.
    """
    point = as_floats(y, "y", ArgumentError)
    problem = pose(f, WholeSpace(), x, assume_convex=True, shape=point.shape)
    if point.size != problem.size or not np.isfinite(point).all():
        raise ArgumentError(f"y must hold {problem.size} finite numbers, as many as the network has inputs")
    if np.isnan(told := as_number(value)):
        raise ArgumentError(f"value must be a number, got {value!r:.80}")
    tolerance, flat = as_tolerance(tolerance), point.reshape(-1)
    real = problem.oracle.support(flat)[0] + 0.5 * problem.curvature * float(flat @ flat)
    return bool(abs(told - real) <= tolerance * max(1.0, abs(real)))
