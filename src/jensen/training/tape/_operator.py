"""Convolutions and poolings as matrices that are applied, transposed, clamped and written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
}


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution of images with zeros around them, as a matrix on flattened images.

    Attributes
    ----------
    weight : (out, in / groups, *size) tensor
    inputs : tuple of int
        (channels, *space) of an image, with one or two axes of space.
    stride, padding, dilation : tuple of int
        One for each axis of space.
    groups : int
    """

    weight: Tensor
    inputs: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def outputs(self) -> tuple[int, ...]:
        """(channels, *space) of what comes out."""
        return self.weight.shape[0], *(
            (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in self._axes()
        )

    def _axes(self) -> list[tuple[int, int, int, int, int]]:
        size = self.weight.shape[2:]
        return list(zip(self.inputs[1:], size, self.stride, self.padding, self.dilation, strict=True))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return prod(self.outputs), prod(self.inputs)

    def apply(self, x: Tensor) -> Tensor:
        """Map (batch, columns) to (batch, rows)."""
        convolve = _CONVOLVE[len(self.stride)]
        image = x.reshape(-1, *self.inputs)
        out = convolve(image, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        return out.flatten(1)

    def pull(self, g: Tensor) -> Tensor:
        """Map (batch, rows) to (batch, columns): g times the matrix."""
        transposed = _TRANSPOSED[len(self.stride)]
        left = tuple((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in self._axes())
        image = g.reshape(-1, *self.outputs)
        out = transposed(
            image, self.weight, None, self.stride, self.padding, left, self.groups, self.dilation
        )
        return out.flatten(1)

    def matrix(self) -> sparse.csr_array:
        """Write the matrix out, in float64."""
        rows, columns, entries = _coordinates(self)
        values = self.weight.detach().cpu().to(torch.float64).numpy().ravel()[entries]
        result = sparse.csr_array((values, (rows, columns)), shape=self.shape)
        result.eliminate_zeros()
        return result


def _coordinates(kernel: Kernel) -> tuple[np.ndarray[Any, Any], ...]:
    """Rows, columns, and flat indices into the weight, of all entries of the matrix."""
    out, per_group = kernel.weight.shape[:2]
    rows, columns, entries = (np.zeros(1, dtype=np.int64) for _ in range(3))
    inside = np.ones(1, dtype=bool)
    for (n, k, s, p, d), m in zip(kernel._axes(), kernel.outputs[1:], strict=True):
        place = np.arange(m)[:, None] * s - p + np.arange(k) * d
        pairs = [
            (rows, m, np.repeat(np.arange(m), k)),
            (columns, n, place.ravel()),
            (entries, k, np.tile(np.arange(k), m)),
        ]
        rows, columns, entries = ((old[:, None] * size + new).ravel() for old, size, new in pairs)
        inside = (inside[:, None] & ((place >= 0) & (place < n)).ravel()).ravel()
    rows, columns, entries = rows[inside], columns[inside], entries[inside]
    o, j = (index.ravel()[:, None] for index in np.indices((out, per_group)))
    source = o // (out // kernel.groups) * per_group + j
    space = [prod(kernel.outputs[1:]), prod(kernel.inputs[1:]), prod(kernel.weight.shape[2:])]
    channels = (o, source, o * per_group + j)
    inner = (rows, columns, entries)
    return tuple((c * n + v).ravel() for c, n, v in zip(channels, space, inner, strict=True))


@dataclass(frozen=True, eq=False)
class Operator:
    """The matrix after @ main @ before, with poolings before and after a weight of its own.

    Only what the tape does with a tensor of weights is defined.

    Attributes
    ----------
    before, after : tuple of Kernel
        In the order of their application; with nonnegative entries.
    main : Tensor or Kernel
    """

    before: tuple[Kernel, ...]
    main: Tensor | Kernel
    after: tuple[Kernel, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        first, last = ((*self.before, self.main)[0], (self.main, *self.after)[-1])
        return int(last.shape[0]), int(first.shape[1])

    def apply(self, x: Tensor) -> Tensor:
        """Map (batch, columns) to (batch, rows)."""
        for kernel in self.before:
            x = kernel.apply(x)
        x = self.main.apply(x) if isinstance(self.main, Kernel) else x @ self.main.T
        for kernel in self.after:
            x = kernel.apply(x)
        return x

    def __rmatmul__(self, g: Tensor) -> Tensor:
        """Map (batch, rows) to (batch, columns): g times the matrix."""
        for kernel in reversed(self.after):
            g = kernel.pull(g)
        g = self.main.pull(g) if isinstance(self.main, Kernel) else g @ self.main
        for kernel in reversed(self.before):
            g = kernel.pull(g)
        return g

    def clamp_min(self, least: float) -> Operator:
        """Clamp the main factor from below; at zero, an upper bound of the matrix's positive part."""
        return replace(self, main=_clamped(self.main, lambda w: w.clamp_min(least)))

    def clamp_max(self, most: float) -> Operator:
        """Clamp the main factor from above; at zero, a lower bound of the matrix's negative part."""
        return replace(self, main=_clamped(self.main, lambda w: w.clamp_max(most)))

    def matrix(self) -> sparse.csr_array:
        """Write the matrix out, in float64."""
        result = self.columns()
        main = (
            self.main.matrix()
            if isinstance(self.main, Kernel)
            else sparse.csr_array(self.main.detach().cpu().to(torch.float64).numpy())
        )
        return product([main if result is None else main @ result, *(k.matrix() for k in self.after)])

    def columns(self) -> sparse.csr_array | None:
        """Write out what stands before the main factor; None where nothing does."""
        return product([k.matrix() for k in self.before]) if self.before else None


def product(factors: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """Multiply matrices, the first being applied first."""
    result = factors[0]
    for factor in factors[1:]:
        result = factor @ result
    return sparse.csr_array(result)


def _clamped(main: Tensor | Kernel, clamp: Callable[[Tensor], Tensor]) -> Tensor | Kernel:
    return replace(main, weight=clamp(main.weight)) if isinstance(main, Kernel) else clamp(main)
