"""Replays the claim that rules on signs and curvature prove a traced program convex.

Shares no code with `jensen.calculus`, and knows few operators: those of the architectures of `jensen.nn`. Of
every entry of every value it keeps whether it can be negative, can be positive, may bend up, may bend down,
and whether it moves with the chosen inputs. Entries are only ever joined by "or": where a sum over entries is
needed, zeros and ones are counted, and no rounding can turn a count of at least one into zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.errors import CertificateError
from jensen.network import Domain
from jensen.program import Name, Node, Program

Flags = NDArray[np.bool_]
Meeting = Callable[[Flags, Flags], Flags]


@dataclass(frozen=True, eq=False)
class _Known:
    """Bool arrays of one shape: what an entry may do."""

    negative: Flags
    positive: Flags
    up: Flags
    down: Flags
    moves: Flags

    def each(self, change: Callable[[Flags], Flags]) -> _Known:
        return _Known(*map(change, (self.negative, self.positive, self.up, self.down, self.moves)))

    def minus(self) -> _Known:
        return _Known(self.positive, self.negative, self.down, self.up, self.moves)


def replay_rules(
    program: Program,
    domain: Domain,
    arguments: Sequence[int],
    wrt: Sequence[int] | None,
    output: int,
) -> None:
    """Confirm that an output is convex in the chosen entries of the first sample of the chosen inputs.

    Parameters
    ----------
    program : Program
    domain : Domain
        Of the entries of one sample of the chosen inputs, one input after the other.
    arguments : sequence of int
        The chosen inputs; the others, and other samples, are held at any value.
    wrt : sequence of int or None
        Which of the entries move; all by default.
    output : int
        Which entry of the flattened outputs of one sample.

    Raises
    ------
    CertificateError
        If the rules do not prove it.
    """
    inputs = program.inputs
    if len(inputs) != len(program.leaves) or not arguments or len(set(arguments)) != len(arguments):
        raise CertificateError("the certificate does not name inputs of the program")
    if not all(0 <= i < len(inputs) for i in arguments):
        raise CertificateError(f"the certificate names an input beyond the program's {len(inputs)}")
    values = {name: _constant(array) for name, array in program.constants.items()}
    for leaf in inputs:
        anything, still = np.ones(leaf.shape, dtype=bool), np.zeros(leaf.shape, dtype=bool)
        values[leaf.name] = _Known(anything, anything, still, still, still)
    sizes = [inputs[i].size for i in arguments]
    lo, hi = domain.bounds(sum(sizes))
    chosen = np.isin(np.arange(sum(sizes)), range(sum(sizes)) if wrt is None else wrt)
    start = 0
    for i, size in zip(arguments, sizes, strict=True):
        leaf, part = inputs[i], slice(start, start + size)
        moves = np.zeros(leaf.shape, dtype=bool)
        moves[(0,) if leaf.batched else ()] = chosen[part].reshape(leaf.sample_shape)
        low, high = (np.broadcast_to(v[part].reshape(leaf.sample_shape), leaf.shape) for v in (lo, hi))
        still = np.zeros(leaf.shape, dtype=bool)
        values[leaf.name] = _Known(low < 0, high > 0, still, still, moves)
        start += size
    for node in program.nodes:
        values[node.name] = _applied(node, values, program)
    batch = {leaf.shape[0] for leaf in inputs if leaf.batched}
    results = [values[name].down for name in program.outputs]
    if batch and any(not result.ndim or {result.shape[0]} != batch for result in results):
        raise CertificateError("an output of the program has no batch as its first axis")
    flat = np.concatenate([np.ravel(result[0] if batch else result) for result in results])
    if not 0 <= output < flat.size:
        raise CertificateError(f"the certificate names output {output} of {flat.size}")
    if flat[output]:
        raise CertificateError("the rules do not prove that the output never bends down")


def _constant(array: NDArray[Any]) -> _Known:
    numbers = np.asarray(array)
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise CertificateError("a constant of the program is not finite")
    still = np.zeros(numbers.shape, dtype=bool)
    return _Known(numbers < 0, numbers > 0, still, still, still)


def _applied(node: Node, values: Mapping[str, _Known], program: Program) -> _Known:
    inputs = [values[name] for name in node.inputs]
    rule = _RULES.get(node.packet)
    if rule is not None:
        result = rule(_Call(node, values))
        if result is not None:
            if result.up.shape != node.shape:
                raise CertificateError(
                    f"{node.place}: {node.operator} has another shape than the program says"
                )
            return result
    if any(value.moves.any() for value in inputs):
        raise CertificateError(
            f"the verifier has no rule for {node.operator} at {node.place}, as it stands there"
        )
    if not all(isinstance(n, int) for n in node.shape):
        raise CertificateError(f"the verifier has no rule for the several results of {node.operator}")
    # What does not move stays what it is, whatever the operator.
    shape: Any = node.shape
    anything, still = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    return _Known(anything, anything, still, still, still)


class _Call:
    """A node and what is known of its arguments."""

    def __init__(self, node: Node, values: Mapping[str, _Known]) -> None:
        self.node, self._values = node, values

    def known(self, name: str) -> _Known:
        given = self.node.args[name]
        return (
            self._values[given.name] if isinstance(given, Name) else _constant(np.asarray(given, dtype=float))
        )

    def number(self, name: str, default: float) -> float:
        given = self.node.args.get(name)
        if given is not None and not isinstance(given, (int, float)):
            raise CertificateError(f"{self.node.place}: {name} is no number")
        return default if given is None else float(given)

    def has(self, name: str) -> bool:
        return self.node.args.get(name) is not None


def _sum(a: _Known, b: _Known) -> _Known:
    pairs = zip(
        (a.negative, a.positive, a.up, a.down, a.moves),
        (b.negative, b.positive, b.up, b.down, b.moves),
        strict=True,
    )
    return _Known(*(x | y for x, y in pairs))


def _product(a: _Known, b: _Known, meet: Meeting) -> _Known | None:
    """Apply a map that is linear in a and in b; nothing is known where both move."""
    if b.moves.any():
        if a.moves.any():
            return None
        return _product(b, a, lambda x, y: meet(y, x))
    return _Known(
        meet(a.negative, b.positive) | meet(a.positive, b.negative),
        meet(a.positive, b.positive) | meet(a.negative, b.negative),
        meet(a.up, b.positive) | meet(a.down, b.negative),
        meet(a.down, b.positive) | meet(a.up, b.negative),
        meet(a.moves, b.positive | b.negative),
    )


def _convex(a: _Known, below: int, negative: Flags, positive: Flags) -> _Known:
    """Compose with a convex function that rises above zero, and below it rises (1) or falls (-1)."""
    falling = np.where(~a.negative, a.down, np.where(~a.positive, a.up, a.up | a.down))
    return _Known(negative, positive, a.moves, a.down if below > 0 else falling, a.moves)


def _relu(call: _Call) -> _Known:
    a = call.known("self")
    return _convex(a, 1, np.zeros_like(a.negative), a.positive)


def _leaky_relu(call: _Call) -> _Known | None:
    a, slope = call.known("self"), call.number("negative_slope", 0.01)
    if not slope <= 1:
        return None
    none = np.zeros_like(a.negative)
    return _convex(
        a,
        1 if slope >= 0 else -1,
        a.negative if slope > 0 else none,
        a.positive | a.negative if slope < 0 else a.positive,
    )


def _softplus(call: _Call) -> _Known | None:
    """log(1 + exp(beta x)) / beta, of which torch's threshold is a rounding."""
    a = call.known("self")
    if not (call.number("beta", 1.0) > 0 and call.number("threshold", 20.0) >= 20.0):
        return None
    return _convex(a, 1, np.zeros_like(a.negative), np.ones_like(a.positive))


def _elu(call: _Call) -> _Known | None:
    """X above zero and alpha (exp(x) - 1) below, whose slope is at most alpha."""
    a = call.known("self")
    plain = call.number("scale", 1.0) == 1 and call.number("input_scale", 1.0) == 1
    return _convex(a, 1, a.negative, a.positive) if plain and 0 <= call.number("alpha", 1.0) <= 1 else None


def _celu(call: _Call) -> _Known | None:
    """X above zero and alpha (exp(x / alpha) - 1) below."""
    a = call.known("self")
    return _convex(a, 1, a.negative, a.positive) if call.number("alpha", 1.0) > 0 else None


def _even(call: _Call) -> _Known | None:
    """|x|, x^2, and even powers."""
    a = call.known("self")
    power = call.node.args.get("exponent", 2)
    if not isinstance(power, (int, float)) or power not in (2, 4, 6, 8):
        return None
    return _convex(a, -1, np.zeros_like(a.negative), a.positive | a.negative)


def _add(call: _Call) -> _Known | None:
    a, b = call.known("self"), call.known("other")
    if call.number("alpha", 1.0) != 1:
        return None
    return _sum(a, b.minus() if "sub" in call.node.packet else b)


def _mul(call: _Call) -> _Known | None:
    return _product(call.known("self"), call.known("other"), np.logical_and)


def _divided(call: _Call) -> _Known | None:
    """Divide by what is still and not zero: signs are those of the product."""
    a, b = call.known("self"), call.known("other")
    plain = call.node.args.get("rounding_mode") is None and not b.moves.any()
    if not plain or (b.positive == b.negative).any():
        return None
    return _product(a, b, np.logical_and)


def _counted(a: Flags, b: Flags, count: Callable[[Any, Any], Any]) -> Flags:
    """Whether any product of two flags is in a sum, for sums of products of zeros and ones."""
    result: Flags = np.asarray(count(a.astype(np.float64), b.astype(np.float64))) > 0.5
    return result


def _linear(call: _Call) -> _Known | None:
    weight = call.known("weight")
    if weight.up.ndim != 2:
        return None
    result = _product(
        call.known("input"), weight, lambda x, w: _counted(x, w, lambda p, q: np.matmul(p, q.T))
    )
    if result is None or not call.has("bias"):
        return result
    return _sum(result, call.known("bias"))


def _convolution(call: _Call) -> _Known | None:
    """Add up what every position of the kernel contributes."""
    args, weight = call.node.args, call.known("weight")
    axes = weight.up.ndim - 2
    padding = args.get("padding", [0])
    plain = args.get("groups", 1) == 1 and isinstance(padding, (list, tuple))
    if not plain or call.known("input").up.ndim != axes + 2:
        return None

    def spread(values: Any) -> list[int]:
        return list(values) * axes if len(values) == 1 else list(values)

    stride, padding, dilation = (
        spread(v) for v in (args.get("stride", [1]), padding, args.get("dilation", [1]))
    )

    def count(x: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
        sizes = [
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(padded.shape[2:], w.shape[2:], stride, dilation, strict=True)
        ]
        total: NDArray[np.float64] = np.zeros((x.shape[0], w.shape[0], *sizes))
        kernel = w.reshape(*w.shape[:2], -1)
        for number, place in enumerate(product(*map(range, w.shape[2:]))):
            cut = [
                slice(i * d, i * d + s * (n - 1) + 1, s)
                for i, d, s, n in zip(place, dilation, stride, sizes, strict=True)
            ]
            seen = padded[(slice(None), slice(None), *cut)]
            total += np.moveaxis(np.tensordot(seen, kernel[:, :, number], ((1,), (1,))), -1, 1)
        return total

    result = _product(call.known("input"), weight, lambda x, w: _counted(x, w, count))
    if result is None or not call.has("bias"):
        return result
    return _sum(result, call.known("bias").each(lambda flags: flags.reshape(-1, *(1,) * axes)))


def _reshaped(call: _Call) -> _Known:
    """Reshape in the order in which entries are counted."""
    shape: Any = call.node.shape
    name = "self" if "self" in call.node.args else "input"
    return call.known(name).each(lambda flags: flags.reshape(shape))


def _gathered(call: _Call) -> _Known | None:
    """Add, or take the mean, over axes."""
    dtype, axes = call.node.args.get("dtype"), call.node.args.get("dim")
    if dtype is not None and not str(dtype).startswith("float"):
        return None
    over = None if axes is None or axes == [] else tuple(axes) if isinstance(axes, (list, tuple)) else axes
    keep = bool(call.node.args.get("keepdim", False))
    return call.known("self").each(lambda flags: np.asarray(flags.any(axis=over, keepdims=keep)))


def _same(call: _Call) -> _Known | None:
    return None if call.node.args.get("train", False) else _reshaped(call)


_RULES: dict[str, Callable[[_Call], _Known | None]] = {
    "aten.relu": _relu,
    "aten.leaky_relu": _leaky_relu,
    "aten.softplus": _softplus,
    "aten.elu": _elu,
    "aten.celu": _celu,
    "aten.abs": _even,
    "aten.square": _even,
    "aten.pow": _even,
    "aten.add": _add,
    "aten.sub": _add,
    "aten.mul": _mul,
    "aten.div": _divided,
    "aten.neg": lambda call: call.known("self").minus(),
    "aten.linear": _linear,
    "aten.conv1d": _convolution,
    "aten.conv2d": _convolution,
    "aten.conv3d": _convolution,
    "aten.sum": _gathered,
    "aten.mean": _gathered,
    "aten.flatten": _reshaped,
    "aten.view": _reshaped,
    "aten.reshape": _reshaped,
    "aten.squeeze": _reshaped,
    "aten.unsqueeze": _reshaped,
    "aten.alias": _same,
    "aten.clone": _same,
    "aten.contiguous": _same,
    "aten.detach": _same,
    "aten.dropout": _same,
}
"""Rules; None where a rule has nothing to say about the arguments."""
