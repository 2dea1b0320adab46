"""What lies between two activations of a module: one layer with weights, and what needs none around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from jensen.training.tape._operator import Kernel, Operator
from jensen.training.tape._shapes import (
    ADAPTIVE,
    CONVOLUTIONS,
    LINEAR,
    NORMS,
    POOLS,
    Shape,
    each,
    is_kind,
    padding_of,
)


@dataclass(frozen=True)
class Step:
    """A module with its name and the shapes of what goes in and comes out, without the batch."""

    name: str
    module: nn.Module
    inputs: Shape
    outputs: Shape


@dataclass(frozen=True)
class Path:
    """Steps from one source to one affine map, exactly one of which has a matrix of weights.

    Attributes
    ----------
    before, after : tuple of Step
        Poolings, batch normalisations and changes of shape.
    main : Step
        A linear layer or a convolution.
    """

    before: tuple[Step, ...]
    main: Step
    after: tuple[Step, ...]

    @property
    def layer(self) -> nn.Module:
        """The layer with the weights."""
        return self.main.module

    @property
    def weight(self) -> Tensor:
        """Its weights, as they are now."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight

    @property
    def norms(self) -> tuple[nn.Module, ...]:
        """Batch normalisations of the path."""
        return tuple(s.module for s in (*self.before, *self.after) if is_kind(s.module, NORMS))

    @property
    def is_free(self) -> bool:
        """Whether the weights are a parameter, not computed from one."""
        return "weight" in self.layer._parameters

    def matrix(self) -> Tensor | Operator:
        """Return the matrix of the path, with gradients to the weights."""
        scale = self.scale()
        weight = self.weight if scale is None else self.weight * scale
        main = weight if is_kind(self.layer, LINEAR) else _convolution(self.layer, weight, self.main.inputs)
        before, after = _poolings(self.before, weight), _poolings(self.after, weight)
        if isinstance(main, Tensor) and not before and not after:
            return main
        return Operator(before, main, after)

    def readout(self) -> sparse.csr_array | None:
        """Return what stands before the weights, as a matrix; None where nothing does."""
        matrix = self.matrix()
        return matrix.columns() if isinstance(matrix, Operator) else None

    def scale(self) -> Tensor | None:
        """Return what batch normalisations multiply entries of the weights by; None without any."""
        rest = (1,) * (self.weight.ndim - 2)
        scale = None
        for step in self.before:
            if is_kind(step.module, NORMS):
                factor, _ = norm(step.module)
                scale = factor if scale is None else scale * factor
            elif scale is not None and len(step.outputs) < len(step.inputs):  # flattened
                scale = scale.repeat_interleave(prod(step.inputs[1:]))
        if scale is not None:
            groups = int(getattr(self.layer, "groups", 1))
            scale = scale.reshape(groups, -1).repeat_interleave(len(self.weight) // groups, 0)
            scale = scale.reshape(*scale.shape, *rest)
        for step in self.after:
            if is_kind(step.module, NORMS):
                factor = norm(step.module)[0].reshape(-1, 1, *rest)
                scale = factor if scale is None else scale * factor
        return scale

    def bias(self) -> Tensor | None:
        """Return what comes out for zeros, flattened; None if that is zero for certain."""
        own = self.layer.bias
        if not self.norms and (own is None or (is_kind(self.layer, LINEAR) and not self.after)):
            assert own is None or isinstance(own, Tensor)
            return own
        steps = (*self.before, self.main, *self.after)
        x = self.weight.new_zeros(1, *steps[0].inputs)
        for step in steps:
            x = _run(step, x)
        return x.reshape(-1)


def norm(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Return factor and shift of each channel that a batch normalisation applies in eval mode."""
    assert isinstance(module, NORMS)
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = torch.rsqrt(module.running_var + module.eps)
    if module.weight is not None:
        factor = factor * module.weight
    shift = -module.running_mean * factor
    return factor, shift if module.bias is None else shift + module.bias


def _run(step: Step, x: Tensor) -> Tensor:
    module: Any = step.module
    rest = (1,) * (len(step.outputs) - 1)
    if is_kind(module, NORMS):
        factor, shift = norm(module)
        return x * factor.reshape(-1, *rest) + shift.reshape(-1, *rest)
    if is_kind(module, LINEAR):
        return functional.linear(x, module.weight, module.bias)
    if is_kind(module, CONVOLUTIONS):
        out = _convolution(module, module.weight, step.inputs).apply(x).reshape(-1, *step.outputs)
        return out if module.bias is None else out + module.bias.reshape(-1, *rest)
    if is_kind(module, POOLS):
        return _pooling(step, x).apply(x).reshape(-1, *step.outputs)
    return x.reshape(-1, *step.outputs)


def _poolings(steps: Sequence[Step], like: Tensor) -> tuple[Kernel, ...]:
    return tuple(_pooling(s, like) for s in steps if is_kind(s.module, POOLS))


def _pooling(step: Step, like: Tensor) -> Kernel:
    module: Any = step.module
    axes = len(step.inputs) - 1
    if is_kind(module, ADAPTIVE):
        size = tuple(n // m for n, m in zip(step.inputs[1:], step.outputs[1:], strict=True))
        stride, padding, divisor = size, (0,) * axes, prod(size)
    else:
        size, stride, padding = (each(getattr(module, n), axes) for n in ("kernel_size", "stride", "padding"))
        divisor = getattr(module, "divisor_override", None) or prod(size)
    weight = torch.full((step.inputs[0], 1, *size), 1.0 / divisor, dtype=like.dtype, device=like.device)
    return Kernel(weight, step.inputs, stride, padding, (1,) * axes, step.inputs[0])


def _convolution(module: Any, weight: Tensor, inputs: Shape) -> Kernel:
    return Kernel(weight, inputs, module.stride, padding_of(module), module.dilation, module.groups)
