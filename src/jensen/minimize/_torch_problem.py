"""A batch of minimisation problems over flat vectors: f(x_i, y) + <linear_i, y>, y in a box of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from jensen.errors import ArgumentError, DomainError
from jensen.minimize._frozen import freeze
from jensen.minimize._torch_convex import Function, require_convex
from jensen.network import Box, Domain, WholeSpace
from jensen.nn import FICNN, PICNN, Architecture, ConvICNN, SkipMLP

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
    """

    f: Function
    x: Tensor | None
    linear: Tensor | None
    lo: Tensor
    hi: Tensor
    shape: tuple[int, ...]

    @property
    def batch(self) -> int:
        """Number of problems."""
        return self.lo.shape[0]

    @property
    def size(self) -> int:
        """Number of variables of each."""
        return self.lo.shape[1]

    def take(self, index: Tensor) -> TorchProblem:
        """Restrict to some of the problems."""
        x = None if self.x is None else self.x[index]
        linear = None if self.linear is None else self.linear[index]
        return TorchProblem(self.f, x, linear, self.lo[index], self.hi[index], self.shape)

    def frozen(self) -> TorchProblem:
        """Give the same problems, with all that depends on x alone computed once."""
        f, x = freeze(self.f, self.x)
        return TorchProblem(f, x, self.linear, self.lo, self.hi, self.shape)

    def values(self, y: Tensor) -> Tensor:
        """Values at flat points (batch, n), differentiable."""
        shaped = y.reshape(y.shape[0], *self.shape)
        value = self.f(shaped) if self.x is None else self.f(self.x, shaped)
        if value.shape != y.shape[:1]:
            raise ArgumentError(
                f"f must map a batch of {y.shape[0]} to as many values, got {tuple(value.shape)}"
            )
        return value if self.linear is None else value + (self.linear * y).sum(1)

    def evaluate(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Values and subgradients at flat points (batch, n)."""
        if y.shape[0] == 0:
            return y.new_zeros(0), torch.zeros_like(y)
        # With gradients switched on even where weights come in: what parametrize caches here must not
        # have lost its graph for a caller who trains under the same cache.
        with torch.enable_grad():
            point = y.detach().requires_grad_(True)
            value = self.values(point)
            (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
        return value.detach(), torch.zeros_like(y) if gradient is None else gradient

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
        The same box for all samples, or (lo, hi) that broadcast to (batch, *shape).
    x : (batch, ...) tensor, optional
    linear : (batch, *shape) tensor, optional
        Slopes that are added to f.
    like : (batch, *shape) tensor, optional
        Any tensor that has the batch and shape of y.
    batch : int, optional
        Number of problems, where nothing else tells it; 1 by default.
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
    tensors = [t for t in (linear, like) if t is not None]
    if shape is None:
        shape = tensors[0].shape[1:] if tensors else _shape_of(f, domain)
    size = tuple(int(n) for n in shape)
    counts = {len(t) for t in (x, *tensors) if t is not None}
    if len(counts) > 1:
        raise ArgumentError(f"x, linear and points must be of one batch, got {sorted(counts)}")
    count = counts.pop() if counts else 1 if batch is None else batch
    for tensor in tensors:
        if tuple(tensor.shape) != (count, *size):
            raise ArgumentError(f"expected a tensor of shape {(count, *size)}, got {tuple(tensor.shape)}")
    reference = _reference(f, x, *tensors)
    lo, hi = box_of(domain, count, size, reference)
    flat = None if linear is None else linear.detach().reshape(count, -1).to(reference)
    return TorchProblem(f, None if x is None else x.detach(), flat, lo, hi, size)


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
        tensor = torch.as_tensor(side, dtype=like.dtype, device=like.device).detach()
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
    if isinstance(f, (FICNN, SkipMLP)):
        return (f.in_features,)
    if isinstance(domain, Box) and domain.lo.ndim == 1:
        return domain.lo.shape
    name = type(f).__name__
    kind = "architecture" if isinstance(f, Architecture) else "function"
    raise ArgumentError(f"the {kind} {name} does not tell the shape of y: pass shape=")
