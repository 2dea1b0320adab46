"""Traced PyTorch programs as plain immutable data: operators, constants, and the leaves they depend on."""

from typing import TYPE_CHECKING, Any

from jensen.program._program import Array, Leaf, Name, Node, Program, Shape, names, substituted

if TYPE_CHECKING:
    from jensen.program._read import argument_shapes, convex_arguments, read_program, takes_several, trace

_READERS = ("argument_shapes", "convex_arguments", "read_program", "takes_several", "trace")

__all__ = [
    "Array",
    "Leaf",
    "Name",
    "Node",
    "Program",
    "Shape",
    "argument_shapes",
    "convex_arguments",
    "names",
    "read_program",
    "substituted",
    "takes_several",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import the readers, which need torch, when they are asked for."""
    if name in _READERS:
        from jensen.program import _read

        return getattr(_read, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
