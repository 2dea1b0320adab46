"""All ONNX operators that can be lowered, in one table."""

from __future__ import annotations

from jensen.network.lowering import _onnx_ops, _onnx_shape
from jensen.network.lowering._onnx_ops import Handler

HANDLERS: dict[str, Handler] = {**_onnx_ops.register, **_onnx_shape.register}
