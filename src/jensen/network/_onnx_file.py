"""ONNX files read with care: where weights may lie, and how far functions may swell."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jensen.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MAX_NODES = 1 << 17
"""No model may have more nodes than this once its functions are written out."""


def malformed() -> tuple[type[Exception], ...]:
    """Exceptions that `onnx` and its numpy evaluator raise on models that are not well formed."""
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError

    return (
        LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, AssertionError,
        struct.error, ValidationError, InferenceError,
    )  # fmt: skip


def load(path: Path) -> ModelProto:
    """Read a model and the weights that it keeps in files beside it.

    Raises
    ------
    ModelFileError
        If weights lie outside the model's folder, or the file holds no graph.
    """
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    proto = onnx.load(path, format="protobuf", load_external_data=False)
    folder = path.resolve().parent
    external = [tensor for tensor in _tensors(proto) if _is_external(tensor)]
    for tensor in external:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if Path(location).is_absolute() or (folder / location).resolve().parent != folder:
            raise ModelFileError(
                f"{path}: the weights {tensor.name!r} lie in {location!r}, outside the model's own folder; "
                "store them beside the model"
            )
    if external:
        load_external_data_for_model(proto, str(folder))
    if not proto.graph.node and not proto.graph.output:
        raise ModelFileError(f"{path} is not an ONNX file: it holds no graph")
    return proto


def inlined(proto: ModelProto, source: str) -> ModelProto:
    """Write the calls of a model's own functions out, and refuse weights that are not in the model.

    Raises
    ------
    ModelFileError
        If a function calls itself, or calls multiply beyond `MAX_NODES`.
    """
    from onnx.inliner import inline_local_functions

    stray = next((tensor.name for tensor in _tensors(proto) if _is_external(tensor)), None)
    if stray is not None:
        raise ModelFileError(
            f"{source}: the weights {stray!r} are kept outside the model and are not loaded; pass the path "
            "of the file, or load it with onnx.load"
        )
    if not proto.functions:
        return proto
    bodies = {(f.domain, f.name): [(n.domain, n.op_type) for n in f.node] for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    count = sum(_size((n.domain, n.op_type), bodies, sizes, (), source) for n in proto.graph.node)
    if count > MAX_NODES:
        raise ModelFileError(f"{source}: its functions swell to {count} nodes; the limit is {MAX_NODES}")
    return inline_local_functions(proto)


def _size(
    call: tuple[str, str],
    bodies: Mapping[tuple[str, str], list[tuple[str, str]]],
    sizes: dict[tuple[str, str], int],
    callers: tuple[tuple[str, str], ...],
    source: str,
) -> int:
    """Count the nodes that a call is written out to."""
    if call not in bodies:
        return 1
    if call in callers:
        raise ModelFileError(f"{source}: its function {call[1]!r} calls itself, which ONNX forbids")
    if call not in sizes:
        sizes[call] = sum(_size(inner, bodies, sizes, (*callers, call), source) for inner in bodies[call])
    return sizes[call]


def _tensors(message: Any) -> Iterator[TensorProto]:
    """All tensors of a message: initialisers, attributes, those in functions and inner graphs."""
    from onnx import TensorProto

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in (value,) if hasattr(value, "ListFields") else value:
            if isinstance(part, TensorProto):
                yield part
            else:
                yield from _tensors(part)


def _is_external(tensor: TensorProto) -> bool:
    from onnx.external_data_helper import uses_external_data

    return bool(uses_external_data(tensor))
