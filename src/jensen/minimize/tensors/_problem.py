"""A batch of minimisation problems over flat vectors: f(x_i, y) + <linear_i, y>, y in a box of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from jensen.errors import ArgumentError, DomainError
from jensen.minimize.tensors._convex import Function, require_convex
from jensen.minimize.tensors._frozen import freeze
from jensen.minimize.tensors._plane import Plane
from jensen.network import Box, Domain, WholeSpace
from jensen.network._numbers import as_count
from jensen.nn import FICNN, PICNN, Architecture, ConvICNN, RelayICNN, SkipMLP

Bounds: TypeAlias = Domain | tuple[Tensor | float, Tensor | float]
"""A domain, or a pair of tensors that broadcast to (batch, *shape): a box for each sample."""


@dataclass(frozen=True)
class TorchProblem:
    """A batch of problems; all vectors are flat.

    Attributes
    ----------
    f : callable
        f(y) or f(x, y).
    x : (batch, ...) tensor or None
    linear : (batch, n) tensor or None
        Slopes that are added to f.
    lo, hi : (batch, n) tensors
        The box; infinite where there is no bound.
    shape : tuple of int
        Shape of one y.
    vouched : bool, default False
        Whether f is convex only by the caller's word. Then torch's gradient at a kink need not be a
        subgradient (relu(y) - relu(-y) has the gradient 0 at 0), see `beside`.
    dtype : torch.dtype, optional
        That of f, where it is not the one of the vectors, see `widened`.
    plane : Plane, optional
        Where y lives, when the vectors are coordinates in a plane.
    """

    f: Function
    x: Tensor | None
    linear: Tensor | None
    lo: Tensor
    hi: Tensor
    shape: tuple[int, ...]
    vouched: bool = False
    dtype: torch.dtype | None = None
    plane: Plane | None = None

    @property
    def batch(self) -> int:
        """Number of problems."""
        return self.lo.shape[0]

    @property
    def size(self) -> int:
        """Number of variables of each."""
        return self.lo.shape[1]

    @property
    def eps(self) -> float:
        """The unit in the last place of f's dtype, relative."""
        return torch.finfo(self.lo.dtype if self.dtype is None else self.dtype).eps

    def widened(self) -> TorchProblem:
        """Give the same problems with vectors in double precision; f is evaluated in its own dtype.

        What a method computes is small beside f, and in single precision it loses what f's values tell.
        """
        if self.lo.dtype == torch.float64 or self.lo.device.type == "mps":  # which knows no float64
            return self
        linear = None if self.linear is None else self.linear.double()
        return replace(self, linear=linear, lo=self.lo.double(), hi=self.hi.double(), dtype=self.lo.dtype)

    def within(self, plane: Plane) -> TorchProblem:
        """Give the same problems in the coordinates of a plane; they must have no bounds."""
        free = self.lo.new_full((self.batch, plane.basis.shape[1]), torch.inf)
        linear = None if self.linear is None else plane.slopes(self.linear)
        return replace(self, linear=linear, lo=-free, hi=free, plane=plane)

    def take(self, index: Tensor) -> TorchProblem:
        """Restrict to some of the problems."""
        x = None if self.x is None else self.x[index]
        linear = None if self.linear is None else self.linear[index]
        return replace(self, x=x, linear=linear, lo=self.lo[index], hi=self.hi[index])

    def frozen(self) -> TorchProblem:
        """Give the same problems, with all that depends on x alone computed once."""
        f, x = freeze(self.f, self.x)
        return replace(self, f=f, x=x)

    def values(self, y: Tensor) -> Tensor:
        """Values at flat points (batch, n), differentiable."""
        full = y if self.plane is None else self.plane.points(y)
        shaped = full.reshape(y.shape[0], *self.shape).to(self.dtype)
        value = self.f(shaped) if self.x is None else self.f(self.x, shaped)
        if not isinstance(value, Tensor):
            raise ArgumentError(f"f must return a tensor, not a {type(value).__name__}")
        if value.shape != y.shape[:1]:
            raise ArgumentError(
                f"f must map a batch of {y.shape[0]} to as many values, got {tuple(value.shape)}"
            )
        value = value.to(y.dtype)
        return value if self.linear is None else value + (self.linear * y).sum(1)

    def evaluate(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Values and subgradients at flat points (batch, n).

        Raises
        ------
        ArgumentError
            If some are not finite.
        """
        if y.shape[0] == 0:
            return y.new_zeros(0), torch.zeros_like(y)
        # With gradients switched on even where weights come in: what parametrize caches here must not
        # have lost its graph for a caller who trains under the same cache.
        with torch.enable_grad():
            point = y.detach().requires_grad_(True)
            value, gradient = self.values(point), None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
        slope = torch.zeros_like(y) if gradient is None else gradient
        require_finite(value, slope)
        return value.detach(), slope

    def beside(self, y: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Move points by less than tolerances to where f can be evaluated: numbers of its dtype, off kinks.

        Off kinks only where f is convex by the caller's word.

        Parameters
        ----------
        y : (batch, n) tensor
        anchor : (batch, n) tensor, optional
            Towards where: points of the domain in general position; such points of the box by default.
        """
        if not self.vouched:
            return self._representable(y)
        if anchor is None:
            low = torch.where(torch.isfinite(self.lo), self.lo, torch.minimum(y, self.hi) - 1 - y.abs())
            high = torch.where(torch.isfinite(self.hi), self.hi, torch.maximum(y, self.lo) + 1 + y.abs())
            share = torch.rand(y.shape[1], generator=torch.Generator().manual_seed(0)).to(y)
            anchor = low + (0.25 + 0.5 * share) * (high - low)
        step = anchor - y
        size = y.abs().amax(1, keepdim=True).clamp_min(1.0) if y.shape[1] else y[:, :0]
        longest = step.abs().amax(1, keepdim=True).clamp_min(torch.finfo(y.dtype).tiny)
        length: Tensor = (self.eps**0.8 * size / longest).clamp_max(0.5)
        return self._representable(y + length * step)

    def _representable(self, y: Tensor) -> Tensor:
        # In a plane the nearest numbers lie beside it; there rounding stays part of f's.
        return y if self.dtype is None or self.plane is not None else y.to(self.dtype).to(y.dtype)

    def shaped(self, y: Tensor) -> Tensor:
        """Flat points as (batch, *shape)."""
        return y.reshape(y.shape[0], *self.shape)


def torch_problem(
    f: Function,
    domain: Bounds,
    x: Tensor | None = None,
    *,
    linear: Tensor | None = None,
    like: Tensor | None = None,
    batch: int | None = None,
    shape: Sequence[int] | None = None,
    assume_convex: bool = False,
) -> TorchProblem:
    """Put a batch of problems together.

    Parameters
    ----------
    f : callable
        f(y), or f(x, y) where x is given, convex in y.
    domain : Box, WholeSpace or pair of tensors
        The same box for all samples, or (lo, hi) that broadcast to (batch, *shape). Tensors of two axes and
        more tell the batch, and where f does not know it, the shape of y.
    x : (batch, ...) tensor, optional
    linear : (batch, *shape) tensor, optional
        Slopes that are added to f.
    like : (batch, *shape) tensor, optional
        Any tensor that has the batch and shape of y.
    batch : int, optional
        Number of problems, where no tensor tells it; 1 by default.
    shape : sequence of int, optional
        Shape of one y, where neither f nor a tensor tells it.
    assume_convex : bool, default False

    Raises
    ------
    ArgumentError
        If f is not known to be convex, or shapes do not fit.
    DomainError
        If the domain is no box, is empty, or has another number of variables.
    """
    require_convex(f, 1 if x is None else 2, assume_convex)
    for tensor, name in ((x, "x"), (linear, "linear"), (like, "the points")):
        if tensor is not None:
            require_batch(tensor, name)
    if isinstance(f, Architecture):
        _require_fit(f, x)
    tensors = [t for t in (linear, like) if t is not None]
    if shape is None:
        shape = tensors[0].shape[1:] if tensors else _shape_of(f, domain)
    size = tuple(int(n) for n in shape)
    counts = {len(t) for t in (x, *tensors) if t is not None}
    if batch is not None:
        counts.add(as_count(batch, "batch", 0))
    if len(counts) > 1:
        raise ArgumentError(f"x, linear, points and batch must agree on the batch, got {sorted(counts)}")
    bounds = _bounds_shape(domain)
    of_bounds = bounds[0] if len(bounds) == len(size) + 1 else 1
    count = counts.pop() if counts else of_bounds
    for tensor in tensors:
        if tuple(tensor.shape) != (count, *size):
            raise ArgumentError(f"expected a tensor of shape {(count, *size)}, got {tuple(tensor.shape)}")
    sides = domain if isinstance(domain, tuple) else ()
    real = (side for side in sides if isinstance(side, Tensor) and side.is_floating_point())
    reference = _reference(f, x, *tensors, *real)
    lo, hi = box_of(domain, count, size, reference)
    flat = None if linear is None else linear.detach().reshape(count, prod(size)).to(reference)
    known = isinstance(f, Architecture) and (0 if x is None else 1) in f.convex_arguments
    return TorchProblem(f, None if x is None else x.detach(), flat, lo, hi, size, not known)


def require_finite(value: Tensor, slope: Tensor) -> None:
    """Refuse values and gradients that are none.

    Raises
    ------
    ArgumentError
        If some are NaN or infinite.
    """
    if not bool(torch.isfinite(value).all() & torch.isfinite(slope).all()):
        raise ArgumentError(
            "f or its gradient is NaN or infinite at a point of the domain: look at f's weights, x, linear "
            "and the starting point"
        )


def box_of(domain: Bounds, batch: int, shape: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (batch, n) of a domain that is a box.

    Raises
    ------
    DomainError
        If it is none, is empty, or has another number of variables.
    """
    n = prod(shape)
    if isinstance(domain, Domain):
        if not isinstance(domain, (Box, WholeSpace)):
            raise DomainError(f"this method needs a box, got a {type(domain).__name__}: use minimize_batch")
        lo, hi = (torch.from_numpy(np.array(side)).to(like) for side in domain.bounds(n))
        return lo.expand(batch, n), hi.expand(batch, n)
    if not isinstance(domain, tuple) or len(domain) != 2:
        raise DomainError(f"a domain is a Box, a WholeSpace or a pair (lo, hi), got {domain!r:.80}")
    sides = []
    for side in domain:
        try:
            tensor = torch.as_tensor(side, dtype=like.dtype, device=like.device).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise DomainError(f"a bound is no number or tensor: {side!r:.80}") from error
        try:
            sides.append(tensor.expand(batch, *shape).reshape(batch, n))
        except RuntimeError as error:
            raise DomainError(
                f"a bound of shape {tuple(tensor.shape)} does not broadcast to {(batch, *shape)}"
            ) from error
    if not bool((sides[0] <= sides[1]).all()):
        raise DomainError("the box of a sample is empty or has NaN bounds")
    return sides[0], sides[1]


@contextlib.contextmanager
def weights_at_rest(f: Function) -> Iterator[None]:
    """While a solve runs weights do not change: compute constrained ones once, draw no dropout masks."""
    modules = list(f.modules()) if isinstance(f, nn.Module) else []
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        with parametrize.cached():
            yield
    finally:
        for module in training:
            module.training = True


def require_batch(tensor: Any, name: str) -> None:
    """Refuse what is no tensor of samples.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    if not isinstance(tensor, Tensor) or tensor.ndim == 0:
        got = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ArgumentError(f"{name} must be a tensor whose first axis is the batch, got {got}")


def _require_fit(f: Architecture, x: Tensor | None) -> None:
    """Refuse an x that the architecture cannot take, before solvers take the architecture apart."""
    if x is None:
        return
    if isinstance(f, PICNN) and tuple(x.shape[1:]) != (f.x_features,):
        raise ArgumentError(f"x must have the shape (batch, {f.x_features}), got {tuple(x.shape)}")
    weight = next(f.parameters(), x)
    if x.dtype != weight.dtype:
        raise ArgumentError(f"x holds {x.dtype} and f {weight.dtype}: pass x.to({weight.dtype})")


def _reference(f: Function, *tensors: Tensor | None) -> Tensor:
    """Find a tensor with the dtype and device to compute in."""
    if isinstance(f, nn.Module) and (first := next(f.parameters(), None)) is not None:
        return first.detach()
    given = [t for t in tensors if t is not None]
    return given[0].detach() if given else torch.empty(0, dtype=torch.float64)


def _shape_of(f: Function, domain: Bounds) -> tuple[int, ...]:
    if isinstance(f, ConvICNN):
        return f.input_shape
    if isinstance(f, PICNN):
        return (f.y_features,)
    if isinstance(f, (FICNN, RelayICNN, SkipMLP)):
        return (f.in_features,)
    if isinstance(domain, Box) and domain.lo.ndim == 1:
        return domain.lo.shape
    bounds = _bounds_shape(domain)
    if bounds:  # of two axes and more the first is the batch
        return bounds if len(bounds) == 1 else bounds[1:]
    name = type(f).__name__
    kind = "architecture" if isinstance(f, Architecture) else "function"
    raise ArgumentError(
        f"the {kind} {name} does not tell the shape of y: give bounds, linear slopes or a starting point of "
        "that shape"
    )


def _bounds_shape(domain: Bounds) -> tuple[int, ...]:
    """Shape of bounds that are tensors; () where they are numbers or tell none."""
    if not isinstance(domain, tuple) or len(domain) != 2:
        return ()
    shapes = [tuple(getattr(side, "shape", ())) for side in domain]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise DomainError(f"bounds of shapes {shapes[0]} and {shapes[1]} do not fit one another") from error
