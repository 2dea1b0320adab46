"""Convex networks as CVXPY expressions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jensen.certify import Verdict
from jensen.errors import ArgumentError, JensenError, NotConvexError
from jensen.geometry import regions
from jensen.minimize.export._files import is_tight
from jensen.minimize.posed._dense_network import skeleton
from jensen.minimize.posed._icnn import why_not_icnn
from jensen.minimize.posed._problem import as_fixed, pose
from jensen.network import Matrix, ReLUNetwork, WholeSpace

if TYPE_CHECKING:
    import cvxpy

Written: TypeAlias = Callable[[Any, list[Any]], Any]
MAX_INPUTS = 6
"""Networks that are no ICNNs are written as the maximum of their pieces in up to this many inputs."""


class CvxpyNetwork:
    """A convex network within CVXPY; made by `to_cvxpy`.

    Attributes
    ----------
    expression : cvxpy.Expression
        The network's value, for use in any problem that presses it down.
    constraints : list of cvxpy.Constraint
        They belong into the problem as well. Empty unless the network is parametric, or has ELUs or CELUs,
        which are written with variables of their own.
    """

    def __init__(
        self,
        f: Any,
        y: Any,
        x: Any,
        expression: Any,
        constraints: list[Any],
        update: Callable[[Any], None] | None = None,
    ) -> None:
        self.expression, self.constraints = expression, constraints
        self._f, self._y, self._x, self._update = f, y, x, update

    def set_x(self, x: Any) -> None:
        """Move a parametric network to another x; the compiled problem stays.

        Raises
        ------
        ArgumentError
            If the network is not parametric, or x does not fit.
        """
        if self._update is None:
            raise ArgumentError("only a network made with parametric=True can move to another x")
        self._update(x)
        self._x = x

    def is_tight(self, tolerance: float = 1e-6) -> bool:
        """Whether, at the solution that y holds, the expression is the network's value; see `is_tight`.

        Raises
        ------
        ArgumentError
            If y has no value yet.
        """
        if self._y.value is None or self.expression.value is None:
            raise ArgumentError("y has no value: solve the problem first")
        value = float(np.asarray(self.expression.value).reshape(-1)[0])
        return is_tight(self._f, np.asarray(self._y.value), value, self._x, tolerance=tolerance)


def to_cvxpy(
    f: Any,
    y: cvxpy.Expression,
    x: Any = None,
    *,
    parametric: bool = False,
    assume_convex: bool = False,
    verdict: Verdict | None = None,
) -> CvxpyNetwork:
    """Write a convex network as a CVXPY expression in y, exactly.

    ReLU networks become maxima of affine functions, softplus a logistic function (exponential cones), ELU and
    CELU exponentials of variables of their own, a quadratic term a sum of squares. The expression obeys
    CVXPY's rules, so that CVXPY refuses problems that push it up. Networks that are convex without
    nonnegative weights are written as the maximum of their affine pieces, in up to 6 inputs.

    Parameters
    ----------
    f : ReLUNetwork, torch.nn.Module, path, or list of arrays
        A function of y, or a `PICNN` of (x, y).
    y : cvxpy.Variable or affine expression
        Of shape (n,).
    x : array or tensor, optional
        The first argument of a `PICNN`.
    parametric : bool, default False
        Let x of a `PICNN` change by `CvxpyNetwork.set_x`: weights are CVXPY parameters and activations
        variables, as disciplined parametrised programming wants it. The expression is then affine, CVXPY
        cannot tell when a problem pushes it up, and `CvxpyNetwork.is_tight` should be asked after each solve.
    assume_convex, verdict
        As for `argmin`.

    Returns
    -------
    CvxpyNetwork

    Raises
    ------
    NotConvexError
        If f is not known to be convex in y.
    ArgumentError
        If the network cannot be written, with the reason; or an argument makes no sense.
    ModuleNotFoundError
        If CVXPY is not installed.
    """
    cvxpy = _cvxpy()
    if not isinstance(y, cvxpy.Expression) or y.ndim != 1 or not y.is_affine():
        raise ArgumentError("y must be an affine CVXPY expression, such as cvxpy.Variable(n), of shape (n,)")
    if parametric:
        return _parametric(f, y, x)
    smooth = _smooth(f, x)
    if smooth is not None:
        network, curvature, activation = smooth
    else:
        problem = pose(f, WholeSpace(), x, assume_convex, verdict)
        if problem.network is None:
            raise ArgumentError("a smooth function that is no FICNN or PICNN cannot be written for CVXPY")
        network, curvature, activation = problem.network, problem.curvature, None
        if reason := why_not_icnn(network):
            return CvxpyNetwork(f, y, x, _pieces(network, y, reason), [])
    _check_size(y, network)
    constraints: list[Any] = []
    expression = _nested(network, y, activation, constraints)
    if curvature:
        expression = expression + (curvature / 2) * cvxpy.sum_squares(y)
    return CvxpyNetwork(f, y, x, expression, constraints)


def _cvxpy() -> Any:
    """Import CVXPY, an optional dependency whose atoms carry no types."""
    return import_module("cvxpy")


def _check_size(y: Any, network: ReLUNetwork) -> None:
    if y.shape[0] != network.input_size:
        raise ArgumentError(f"y has {y.shape[0]} entries, and the network {network.input_size} inputs")


def _smooth(f: Any, x: Any) -> tuple[ReLUNetwork, float, Written] | None:
    """Read an architecture of jensen.nn with a smooth activation; None for anything else."""
    import sys

    if "torch" not in sys.modules:
        return None
    from jensen.nn import FICNN, PICNN

    if isinstance(f, PICNN):
        if x is None:
            raise ArgumentError("a PICNN is a function of x and y: pass x")
        if not f.convex_arguments:
            raise NotConvexError("the constraints of this PICNN have been removed")
        f = f.at(as_fixed(x).to(next(f.parameters())).reshape(-1))
    if type(f) is not FICNN or f.activation.piecewise_linear:
        return None
    if not f.convex_arguments:
        raise NotConvexError("the constraints of this FICNN have been removed")
    return skeleton(f), f.strong_convexity, _written(f.activation)


def _written(activation: Any) -> Written:
    """Write an activation for CVXPY: a function of z, and of a list that takes constraints."""
    cvxpy = _cvxpy()
    kind = type(activation).__name__
    if kind == "ReLU":
        return lambda z, constraints: cvxpy.pos(z)
    if kind == "LeakyReLU":
        return lambda z, constraints: cvxpy.maximum(z, activation.slope * z)
    if kind == "Softplus":
        return lambda z, constraints: cvxpy.logistic(activation.beta * z) / activation.beta
    if kind == "SquaredReLU":
        return lambda z, constraints: cvxpy.square(cvxpy.pos(z))
    if kind == "ELU":
        return partial(_exponential, activation.alpha, 1.0)
    if kind == "CELU":
        return partial(_exponential, activation.alpha, activation.alpha)
    raise ArgumentError(
        f"no CVXPY atom is known for the activation {kind}; use one of jensen.nn by its name, such as 'relu'"
    )


def _exponential(height: float, length: float, z: Any, constraints: list[Any]) -> Any:
    """Write z above 0 and height (exp(z / length) - 1) below, height <= length, as z <= u + v, u <= 0 <= v.

    The exponential is nowhere steeper than 1 for u <= 0, so what is pressed down raises u before v.
    """
    cvxpy = _cvxpy()
    u, v = cvxpy.Variable(z.shape), cvxpy.Variable(z.shape, nonneg=True)
    constraints += [z <= u + v, u <= 0]
    return height * (cvxpy.exp(u / length) - 1) + v


def _nested(network: ReLUNetwork, y: Any, activation: Written | None, constraints: list[Any]) -> Any:
    cvxpy = _cvxpy()
    values: list[Any] = [y]
    for layer in network.layers:
        z = _sum(layer.weights.items(), values) + layer.bias
        if activation is not None:
            values.append(activation(z, constraints))
        elif layer.negative_slope.any():
            values.append(cvxpy.maximum(z, cvxpy.multiply(layer.negative_slope, z)))
        else:
            values.append(cvxpy.pos(z))
    return cvxpy.sum(_sum(network.output_weights.items(), values) + network.output_bias)


def _sum(weights: Any, values: list[Any]) -> Any:
    total: Any = 0.0
    for k, w in weights:
        total = total + w @ values[k]
    return total


def _pieces(network: ReLUNetwork, y: Any, reason: str) -> Any:
    cvxpy = _cvxpy()
    _check_size(y, network)
    if network.input_size > MAX_INPUTS:
        raise ArgumentError(
            f"this network is no ICNN, since {reason}; the maximum of its affine pieces is written in up to "
            f"{MAX_INPUTS} inputs only, and it has {network.input_size}"
        )
    found = regions(network)
    if not found.complete:
        raise JensenError("the enumeration of the network's pieces is incomplete")
    pieces = np.unique(np.column_stack([found.gradients, found.offsets]), axis=0)
    return cvxpy.max(pieces[:, :-1] @ y + pieces[:, -1])


def _parametric(f: Any, y: Any, x: Any) -> CvxpyNetwork:
    from jensen.nn import PICNN

    cvxpy = _cvxpy()
    if not isinstance(f, PICNN):
        raise ArgumentError("parametric=True is for a PICNN, whose x may change")
    if not f.convex_arguments:
        raise NotConvexError("the constraints of this PICNN have been removed")
    activation = _written(f.activation)
    like = next(f.parameters())

    def weights(point: Any) -> ReLUNetwork:
        return skeleton(f.at(as_fixed(point).to(like).reshape(-1)))

    network = weights(np.zeros(f.x_features) if x is None else x)
    _check_size(y, network)
    parameters: list[tuple[int, int, Any]] = []

    def parameter(target: int, source: int, shape: tuple[int, ...]) -> Any:
        made = cvxpy.Parameter(shape, nonneg=source > 0)
        parameters.append((target, source, made))
        return made

    values: list[Any] = [y]
    constraints: list[Any] = []
    for position, layer in enumerate(network.layers, 1):
        z = _sum(((k, parameter(position, k, w.shape)) for k, w in layer.weights.items()), values)
        h = cvxpy.Variable(layer.size)
        constraints.append(h >= activation(z + parameter(position, -1, (layer.size,)), constraints))
        values.append(h)
    last = network.depth + 1
    out = _sum(((k, parameter(last, k, w.shape)) for k, w in network.output_weights.items()), values)
    expression = cvxpy.sum(out + parameter(last, -1, (1,)))
    if f.strong_convexity:
        expression = expression + (f.strong_convexity / 2) * cvxpy.sum_squares(y)

    def update(point: Any) -> None:
        at = weights(point)
        for target, source, made in parameters:
            made.value = _stored(at, target, source)

    update(np.zeros(f.x_features) if x is None else x)
    return CvxpyNetwork(f, y, x, expression, constraints, update)


def _stored(network: ReLUNetwork, target: int, source: int) -> Matrix:
    if source >= 0:
        return network.weight(target, source)
    if target > network.depth:
        return np.array([network.output_bias])
    return network.layers[target - 1].bias
