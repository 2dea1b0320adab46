"""Which operators a program keeps as they are, instead of torch's decomposition, and which it refuses."""

from __future__ import annotations

import torch

from jensen.network.lowering._aten import is_smooth, packet
from jensen.network.lowering._aten_table import HANDLERS
from jensen.network.lowering._folding import is_foldable
from jensen.network.lowering._program import overload_of

_MORE = """addbmm addcdiv addcmul amax amin asinh atan baddbmm binary_cross_entropy_with_logits
    conv_transpose1d conv_transpose2d conv_transpose3d cosh cumsum cross_entropy_loss dot erfc exp2 gather
    hardsigmoid
    hardswish huber_loss kl_div l1_loss log10 log2 log_sigmoid logaddexp logcumsumexp mse_loss nll_loss
    nll_loss_forward nll_loss_nd outer pow rsqrt sinh smooth_l1_loss softplus sort sum threshold topk trace
    tril triu var vdot xlogy"""
_KEPT = frozenset(f"aten.{name}" for name in _MORE.split())


def is_kept(operator: str) -> bool:
    """Whether an operator is not decomposed, so that rules can speak about it as a whole."""
    return packet(operator) in _KEPT or packet(operator) in HANDLERS or is_smooth(operator)


def is_harmless(operator: str) -> bool:
    """Whether an operator out of a model file may be called: it only computes."""
    return is_kept(operator) or is_foldable(operator)


def is_random(operator: str) -> bool:
    """Whether two calls of an operator on the same values may differ."""
    if operator.count(".") != 2:
        return False
    return torch.Tag.nondeterministic_seeded in overload_of(operator).tags
