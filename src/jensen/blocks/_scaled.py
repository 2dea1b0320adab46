"""Symbolic tensors with a rational factor in front, so that means and other scalings round nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
import torch

from jensen.network import FloatArray
from jensen.network.lowering._rounding import product_is_exact
from jensen.network.lowering._tensor import Tensor

ONE = Fraction(1)


@dataclass(frozen=True, eq=False)
class Scaled:
    """The value `scale * tensor`.

    Attributes
    ----------
    tensor : Tensor
        Affine in the block's entries and the neurons so far.
    scale : Fraction
        Positive, so that ReLUs let it pass.
    """

    tensor: Tensor
    scale: Fraction = ONE

    def times(self, factor: Fraction) -> Scaled:
        """Multiply by a number; zero is no factor."""
        if factor > 0:
            return Scaled(self.tensor, self.scale * factor)
        return Scaled(self.tensor.with_expression(-self.tensor.expression), self.scale * -factor)

    def at(self, scale: Fraction) -> Tensor:
        """Return the tensor that has this factor in front, noting whether it rounds."""
        factor = self.scale / scale
        if factor == 1:
            return self.tensor
        number = float(factor)
        if Fraction(number) != factor:
            self.tensor.tape.rounded()
        expression = self.tensor.expression
        return self.tensor.with_expression(expression.scale(np.full(expression.size, number)))


def common(values: Sequence[Scaled], with_constants: bool) -> Fraction:
    """Find a factor that can stand in front of all values.

    Beside constants it is one over an integer, by which these are multiplied.
    """
    if len({v.scale for v in values}) == 1 and not with_constants:
        return values[0].scale
    return Fraction(1, lcm(*(v.scale.denominator for v in values)))


def constant_at(value: Any, scale: Fraction, like: Tensor) -> Any:
    """Divide a constant by the factor that will stand in front of it, noting whether it rounds."""
    if scale == 1:
        return value
    array: FloatArray = np.asarray(
        value.numpy() if isinstance(value, torch.Tensor) else value, dtype=np.float64
    )
    factor = np.full(array.shape, float(1 / scale))
    product = array * factor
    if Fraction(float(1 / scale)) != 1 / scale or not product_is_exact(array, factor, product):
        like.tape.rounded()
    return torch.from_numpy(product) if product.ndim else float(product)
