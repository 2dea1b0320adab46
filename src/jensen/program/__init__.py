"""Traced PyTorch programs as plain immutable data: operators, constants, and the leaves they depend on."""

from jensen.program._program import Array, Leaf, Name, Node, Program, Shape, names, substituted

__all__ = [
    "Array",
    "Leaf",
    "Name",
    "Node",
    "Program",
    "Shape",
    "argument_shapes",
    "names",
    "read_program",
    "substituted",
    "trace",
]

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.program._read import argument_shapes, read_program, trace


def __getattr__(name: str) -> Any:
    """Import the readers, which need torch, when they are asked for."""
    if name in ("argument_shapes", "read_program", "trace"):
        from jensen.program import _read

        return getattr(_read, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
