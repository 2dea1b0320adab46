"""All aten operators that can be lowered, in one table."""

from __future__ import annotations

from jensen.network.lowering import _aten, _aten_shape, _aten_windows
from jensen.network.lowering._aten import Handler

HANDLERS: dict[str, Handler] = {**_aten.register, **_aten_shape.register, **_aten_windows.register}
