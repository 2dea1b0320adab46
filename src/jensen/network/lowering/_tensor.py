"""Symbolic tensors: an affine expression per element, a shape, and where the batch stands.

Constants are float64 arrays. Every operation that only moves elements around is one `take` by an index array,
computed by numpy's own function on the array of element numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.errors import NetworkError
from jensen.network._relu_network import FloatArray
from jensen.network.lowering._expression import Expression, constant_expression, stack
from jensen.network.lowering._tape import MAX_SYMBOLS, Tape

SENTINEL_BATCH = 7
"""Batch size that a symbolic batch axis is given: unlikely to be a size that the program means otherwise."""

Index: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor whose elements are affine in the input and the neurons so far.

    Attributes
    ----------
    tape : Tape
    expression : Expression
        One row per element, in C order.
    shape : tuple of int
        The batch axis counts 1 here.
    batch : int or None
        The axis that runs over the batch, None if the model has none.
    batch_size : int
        How many entries the program believes the batch axis to have.
    """

    tape: Tape
    expression: Expression
    shape: tuple[int, ...]
    batch: int | None
    batch_size: int

    @property
    def ndim(self) -> int:
        """Number of axes, the batch included."""
        return len(self.shape)

    @property
    def visible_shape(self) -> tuple[int, ...]:
        """The shape as the program sees it, with the batch size at the batch axis."""
        return tuple(self.batch_size if axis == self.batch else n for axis, n in enumerate(self.shape))

    def axis(self, axis: int) -> int:
        """Normalise an axis that counts from the end."""
        normal = axis + self.ndim if axis < 0 else axis
        if not 0 <= normal < max(self.ndim, 1):
            raise NetworkError(f"{self.tape.place}: axis {axis} of a tensor with {self.ndim} axes")
        return normal

    def feature_axis(self, axis: int) -> int:
        """Normalise an axis along which entries are combined; the batch axis is refused."""
        normal = self.axis(axis)
        if normal == self.batch:
            raise self.mixing()
        return normal

    def mixing(self) -> NetworkError:
        """Build the error for operators that combine entries of the batch."""
        return NetworkError(
            f"{self.tape.place} mixes entries of the batch (axis {self.batch}); a network must treat "
            "every input by itself: keep the first axis for the batch"
        )

    def with_expression(self, expression: Expression, shape: Sequence[int] | None = None) -> Tensor:
        """Return a tensor with another expression and possibly shape, the batch axis staying where it is."""
        new = self.shape if shape is None else tuple(int(n) for n in shape)
        return Tensor(self.tape, self.tape.keep(expression), new, self.batch, self.batch_size)

    def numbers(self) -> Index:
        """Return the numbers of the elements, in the tensor's shape."""
        return np.arange(self.expression.size, dtype=np.intp).reshape(self.shape)

    def gather(self, index: Index, batch: int | None) -> Tensor:
        """Elements by number (-1 for zero), in the shape of `index`."""
        expression = self.expression.take(_guarded(index).ravel())
        return Tensor(self.tape, expression, index.shape, batch, self.batch_size)

    def rearrange(self, move: Callable[[Index], Any]) -> Tensor:
        """Apply a function that moves elements and leaves the batch axis where it is."""
        return self.gather(np.asarray(move(self.numbers())), self.batch)


Value: TypeAlias = Tensor | FloatArray


def _guarded(index: Index) -> Index:
    if index.size > MAX_SYMBOLS:
        raise NetworkError(f"a tensor of {index.size} elements is too large (the limit is {MAX_SYMBOLS})")
    return index


def permute(t: Tensor, order: Sequence[int]) -> Tensor:
    """Reorder the axes."""
    axes = [t.axis(a) for a in order]
    batch = None if t.batch is None else axes.index(t.batch)
    return t.gather(t.numbers().transpose(axes), batch)


def reshape(t: Tensor, sizes: Sequence[int]) -> Tensor:
    """Reshape to sizes as the program sees them (one may be -1)."""
    target = [int(n) for n in sizes]
    total = prod(t.visible_shape)
    if -1 in target:
        rest = prod(n for n in target if n != -1)
        if target.count(-1) > 1 or rest == 0 or total % rest:
            raise NetworkError(f"{t.tape.place}: cannot reshape {t.visible_shape} to {tuple(sizes)}")
        target[target.index(-1)] = total // rest
    if prod(target) != total:
        raise NetworkError(f"{t.tape.place}: cannot reshape {t.visible_shape} to {tuple(sizes)}")
    if t.batch is None:
        return Tensor(t.tape, t.expression, tuple(target), None, t.batch_size)
    before = prod(t.shape[: t.batch])
    for axis, n in enumerate(target):
        if n == t.batch_size and prod(target[:axis]) == before:
            target[axis] = 1
            return Tensor(t.tape, t.expression, tuple(target), axis, t.batch_size)
    raise NetworkError(
        f"{t.tape.place} reshapes {t.visible_shape} to {tuple(sizes)}, across the batch (axis {t.batch}, "
        f"traced with {t.batch_size} entries); keep the batch as an axis of its own"
    )


def expand(t: Tensor, sizes: Sequence[int]) -> Tensor:
    """Broadcast to sizes as the program sees them; -1 keeps an axis."""
    lead = len(sizes) - t.ndim
    batch = None if t.batch is None else t.batch + lead
    target = []
    for axis, n in enumerate(sizes):
        own = t.shape[axis - lead] if axis >= lead else 1
        if axis == batch:
            if n not in (-1, t.batch_size):
                raise t.mixing()
            target.append(1)
        else:
            target.append(own if n == -1 else int(n))
    if prod(target) > MAX_SYMBOLS:
        raise NetworkError(f"{t.tape.place}: a tensor of shape {tuple(target)} is too large")
    try:
        index = np.broadcast_to(t.numbers(), target)
    except ValueError as error:
        raise NetworkError(f"{t.tape.place}: cannot expand {t.visible_shape} to {tuple(sizes)}") from error
    return t.gather(index, batch)


def squeeze(t: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Drop axes of size one (all of them, or those named)."""
    named = range(t.ndim) if axes is None else [t.axis(a) for a in axes]
    drop = {a for a in named if t.visible_shape[a] == 1 and a != t.batch}
    shape = tuple(n for a, n in enumerate(t.shape) if a not in drop)
    batch = None if t.batch is None else t.batch - sum(a < t.batch for a in drop)
    return Tensor(t.tape, t.expression, shape, batch, t.batch_size)


def unsqueeze(t: Tensor, axis: int) -> Tensor:
    """Insert an axis of size one."""
    place = axis + t.ndim + 1 if axis < 0 else axis
    shape = (*t.shape[:place], 1, *t.shape[place:])
    batch = t.batch + 1 if t.batch is not None and place <= t.batch else t.batch
    return Tensor(t.tape, t.expression, shape, batch, t.batch_size)


def select(t: Tensor, axis: int, position: int) -> Tensor:
    """Take one position along an axis and drop that axis."""
    place = t.feature_axis(axis)
    if not -t.shape[place] <= position < t.shape[place]:
        raise NetworkError(f"{t.tape.place}: position {position} on an axis of size {t.shape[place]}")
    batch = t.batch - 1 if t.batch is not None and place < t.batch else t.batch
    return t.gather(np.take(t.numbers(), position, axis=place), batch)


def slice_axis(t: Tensor, axis: int, start: int | None, stop: int | None, step: int | None = 1) -> Tensor:
    """Slice one axis; of the batch only the whole can be taken."""
    place = t.axis(axis)
    cut = slice(start, stop, step)
    if place == t.batch:
        if len(range(t.batch_size)[cut]) != t.batch_size or (step or 1) < 0:
            raise t.mixing()
        return t
    return t.rearrange(lambda n: n[(slice(None),) * place + (cut,)])


def index_axis(t: Tensor, axis: int, positions: Index) -> Tensor:
    """Gather constant positions along an axis; the axes of `positions` replace it."""
    place = t.feature_axis(axis)
    if positions.size and not -t.shape[place] <= positions.min() <= positions.max() < t.shape[place]:
        raise NetworkError(f"{t.tape.place}: an index is outside an axis of size {t.shape[place]}")
    batch = t.batch
    if batch is not None and place < batch:
        batch += positions.ndim - 1
    return t.gather(np.take(t.numbers(), positions, axis=place), batch)


def pad(t: Tensor, widths: Sequence[tuple[int, int]], value: float) -> Tensor:
    """Pad every axis by (before, after) constants; negative widths crop."""
    if t.batch is not None and tuple(widths[t.batch]) != (0, 0):
        raise t.mixing()
    index = t.numbers()
    for axis, (before, after) in enumerate(widths):
        cut = slice(max(0, -before), index.shape[axis] - max(0, -after))
        index = index[(slice(None),) * axis + (cut,)]
    size = prod(n + max(0, a) + max(0, b) for n, (a, b) in zip(index.shape, widths, strict=True))
    if size > MAX_SYMBOLS:
        raise NetworkError(f"{t.tape.place}: the padded tensor is too large")
    grown = [(max(0, a), max(0, b)) for a, b in widths]
    index = np.pad(index, grown, constant_values=-1)
    padded = t.gather(index, t.batch)
    if value == 0:
        return padded
    fill = constant_expression(np.where(index.ravel() < 0, value, 0.0))
    return padded.with_expression(padded.expression + fill)


def as_tensor(value: Value, like: Tensor) -> Tensor:
    """Wrap a constant as a tensor beside `like` (same rank), its rows along the batch being equal."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value, dtype=np.float64)
    if like.batch is not None and array.ndim > 0:
        array = _drop_batch(array, like, like.batch - like.ndim)
    lead = like.ndim - array.ndim
    batch = None if like.batch is None else like.batch - lead
    if batch is not None and batch < 0:
        array = array.reshape((1,) * lead + array.shape)
        batch = like.batch
    return Tensor(like.tape, constant_expression(array), array.shape, batch, like.batch_size)


def _drop_batch(array: FloatArray, like: Tensor, from_right: int) -> FloatArray:
    """Reduce a constant's batch axis (counted from the right) to one entry; its entries must be equal."""
    axis = array.ndim + from_right
    if axis < 0 or array.shape[axis] == 1:
        return array
    first = np.take(array, [0], axis=axis)
    if array.shape[axis] != like.batch_size or not (array == first).all():
        raise like.mixing()
    return first


def concatenate(values: Sequence[Value], axis: int) -> Tensor:
    """Join tensors and constants along an axis."""
    like = next(v for v in values if isinstance(v, Tensor))
    place = like.feature_axis(axis)
    kept = [v for v in values if isinstance(v, Tensor) or v.shape != (0,)]
    parts = [as_tensor(v, like) for v in kept]
    if any(p.batch != like.batch for p in parts):
        raise like.mixing()
    offset, numbers = 0, []
    for p in parts:
        numbers.append(p.numbers() + offset)
        offset += p.expression.size
    try:
        index = np.concatenate(numbers, axis=place)
    except ValueError as error:
        shapes = [p.visible_shape for p in parts]
        raise NetworkError(f"{like.tape.place}: cannot join shapes {shapes} along axis {axis}") from error
    expression = stack([p.expression for p in parts]).take(_guarded(index).ravel())
    return Tensor(like.tape, expression, index.shape, like.batch, like.batch_size)


def replace(t: Tensor, source: Value, place: tuple[slice, ...]) -> Tensor:
    """Overwrite a part of a tensor."""
    new = as_tensor(source, t)
    index = t.numbers()
    index[place] = new.numbers() + t.expression.size
    return t.with_expression(stack([t.expression, new.expression]).take(index.ravel()))


def align(a: Value, b: Value) -> tuple[Tensor, Tensor]:
    """Broadcast two operands, at least one of them symbolic, against each other."""
    like = a if isinstance(a, Tensor) else b
    assert isinstance(like, Tensor)
    left, right = (
        v if isinstance(v, Tensor) else Tensor(like.tape, *_constant(v, like), like.batch_size)
        for v in (a, b)
    )
    ndim = max(left.ndim, right.ndim)
    places = {t.batch + ndim - t.ndim for t in (left, right) if t.batch is not None}
    if len(places) > 1:
        raise like.mixing()
    batch = places.pop() if places else None
    try:
        shape = np.broadcast_shapes(left.shape, right.shape)
    except ValueError as error:
        raise NetworkError(
            f"{like.tape.place}: shapes {left.visible_shape} and {right.visible_shape} do not broadcast"
        ) from error
    if prod(shape) > MAX_SYMBOLS:
        raise NetworkError(f"{like.tape.place}: a tensor of shape {shape} is too large")
    if batch is not None and shape[batch] != 1:
        raise like.mixing()

    def spread(t: Tensor) -> Tensor:
        return t if t.shape == shape else t.gather(np.broadcast_to(t.numbers(), shape), batch)

    return spread(left), spread(right)


def _constant(value: FloatArray, like: Tensor) -> tuple[Expression, tuple[int, ...], None]:
    array = np.asarray(value, dtype=np.float64)
    if like.batch is not None:
        array = _drop_batch(array, like, like.batch - like.ndim)
    return constant_expression(array), array.shape, None
