"""Layers that a tape can read, and the shapes that they turn shapes into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from jensen.errors import NetworkError
from jensen.nn import NonnegativeConv2d, NonnegativeLinear

Shape = tuple[int, ...]
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
LINEAR = (nn.Linear, NonnegativeLinear)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, NonnegativeConv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
POOLS = (nn.AvgPool1d, nn.AvgPool2d, *ADAPTIVE)


def is_kind(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these classes itself, not of one derived from them."""
    return parametrize.type_before_parametrizations(module) in kinds


def each(value: Any, axes: int) -> tuple[int, ...]:
    """Read one integer for each axis of space."""
    values = value if isinstance(value, tuple) else (value,) * axes
    return tuple(int(v) for v in values)


def axes_of(module: nn.Module) -> int:
    """Axes of space of what a convolution, pooling or batch normalisation is made for."""
    return 1 if isinstance(module, (nn.Conv1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)) else 2


def outputs_of(name: str, module: nn.Module, shape: Shape) -> Shape:
    """Shape of what a module makes of a shape, without the batch.

    Raises
    ------
    NetworkError
        If the module cannot be read, or does not fit the shape; it names the module.
    """
    rule = _RULES.get(parametrize.type_before_parametrizations(module))
    try:
        if rule is None:
            raise _Refusal(
                "known are Linear, Conv1d, Conv2d, BatchNorm1d, BatchNorm2d, AvgPool1d, AvgPool2d, "
                "AdaptiveAvgPool1d, AdaptiveAvgPool2d, Flatten, Unflatten, Dropout, ReLU and LeakyReLU"
            )
        outputs = rule(module, shape)
        _need(min(outputs) > 0, "larger images", shape)
    except _Refusal as refusal:
        kind = parametrize.type_before_parametrizations(module).__name__
        raise NetworkError(f"cannot look inside layer {name!r} ({kind}): {refusal}") from None
    return outputs


class _Refusal(Exception):  # noqa: N818 - it never leaves this file
    """Why a layer cannot be read."""


def _need(fits: bool, what: str, shape: Shape) -> None:
    if not fits:
        raise _Refusal(f"it takes {what}, and gets shape {shape}, without the batch")


def _same(module: Any, shape: Shape) -> Shape:
    return shape


def _flatten(module: Any, shape: Shape) -> Shape:
    whole = module.start_dim == 1 and module.end_dim in (-1, len(shape))
    if not whole and not (module.start_dim == 0 and shape == (1,)):
        raise _Refusal("only flattening of all axes but the batch is known")
    return (prod(shape),)


def _unflatten(module: Any, shape: Shape) -> Shape:
    sizes = module.unflattened_size
    if module.dim not in (1, -1) or not all(isinstance(n, int) for n in sizes):
        raise _Refusal("only unflattening of axis 1 into a tuple of sizes is known")
    known = prod(n for n in sizes if n != -1)
    sizes = tuple(prod(shape) // known if n == -1 else n for n in sizes)
    _need(shape == (prod(sizes),), f"vectors of {prod(sizes)} numbers", shape)
    return sizes


def _linear(module: Any, shape: Shape) -> Shape:
    _need(shape == (module.in_features,), f"vectors of {module.in_features} numbers", shape)
    return (module.out_features,)


def _norm(module: Any, shape: Shape) -> Shape:
    if module.running_mean is None:
        raise _Refusal("without running statistics it mixes the batch; use track_running_stats=True")
    fits = shape[0] == module.num_features and len(shape) in (
        (3,) if type(module) is nn.BatchNorm2d else (1, 2)
    )
    _need(fits, f"{module.num_features} channels of fitting rank", shape)
    return shape


def _convolution(module: Any, shape: Shape) -> Shape:
    axes = axes_of(module)
    fits = len(shape) == axes + 1 and shape[0] == module.in_channels
    _need(fits, f"{module.in_channels} channels with {axes} axes", shape)
    if module.padding_mode != "zeros":
        raise _Refusal("only padding with zeros is known")
    return module.out_channels, *_windows(
        shape, module.kernel_size, module.stride, padding_of(module), module.dilation
    )


def padding_of(module: Any) -> tuple[int, ...]:
    """Zeros on each side that a convolution adds."""
    axes = axes_of(module)
    if module.padding != "same":
        return (0,) * axes if module.padding == "valid" else each(module.padding, axes)
    total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    if any(n % 2 for n in total):
        raise _Refusal("its padding is not the same on both sides; use an odd kernel_size")
    return tuple(n // 2 for n in total)


def _pool(module: Any, shape: Shape) -> Shape:
    axes = axes_of(module)
    _need(len(shape) == axes + 1, f"channels with {axes} axes", shape)
    size, stride, padding = (each(getattr(module, n), axes) for n in ("kernel_size", "stride", "padding"))
    if module.ceil_mode or (any(padding) and not module.count_include_pad):
        raise _Refusal("windows of different sizes (ceil_mode, count_include_pad=False) are not known")
    return shape[0], *_windows(shape, size, stride, padding, (1,) * axes)


def _adaptive(module: Any, shape: Shape) -> Shape:
    axes = axes_of(module)
    _need(len(shape) == axes + 1, f"channels with {axes} axes", shape)
    wanted = (
        module.output_size if isinstance(module.output_size, (tuple, list)) else (module.output_size,) * axes
    )
    space = tuple(n if m is None else m for m, n in zip(wanted, shape[1:], strict=True))
    if any(n % m for n, m in zip(shape[1:], space, strict=True)):
        raise _Refusal(f"windows of different sizes are not known, and {shape[1:]} is no multiple of {space}")
    return shape[0], *space


def _windows(shape: Shape, *options: tuple[int, ...]) -> Iterator[int]:
    for n, k, s, p, d in zip(shape[1:], *options, strict=True):
        yield (n + 2 * p - d * (k - 1) - 1) // s + 1


_RULES: dict[type[nn.Module], Callable[[Any, Shape], Shape]] = {
    nn.Identity: _same,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys(DROPOUTS, _same),
    **dict.fromkeys(LINEAR, _linear),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d), _pool),
    **dict.fromkeys(ADAPTIVE, _adaptive),
}
