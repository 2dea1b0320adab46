"""Expressions: one random program as a torch program, a cvxpy expression, enclosures of its value, and text.

A value is a vector of three entries or a single number. Every operator is written down four times, and what
is compared is what the calculus says of the first with what cvxpy says of the second; the third decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from flint import arb
from numpy.typing import NDArray

from jensen.network.lowering._program import call
from jensen.program import Leaf, Name, Node, Program

WIDTH = 3
SIGNS = {"x": "any", "y": "nonnegative", "z": "positive"}
"""The variables: vectors of which these signs are declared."""

Balls = list[arb]
Params = tuple[Any, ...]


class Writer:
    """Writes a torch program for a number of samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.leaves = tuple(Leaf(name, name, "input", (samples, WIDTH)) for name in SIGNS)
        self.metas: dict[str, Any] = {
            leaf.name: torch.empty(leaf.shape, dtype=torch.float64, device="meta") for leaf in self.leaves
        }
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[np.float64]] = {}
        self.computed: dict[str, Name] = {}
        self.required: list[tuple[str, str]] = []

    def __call__(self, operator: str, /, **args: Any) -> Name:
        """Append an operator of aten."""
        # What is computed twice is one value, as in a program that was traced.
        same = repr((operator, sorted(args.items())))
        if same in self.computed:
            return self.computed[same]
        name = f"n{len(self.nodes)}"
        resolved = {k: self.metas[v.name] if isinstance(v, Name) else v for k, v in args.items()}
        if operator == "_operator.getitem":
            meta = resolved["a"][resolved["b"]]
        else:
            operator = f"aten.{operator}"
            meta = call(operator, resolved)
        self.metas[name] = meta
        shape: Any = (
            tuple(meta.shape) if isinstance(meta, torch.Tensor) else tuple(tuple(m.shape) for m in meta)
        )
        self.nodes.append(Node(name, operator, args, name, shape))
        self.computed[same] = Name(name)
        return self.computed[same]

    def constant(self, values: Any) -> Name:
        """Keep numbers among the constants."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype=np.float64)
        self.metas[name] = torch.empty(self.constants[name].shape, dtype=torch.float64, device="meta")
        return Name(name)

    def require(self, value: Name, sign: str) -> None:
        """Say that what follows is defined only where a value is nonnegative or positive."""
        self.required.append((value.name, sign))

    def zeros(self, like: Name) -> Name:
        """Zeros of the shape of a value."""
        return self("zeros_like.default", self=like)


@dataclass(frozen=True)
class Operator:
    """One operator of the generator.

    Attributes
    ----------
    text : str
        A format string for the arguments, and `p` for the parameters.
    write : callable
        Appends it to a torch program.
    ball : callable
        Encloses it.
    cvx : callable or None
        Writes it for cvxpy; None where that has no words for it.
    arity : int
    reduces, needs_vector : bool
        Whether the result is one number; whether the argument has to be a vector.
    draw : callable
        Draws its parameters, for a width.
    posy : bool
        Whether it keeps what is positive positive.
    """

    text: str
    write: Callable[[Writer, Sequence[Name], Params], Name]
    ball: Callable[[Sequence[Balls], Params], Balls]
    cvx: Callable[[Sequence[Any], Params], Any] | None = None
    arity: int = 1
    reduces: bool = False
    needs_vector: bool = False
    draw: Callable[[np.random.Generator, int], Params] = field(default=lambda rng, width: ())
    posy: bool = False


@dataclass(frozen=True, eq=False)
class Expression:
    """A variable, or an operator with its arguments; expressions may share parts."""

    width: int
    operator: Operator | None = None
    arguments: tuple[Expression, ...] = ()
    parameters: Params = ()
    variable: str = ""

    @property
    def size(self) -> int:
        """Number of operators as it is written out."""
        return int(self.operator is not None) + sum(part.size for part in self.arguments)

    def __str__(self) -> str:
        if self.operator is None:
            return self.variable
        shown = [_shown(value) for value in self.parameters]
        return self.operator.text.format(*map(str, self.arguments), p=shown)

    def variables(self) -> set[str]:
        """Names of the variables that occur."""
        if self.operator is None:
            return {self.variable}
        return set().union(*(part.variables() for part in self.arguments))

    def program(self, samples: int) -> tuple[Program, list[tuple[str, str]]]:
        """Write a torch program for a number of samples, and what has to be positive in it.

        All intermediates are outputs, the value last.
        """
        writer = Writer(samples)
        seen: dict[int, Name] = {}

        def written(expression: Expression) -> Name:
            if id(expression) not in seen:
                if expression.operator is None:
                    seen[id(expression)] = Name(expression.variable)
                else:
                    arguments = [written(part) for part in expression.arguments]
                    seen[id(expression)] = expression.operator.write(writer, arguments, expression.parameters)
            return seen[id(expression)]

        last = written(self).name
        outputs = [node.name for node in writer.nodes if not isinstance(node.shape[0], tuple)]
        outputs = [name for name in outputs if name != last]
        return (
            Program(writer.leaves, writer.constants, tuple(writer.nodes), (*outputs, last)),
            writer.required,
        )

    def ball(self, point: Mapping[str, Balls]) -> arb:
        """Enclose the value at a point."""
        seen: dict[int, Balls] = {}

        def enclosed(expression: Expression) -> Balls:
            if expression.operator is None:
                return point[expression.variable]
            if id(expression) not in seen:
                arguments = [enclosed(part) for part in expression.arguments]
                seen[id(expression)] = expression.operator.ball(arguments, expression.parameters)
            return seen[id(expression)]

        return enclosed(self)[0]

    def cvx(self, variables: Mapping[str, Any], exponentials: Mapping[str, Any] | None = None) -> Any:
        """Write it for cvxpy; None where that is not possible.

        `exponentials` stand for the exponentials of variables, for geometric programmes.
        """
        seen: dict[int, Any] = {}

        def written(expression: Expression) -> Any:
            if expression.operator is None:
                return None if exponentials is not None else variables[expression.variable]
            if id(expression) not in seen:
                inner = expression.arguments[0]
                if exponentials is not None and expression.operator.text == "exp({0})" and not inner.operator:
                    seen[id(expression)] = exponentials[inner.variable]
                else:
                    parts = [written(part) for part in expression.arguments]
                    known = expression.operator.cvx is not None and all(part is not None for part in parts)
                    seen[id(expression)] = (
                        expression.operator.cvx(parts, expression.parameters)
                        if known and expression.operator.cvx is not None
                        else None
                    )
            return seen[id(expression)]

        return written(self)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist()).replace(".0,", ",").replace(".0]", "]")
    return f"{value:g}" if isinstance(value, float) else str(value)
