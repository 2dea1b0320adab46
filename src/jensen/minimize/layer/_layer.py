"""`ArgminLayer`: the minimiser of a convex network over some of its inputs, as a layer with gradients."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from jensen.errors import ArgumentError
from jensen.minimize._arguments import as_tolerance
from jensen.minimize.layer._accuracy import Accuracy
from jensen.minimize.layer._regularised import REGULARISERS, Regulariser, Term, argmin, has_kinks, minimum
from jensen.minimize.layer._unrolled import unrolled_argmin
from jensen.minimize.layer._zero import Zero
from jensen.minimize.polytopes._place import as_place
from jensen.minimize.tensors._convex import Function, require_convex
from jensen.minimize.tensors._problem import Bounds, TorchProblem, torch_problem
from jensen.minimize.tensors._result import BatchedMinimum
from jensen.network import Box, Polytope, WholeSpace
from jensen.network._numbers import as_count, as_positive


class ArgminLayer(nn.Module):
    """y*(x) = argmin over y of f(x, y) + <linear, y> + r(y), differentiable in x, linear and f's weights.

    The forward pass solves the problems of a batch to a gap; the backward pass differentiates the conditions
    of optimality (implicit function theorem), so its cost does not grow with the steps that the solver took.

    Parameters
    ----------
    f : torch.nn.Module or None
        f(y) or f(x, y), convex in y: an architecture of `jensen.nn`, or any module with assume_convex=True.
        None stands for 0; then `linear` alone is minimised.
    domain : Box, Polytope, WholeSpace or pair (lo, hi), optional
        By default the unit box for an entropy and the whole space otherwise; a pair of tensors that
        broadcast to (batch, *shape) gives each sample a box of its own. A polytope may be flat or unbounded,
        and takes no entropy.
    regulariser : {"entropy", "quadratic"} or None
        r: minus the entropy of y in its box; (weight / 2) |y|^2; or nothing, for an f that is strongly convex
        itself or smooth with a unique minimiser.
    weight : float, default 1.0
    tolerance : float, default 1e-12
        The gap, relative to max(1, |value|), at which a sample is finished; rounding ends it as well. The
        precision of y is about the square root of the gap while pieces of f are still to be found, and that
        of the dtype once they are.
    max_iterations : int, default 200
    unrolled : int, optional
        Make so many steps of a first-order method instead, and differentiate through the steps: proximal
        gradient for a quadratic term, mirror descent for an entropy. An approximation, cheap for few steps.
    step : float, default 0.1
        Length of the unrolled steps.
    smooth : bool, optional
        Whether f is twice differentiable in y, or piecewise affine. Architectures know.
    assume_convex : bool, default False

    Raises
    ------
    ArgumentError
        If f is not known to be convex, or an argument makes no sense.
    DomainError
        If the domain is empty, or of another size than y.

    Notes
    -----
    Where f has kinks the minimiser usually lies on one; it then moves along the kink, and the gradients are
    those of the affine pieces that meet there. At parameters where the set of these pieces changes the argmin
    has no derivative, and one of its one-sided ones is returned. Argmin differentiation: Amos, Xu and Kolter,
    "Input Convex Neural Networks", ICML 2017.

    The solution of a linear programme is a vertex, and its derivative 0 or none. A small quadratic term moves
    it on to faces of larger dimension, where it has one (Wilder, Dilkina and Tambe, "Melding the
    data-decisions pipeline", AAAI 2019): ``ArgminLayer(None, polytope, "quadratic", weight=0.1)``, called
    with the costs as `linear`.

    f is evaluated in its own dtype; everything else is computed in double precision.

    Examples
    --------
    >>> import jensen, torch
    >>> from jensen.minimize import ArgminLayer
    >>> layer = ArgminLayer(jensen.nn.PICNN(3, 2, (8, 8)))
    >>> layer(torch.randn(5, 3)).shape
    torch.Size([5, 2])
    >>> triangle = jensen.Polytope([[-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [0.0, 0.0, 1.0])
    >>> programme = ArgminLayer(None, triangle, "quadratic", weight=0.1)
    >>> bool(torch.allclose(programme(linear=torch.tensor([[-1.0, -0.95]])), torch.tensor([[0.75, 0.25]])))
    True
    """

    def __init__(
        self,
        f: nn.Module | None,
        domain: Bounds | None = None,
        regulariser: Regulariser | None = "entropy",
        *,
        weight: float = 1.0,
        tolerance: float = 1e-12,
        max_iterations: int = 200,
        unrolled: int | None = None,
        step: float = 0.1,
        smooth: bool | None = None,
        assume_convex: bool = False,
    ) -> None:
        super().__init__()
        f = Zero() if f is None else f
        if not isinstance(f, nn.Module):
            raise ArgumentError(f"f must be a torch.nn.Module, not a {type(f).__name__}")
        if regulariser is not None and regulariser not in REGULARISERS:
            raise ArgumentError(f"regulariser must be one of {REGULARISERS} or None, got {regulariser!r:.80}")
        weight, step = as_positive(weight, "weight"), as_positive(step, "step")
        unrolled = None if unrolled is None else as_count(unrolled, "unrolled")
        self.f = f
        self.domain: Bounds = (
            domain if domain is not None else Box(0.0, 1.0) if regulariser == "entropy" else WholeSpace()
        )
        if isinstance(self.domain, Polytope) and (regulariser == "entropy" or unrolled is not None):
            raise ArgumentError(
                'an entropy and unrolled steps need a box: over a polytope choose regulariser "quadratic" or '
                "None, and exact argmins"
            )
        self._bounds, self._place = as_place(self.domain)
        self.regulariser, self.weight, self.unrolled, self.step = regulariser, weight, unrolled, step
        self.accuracy = Accuracy(as_tolerance(tolerance), as_count(max_iterations, "max_iterations"))
        self.assume_convex, self.smooth = assume_convex, smooth
        if unrolled is None:
            has_kinks(cast(Function, f), smooth)

    def forward(
        self, x: Tensor | None = None, *, linear: Tensor | None = None, batch: int | None = None
    ) -> Tensor:
        """Minimise.

        Parameters
        ----------
        x : (batch, ...) tensor, optional
            Where f has two arguments.
        linear : (batch, *shape) tensor, optional
            Slopes that are added to f.
        batch : int, optional
            Number of problems where no tensor tells it.

        Returns
        -------
        (batch, *shape) tensor

        Warns
        -----
        jensen.errors.ConvergenceWarning
            If some samples missed the tolerance and rounding is not the reason. `solve` tells which.
        """
        f, problem = self._problem(x, linear, batch)
        flat = None if linear is None else linear.reshape(problem.batch, problem.size)
        term = Term(self.regulariser, self.weight)
        if self.unrolled is not None:
            y = unrolled_argmin(problem, term, self.unrolled, self.step, x, flat)
        else:
            y = argmin(problem, term, has_kinks(f, self.smooth), self.accuracy, x, flat, self._place)
        return problem.shaped(y)

    def solve(
        self, x: Tensor | None = None, *, linear: Tensor | None = None, batch: int | None = None
    ) -> BatchedMinimum:
        """Minimise, and tell values, lower bounds and gaps; without gradients and without warnings.

        Parameters
        ----------
        x, linear, batch
            As for `forward`.

        Returns
        -------
        BatchedMinimum
            Values include the regulariser. Where no lower bound is known, as on unbounded domains, it is
            -inf, and `converged` goes by what Newton's method expects to gain.

        Raises
        ------
        ArgumentError
            If steps are unrolled: what they leave is not known.
        """
        if self.unrolled is not None:
            raise ArgumentError("unrolled steps know no bounds: make a layer without unrolled=")
        f, problem = self._problem(x, linear, batch)
        term = Term(self.regulariser, self.weight)
        return minimum(problem, term, has_kinks(f, self.smooth), self.accuracy, self._place)

    def _problem(
        self, x: Tensor | None, linear: Tensor | None, batch: int | None
    ) -> tuple[Function, TorchProblem]:
        f = cast(Function, self.f)
        require_convex(f, 1 if x is None else 2, self.assume_convex)
        problem = torch_problem(
            f, self._bounds, x, linear=linear, batch=batch, assume_convex=self.assume_convex
        )
        return f, problem

    def extra_repr(self) -> str:
        """Describe the layer."""
        more = f", unrolled={self.unrolled}" if self.unrolled else ""
        return f"regulariser={self.regulariser!r}, weight={self.weight:g}{more}"
