"""`curvature`: how any PyTorch computation bends in chosen inputs and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jensen.calculus._analysis import Analysis, analyse
from jensen.calculus._call import Condition
from jensen.calculus._explain import Break, first_break
from jensen.calculus._value import (
    AFFINE,
    ANY_SIGN,
    CONSTANT,
    LOG_CONCAVE,
    LOG_CONVEX,
    NEGATIVE,
    NONNEGATIVE,
    POSITIVE,
    ZERO,
    Bits,
    Value,
    kind_of,
    when,
)
from jensen.errors import ArgumentError, DomainError
from jensen.network import Box, Domain, FloatArray
from jensen.program import Leaf, Program

Variables = int | str | Sequence[int | str]


@dataclass(frozen=True)
class Intermediate:
    """What is known of one value of a program.

    Attributes
    ----------
    name, operator, place : str
        The operator is "input" or "parameter" for leaves.
    shape : tuple of int
    curvature : str
        "constant", "affine", "convex", "concave" or "unknown", of all entries together.
    sign : str
        For instance "nonneg", "positive", "zero" or "unknown", of all entries together.
    logarithm : str
        "log-affine", "log-convex", "log-concave" where that is known of all entries that vary; else "".
    reads : tuple of str
        Names of the values that it is made of.
    """

    name: str
    operator: str
    place: str
    shape: tuple[int, ...]
    curvature: str
    sign: str
    reads: tuple[str, ...] = ()
    logarithm: str = ""


@dataclass(frozen=True, eq=False)
class Curvature:
    """How a program bends in the chosen variables, the others being held at any value.

    Attributes
    ----------
    kind : {"constant", "affine", "convex", "concave", "unknown"}
        Of all entries of all outputs together.
    outputs : tuple of arrays of str
        The same for every entry of every output.
    wrt : tuple of str
        Names of the variables.
    conditions : tuple of Condition
        What is taken for granted, such as that the argument of a logarithm is positive. The answer holds on
        every convex set on which they do.
    broken : Break or None
        Where the argument breaks, if the kind is "unknown".
    registered : tuple of str
        Operators on whose rules the answer rests that a user registered.
    intermediates : tuple of Intermediate
    program : Program
    domains : mapping of str to tuple of Domain
        What was declared, by labels of inputs and parameters.
    """

    kind: str
    outputs: tuple[NDArray[np.str_], ...]
    wrt: tuple[str, ...]
    conditions: tuple[Condition, ...]
    broken: Break | None
    registered: tuple[str, ...]
    intermediates: tuple[Intermediate, ...]
    program: Program
    domains: Mapping[str, tuple[Domain, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write the annotated program, and where the argument breaks."""
        rows = [
            (
                f"{v.name} = {v.operator}({', '.join(v.reads)})"
                if v.reads
                else f"{v.name}: {v.operator} {v.place}",
                v,
            )
            for v in self.intermediates
        ]
        width = min(72, max((len(text) for text, _ in rows), default=0))
        lines = [f"{self.kind.upper()} in {', '.join(self.wrt)}"]
        for text, v in rows:
            mark = "  <- breaks here" if self.broken is not None and v.name == self.broken.node else ""
            log = f", {v.logarithm}" if v.logarithm else ""
            lines.append(f"  {text:<{width}}  {v.curvature:<8}  {v.sign:<8}  {v.shape}{log}{mark}")
        if self.broken is not None:
            lines.append(f"breaks: {self.broken}")
        lines += [f"provided that {condition}" for condition in self.conditions]
        lines += [f"by a registered rule for {operator}" for operator in self.registered]
        return "\n".join(lines)


def curvature(
    fn: Callable[..., Any],
    example_inputs: Any = (),
    wrt: Variables | None = None,
    nonnegative: Variables = (),
    domain: Mapping[int | str, Domain | tuple[float, float]] | None = None,
) -> Curvature:
    """Tell how a PyTorch computation bends in chosen inputs and parameters, by disciplined convex analysis.

    The computation is traced by `torch.export`; sign and curvature of every entry of every intermediate value
    follow from those of what it is made of. The answer is never wrong about the real function that the
    operators stand for (torch's rounding aside), but "unknown" only says that the rules do not prove more.

    Parameters
    ----------
    fn : torch.nn.Module, torch.export.ExportedProgram or callable
        A module is read with the semantics of eval mode; a bound method of a module knows its parameters.
    example_inputs : tensor or sequence
        What `fn` is called with, to trace it. Only shapes matter, except for tensors of integers and truth
        values (classes, masks), which are taken as they are.
    wrt : int, str or sequence of such, optional
        The variables: inputs by position or name, parameters by their dotted names; all floating-point inputs
        by default. Other inputs are held at any value; other parameters at their own.
    nonnegative : int, str or sequence of such, optional
        Inputs and parameters all of whose entries are declared nonnegative.
    domain : mapping, optional
        From inputs or parameters to a `jensen.Box`, or to (low, high): what is declared of their entries.
        Only the signs that follow are used.

    Returns
    -------
    Curvature

    Raises
    ------
    NetworkError
        If torch cannot trace the computation.
    UnsupportedOperatorError
        If it is random.
    ArgumentError
        If a variable is not known.
    DomainError
        If a box is empty or does not fit.

    Notes
    -----
    The rules are those of disciplined convex programming (Grant, Boyd and Ye, "Disciplined Convex
    Programming", 2006), applied entry by entry.

    Examples
    --------
    >>> import jensen, torch
    >>> jensen.curvature(lambda x: torch.logsumexp(3 * x, 0), torch.ones(3)).kind
    'convex'
    >>> jensen.curvature(lambda a, b: (a * b).sum(), (torch.ones(2), torch.ones(2)), wrt=1).kind
    'affine'
    """
    from jensen.program import trace  # imports torch

    bounds = dict(domain or {})
    declared = _listed(nonnegative)
    named = [v for v in (*_listed(wrt), *declared, *bounds) if isinstance(v, str)]
    inputs = trace(fn, example_inputs)
    labels = [leaf.label for leaf in inputs.leaves]
    parameters = list(dict.fromkeys(name for name in named if name not in labels))
    program = trace(fn, example_inputs, parameters) if parameters else inputs
    moving = _found(program, _listed(wrt)) if wrt is not None else list(program.inputs)
    if not moving:
        raise ArgumentError("there is no variable: name inputs or parameters in wrt")
    low = {leaf.name for leaf in _found(program, declared)}
    boxes = {_found(program, [key])[0].name: as_domain(box) for key, box in bounds.items()}
    names = {leaf.name for leaf in moving}
    values: dict[str, Value] = {}
    for leaf in program.leaves:
        sign = declared_sign(leaf, boxes.get(leaf.name)) & (NONNEGATIVE if leaf.name in low else ANY_SIGN)
        if not sign.all():
            raise DomainError(
                f"{leaf.label} is declared nonnegative, and its domain holds negative numbers only"
            )
        values[leaf.name] = Value(
            sign, np.full(leaf.shape, AFFINE if leaf.name in names else CONSTANT, dtype=np.int8)
        )
    domains = {
        leaf.label: (
            *([boxes[leaf.name]] if leaf.name in boxes else []),
            *([Box(0.0, np.inf)] if leaf.name in low else []),
        )
        for leaf in program.leaves
    }
    found = described(analyse(program, values), tuple(leaf.label for leaf in moving))
    return replace(found, domains=domains)


def described(analysis: Analysis, wrt: tuple[str, ...]) -> Curvature:
    """Describe an analysis for a user."""
    program = analysis.program
    leaves = [_intermediate(analysis, leaf.name, leaf.kind, leaf.label, ()) for leaf in program.leaves]
    nodes = [_intermediate(analysis, n.name, n.operator, n.place, n.inputs) for n in program.nodes]
    bits = [value.curvature for value in analysis.outputs]
    kind = kind_of(int(np.bitwise_or.reduce(np.concatenate([b.ravel() for b in bits]), initial=0)))
    names = np.array([kind_of(code) for code in range(16)])
    return Curvature(
        kind,
        tuple(names[b] for b in bits),
        wrt,
        analysis.conditions,
        first_break(analysis) if kind == "unknown" else None,
        analysis.registered,
        (*leaves, *nodes),
        program,
    )


def _intermediate(
    analysis: Analysis, name: str, operator: str, place: str, reads: tuple[str, ...]
) -> Intermediate:
    result = analysis.values[name]
    parts = [result] if isinstance(result, Value) else [v for v in result if v is not None]
    curvatures = np.concatenate([v.curvature.ravel() for v in parts])
    signs = np.concatenate([v.sign.ravel() for v in parts])
    together = Value(signs, curvatures)
    shape = parts[0].shape if parts else ()
    claims = np.concatenate(
        [np.where(v.varies, v.logarithm & (LOG_CONVEX | LOG_CONCAVE), 3).ravel() for v in parts]
    )
    common = int(np.bitwise_and.reduce(claims, initial=3)) if together.varies.any() else 0
    logarithm = ("", "log-convex", "log-concave", "log-affine")[common]
    return Intermediate(name, operator, place, shape, together.kind(), together.sign_name(), reads, logarithm)


def _listed(chosen: Variables | None) -> list[int | str]:
    if chosen is None:
        return []
    return [chosen] if isinstance(chosen, (int, str)) else list(chosen)


def _found(program: Program, chosen: Sequence[int | str]) -> list[Leaf]:
    found = []
    for key in chosen:
        if isinstance(key, str):
            match = [leaf for leaf in program.leaves if key in (leaf.label, *leaf.others)]
        elif isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(program.inputs):
            match = [program.inputs[key]]
        else:
            match = []
        if not match:
            known = ", ".join(leaf.label for leaf in program.leaves)
            raise ArgumentError(
                f"there is no variable {key!r:.80}; the floating-point inputs are {known:.400}"
            )
        found += match[:1]
    return list(dict.fromkeys(found))


def declared_sign(leaf: Leaf, domain: Domain | None) -> Bits:
    """Signs that the entries of a leaf can have on a domain; any, where there is none.

    Raises
    ------
    DomainError
        If the domain is empty or does not fit.
    """
    if domain is None:
        return np.full(leaf.shape, ANY_SIGN, dtype=np.int8)
    return sign_between(leaf, *domain.bounds(leaf.size))


def sign_between(leaf: Leaf, lo: FloatArray, hi: FloatArray) -> Bits:
    """Signs of the entries of a leaf between bounds, for each sample of a batch alike."""
    sign = when(lo < 0, NEGATIVE) | when((lo <= 0) & (hi >= 0), ZERO) | when(hi > 0, POSITIVE)
    return np.broadcast_to(sign.reshape(leaf.sample_shape), leaf.shape)


def as_domain(ends: Any) -> Domain:
    """Read a domain, or a pair of bounds.

    Raises
    ------
    DomainError
        If it is neither, or empty.
    """
    if isinstance(ends, Domain):
        return ends
    try:
        low, high = ends
    except (TypeError, ValueError) as error:
        raise DomainError(f"a domain is a jensen.Box or a pair (low, high), got {ends!r:.80}") from error
    return Box(low, high)
