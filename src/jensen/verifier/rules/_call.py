"""One call of an operator, with what is known of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jensen.errors import CertificateError
from jensen.program import Name, Node, Program
from jensen.verifier.rules._known import Flags, Gathering, Known, constant

Several: TypeAlias = tuple[Known, ...]
Rule: TypeAlias = "Callable[[Call], Known | Several | None]"
"""Rules return None where they have nothing to say about the arguments."""


class Call:
    """A node of a program, and what is known of all values before it."""

    def __init__(
        self,
        node: Node,
        values: Mapping[str, Known | Several],
        makers: Mapping[str, Node],
        program: Program,
    ) -> None:
        self.node, self._values, self._makers, self._program = node, values, makers, program

    def refused(self, why: str) -> CertificateError:
        """Make the error that says where the rules stop."""
        return CertificateError(f"{self.node.operator} at {self.node.place}: {why}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the only result."""
        found = self.node.shape
        if not all(isinstance(n, int) for n in found):
            raise self.refused("it has several results")
        return found  # type: ignore[return-value]

    def given(self, *names: str) -> Any:
        """Return the first of these arguments that is there, as the program holds it."""
        args = self.node.args
        return next((args[name] for name in names if args.get(name) is not None), None)

    def known(self, *names: str) -> Known:
        """Return what is known of the first of these arguments that is there."""
        return self.of(self.given(*names))

    def of(self, given: Any) -> Known:
        """Return what is known of an argument, of this node or another."""
        found = self._values.get(given.name) if isinstance(given, Name) else None
        if isinstance(found, Known):
            return found
        if isinstance(given, (bool, int, float)):
            return constant(np.float64(_real(given)))
        raise self.refused(f"an argument is {given!r:.60}, which is no tensor")

    def part(self, given: Any, place: Any) -> Known:
        """Return what is known of one of several results."""
        found = self._values.get(given.name) if isinstance(given, Name) else None
        if not isinstance(found, tuple) or type(place) is not int or not 0 <= place < len(found):
            raise self.refused("it does not name one of several results")
        return found[place]

    def number(self, name: str, default: float) -> float:
        """Return a number that is written in the program."""
        given = self.node.args.get(name)
        if given is not None and not isinstance(given, (bool, int, float)):
            raise self.refused(f"{name} is no number")
        return default if given is None else _real(given)

    def whole(self, name: str, default: int) -> int:
        """Return a whole number that is written in the program."""
        given = self.node.args.get(name)
        if given is not None and type(given) is not int:
            raise self.refused(f"{name} is no whole number")
        return default if given is None else int(given)

    def flag(self, name: str) -> bool:
        """Return a truth value that is written in the program, False by default."""
        return bool(self.node.args.get(name, False))

    def numbers(self, given: Any) -> NDArray[Any] | None:
        """Return the numbers of an argument that is a constant; None where it is not."""
        if isinstance(given, Name):
            return self._program.constants.get(given.name)
        return np.asarray(_real(given)) if isinstance(given, (int, float)) else None

    def maker(self, given: Any) -> Node | None:
        """Find the node that made a value; None of leaves, constants and numbers."""
        return self._makers.get(given.name) if isinstance(given, Name) else None

    def is_same(self, one: str, other: str) -> bool:
        """Whether two arguments are one value."""
        first = self.node.args.get(one)
        return isinstance(first, Name) and first == self.node.args.get(other)

    def run(self, changes: Mapping[str, Any]) -> Any:
        """Apply the node's own operator, by torch, to other tensors than the program's.

        Arrays stand for tensors, in arguments and results.
        """
        import torch

        from jensen.program._evaluate import applied

        def tensor(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return torch.tensor(value)
            if isinstance(value, (list, tuple)):
                return [tensor(entry) for entry in value]
            return value

        args = {name: tensor(value) for name, value in {**self.node.args, **changes}.items()}
        try:
            with torch.no_grad():
                found = applied(self.node, args)
        except (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise self.refused(f"it does not fit its arguments: {error}") from error
        return [part.numpy() for part in found] if isinstance(found, (list, tuple)) else found.numpy()

    def gathering(self, name: str = "self", sign: int = 1) -> Gathering:
        """Tell which results of an operator that adds up or picks entries see a flag.

        It is run on zeros and ones. With the sign -1 the operator is one that picks smallest entries.
        """

        def found(flags: Flags) -> Flags:
            result = self.run({name: sign * flags.astype(np.float64)})
            result = result[0] if isinstance(result, list) else result
            # Averages of zeros and ones are zero only if all are zero.
            return np.asarray(sign * result > 0)

        a = self.known(name)
        if not found(np.ones(a.shape, dtype=bool)).all():
            raise self.refused("a result is made of no entry")
        return found


def axes_of(given: Any) -> tuple[int, ...] | None:
    """Read the axes of a reduction; None for all."""
    if given is None or (isinstance(given, (list, tuple)) and not given):
        return None
    listed: Sequence[int] = given if isinstance(given, (list, tuple)) else [given]
    return tuple(listed)


def _real(given: Any) -> float:
    try:
        return float(given)
    except OverflowError as error:
        raise CertificateError(f"{given!r:.40}... is no number that a float can hold") from error
