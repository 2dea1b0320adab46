"""The bundle entropy method: min f(y) - H(y) over boxes, in batches."""

from __future__ import annotations

import torch
from torch import Tensor

from jensen.minimize._arguments import as_tolerance
from jensen.minimize.bundle._bundle import minimise_by_bundle
from jensen.minimize.tensors._convex import Function
from jensen.minimize.tensors._problem import Bounds, torch_problem, weights_at_rest
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.minimize.tensors._separable import Entropy
from jensen.network import Box
from jensen.network._numbers import as_count, as_positive


@torch.no_grad()
def minimize_entropy(
    f: Function,
    x: Tensor | None = None,
    *,
    domain: Bounds | None = None,
    linear: Tensor | None = None,
    weight: float = 1.0,
    start: Tensor | None = None,
    batch: int | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 200,
    assume_convex: bool = False,
) -> BatchedMinimum:
    """Minimise f(x, y) + <linear, y> - weight * H(t) over y in a box, for a batch, to a certified gap.

    t = (y - lo) / (hi - lo) and H(t) = -sum_j t_j log t_j + (1 - t_j) log(1 - t_j).

    Parameters
    ----------
    f : module or function
        f(y), or f(x, y) where x is given, with one value for each entry of the batch; convex in y. Only
        values and gradients are used; it is evaluated in eval mode, and its weights stay as they are.
    x : (batch, ...) tensor, optional
    domain : Box or pair (lo, hi), optional
        The unit box by default; a pair of tensors that broadcast to (batch, *shape) gives each sample a
        box of its own. Coordinates with lo = hi are fixed.
    linear : (batch, *shape) tensor, optional
    weight : float, default 1.0
    start : (batch, *shape) tensor, optional
        Where the first evaluation is made, moved into the box; its centre by default.
    batch : int, optional
        Number of problems where no tensor tells it.
    tolerance : float, default 1e-9
        A sample is finished when its gap is at most tolerance * max(1, |value|), or as small as rounding.
    max_iterations : int, default 200
        Largest number of evaluations of each sample.
    assume_convex : bool, default False
        Vouch for the convexity of an f that is no architecture of `jensen.nn`.

    Returns
    -------
    BatchedMinimum
        Values and bounds include the entropy. The lower bounds hold up to the rounding of f's own evaluation
        in its dtype; the rounding of the method's sums is subtracted.

    Raises
    ------
    ArgumentError
        If f is not known to be convex, or an argument makes no sense.
    DomainError
        If the box is unbounded, empty or of another size.

    Notes
    -----
    The bundle entropy method of Amos, Xu and Kolter, "Input Convex Neural Networks", ICML 2017. The dual
    problem of all samples is solved at once, by an interior point method.
    """
    weight, tolerance = as_positive(weight, "weight"), as_tolerance(tolerance)
    max_iterations = as_count(max_iterations, "max_iterations")
    problem = torch_problem(
        f,
        Box(0.0, 1.0) if domain is None else domain,
        x,
        linear=linear,
        like=start,
        batch=batch,
        assume_convex=assume_convex,
    )
    dtype, problem = problem.lo.dtype, problem.widened()
    term = Entropy.of(problem, weight)
    first = None
    if start is not None:
        first = start.detach().reshape(problem.batch, problem.size).to(problem.lo)
        first = torch.minimum(torch.maximum(first, problem.lo), problem.hi)
    with weights_at_rest(f):
        return minimise_by_bundle(problem.frozen(), term, tolerance, max_iterations, first).to(dtype)
