"""Arrays of balls, and what rules for operators have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from jensen.errors import CertificateError
from jensen.program import Node

Balls: TypeAlias = NDArray[np.object_]
"""Arrays of `flint.arb`."""


@dataclass(frozen=True)
class Call:
    """A node and its arguments: balls for numbers, arrays for constants of integers and truth values."""

    node: Node
    args: Mapping[str, Any]

    def refused(self, why: str) -> CertificateError:
        """Make the error that says why an operator cannot be enclosed."""
        return CertificateError(f"{self.node.operator} at {self.node.place} cannot be enclosed: {why}")

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument as it is."""
        value = self.args.get(name)
        return default if value is None else value

    def balls(self, *names: str) -> Balls:
        """Return the first of these arguments that is there, as balls."""
        name = next((n for n in names if self.args.get(n) is not None), None)
        if name is None:
            raise self.refused(f"it has no argument {names[0]!r}")
        return as_balls(self.args[name])

    def number(self, name: str, default: float) -> arb:
        """Return an argument that is one number."""
        return arb(self.get(name, default))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the only result."""
        if not all(isinstance(n, int) for n in self.node.shape):
            raise self.refused("it has several results")
        return self.node.shape  # type: ignore[return-value]

    @property
    def shape_of_first(self) -> tuple[int, ...]:
        """Shape of the first of several results, or of the only one."""
        found = self.node.shape
        return found[0] if found and isinstance(found[0], tuple) else self.shape

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes that a reduction runs over; None for all."""
        axes = self.get("dim")
        if axes is None or axes == []:
            return None
        return tuple(axes) if isinstance(axes, (list, tuple)) else (axes,)

    @property
    def keep(self) -> bool:
        """Whether a reduction keeps its axes."""
        return bool(self.get("keepdim", False))


Rule: TypeAlias = Callable[[Call], "Balls | tuple[Balls, ...]"]


class Registry(dict[str, Rule]):
    """Rules by the operators' packets."""

    def __call__(self, *names: str) -> Callable[[Rule], Rule]:
        """Register a rule under names of aten."""

        def remember(rule: Rule) -> Rule:
            self.update({f"aten.{name}": rule for name in names})
            return rule

        return remember


def array(balls: Iterable[arb], shape: tuple[int, ...]) -> Balls:
    """Put balls in an array of objects."""
    listed = list(balls)
    result = np.empty(len(listed), dtype=object)
    result[:] = listed
    return result.reshape(shape)


def as_balls(given: Any) -> Balls:
    """Turn a number or an array of exact numbers into balls."""
    numbers = np.asarray(given)
    if numbers.dtype == object:
        return numbers
    return array(map(arb, numbers.ravel().tolist()), numbers.shape)


def each(function: Callable[[arb], arb], given: Balls) -> Balls:
    """Apply a function entry by entry."""
    return array(map(function, given.ravel()), given.shape)


def both(function: Callable[[arb, arb], arb], one: Balls, other: Balls) -> Balls:
    """Apply a function of two numbers entry by entry, broadcast."""
    a, b = np.broadcast_arrays(one, other)
    return array(map(function, a.ravel(), b.ravel()), a.shape)


def folded(
    function: Callable[[arb, arb], arb], given: Balls, axes: Sequence[int] | None, keep: bool
) -> Balls:
    """Reduce axes by a function of two numbers."""
    over = range(given.ndim) if axes is None else [axis % max(given.ndim, 1) for axis in axes]
    result = given
    for axis in sorted({*over} if given.ndim else (), reverse=True):
        parts = np.moveaxis(result, axis, 0)
        total = parts[0]
        for part in parts[1:]:
            total = both(function, np.asarray(total, dtype=object), np.asarray(part, dtype=object))
        result = np.asarray(total, dtype=object)
        if keep:
            result = np.expand_dims(result, axis)
    return result


def add(one: Any, other: Any) -> Balls:
    """Add, broadcast."""
    return np.asarray(one + other, dtype=object)


def minus(one: Any, other: Any) -> Balls:
    """Subtract, broadcast."""
    return np.asarray(one - other, dtype=object)


def times(one: Any, other: Any) -> Balls:
    """Multiply, broadcast."""
    return np.asarray(one * other, dtype=object)


def summed(given: Balls, axes: Sequence[int] | None, keep: bool) -> Balls:
    """Add up over axes."""
    over = None if axes is None or not given.ndim else tuple(axes)
    total = np.sum(given, axis=over, keepdims=keep)
    found = np.asarray(total, dtype=object)
    # A sum of nothing is the number zero.
    return found if given.size else array((arb(0) for _ in range(found.size)), found.shape)


def spread_out(values: Any, axes: int) -> list[int]:
    """Read an option that is given once for all axes, or for each."""
    given = [values] if isinstance(values, int) else list(values)
    return given * axes if len(given) == 1 else given


def same_samples(given: Balls) -> bool:
    """Whether all samples of a batch are the same balls, so that one of them need be computed."""
    first = given[0].ravel()
    return len(given) > 1 and all(
        a is b or (a.mid() == b.mid() and a.rad() == b.rad())
        for other in given[1:]
        for a, b in zip(first, other.ravel(), strict=True)
    )


def matrix_product(one: Balls, other: Balls) -> Balls:
    """Multiply two matrices."""
    (m, k), n = one.shape, other.shape[1]
    if not (m and k and n):
        return np.full((m, n), arb(0), dtype=object)
    found = arb_mat(m, k, one.ravel().tolist()) * arb_mat(k, n, other.ravel().tolist())
    return array(found.entries(), (m, n))
