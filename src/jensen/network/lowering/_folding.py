"""Which operators a model file may use to compute its constants: pure functions, bounded in size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

_NAMES = """abs add addmm alias amax amin arange as_strided_copy bmm broadcast_to cat chunk clamp clamp_max
    clamp_min clip clone constant_pad_nd contiguous cos cumsum detach detach_ diag diagonal div exp
    expand expand_as expm1 eye flatten flip full full_like index_select lift_fresh_copy
    linalg_vector_norm linear log log1p log_softmax logsumexp matmul max maximum mean min minimum mm
    movedim mul mv narrow neg norm numpy_T ones ones_like permute pow prod reciprocal relu repeat
    reshape round rsqrt rsub scalar_tensor select sigmoid sign sin slice softmax softplus split
    split_with_sizes sqrt square squeeze stack sub sum t tanh tile to _to_copy transpose tril triu
    unbind unsqueeze view where zeros zeros_like _unsafe_view _weight_norm _weight_norm_interface
    _softmax elu leaky_relu hardtanh relu6 silu gelu index type_as linspace logical_not gt ge lt le
    eq ne erf"""
_PURE = frozenset(f"aten.{name}" for name in _NAMES.split())


def is_foldable(target: str) -> bool:
    """Whether an operator's name is on the list."""
    return target.startswith("aten.") and target.rsplit(".", 1)[0] in _PURE


def on_meta(target: str, args: Mapping[str, Any]) -> list[torch.Tensor]:
    """Shapes of an operator's results, computed without data and hence without memory."""
    _, name, overload = target.split(".")
    function = getattr(getattr(torch.ops.aten, name), overload)
    moved = tree_map(lambda v: v.to("meta") if isinstance(v, torch.Tensor) else v, dict(args))
    known = {a.name for a in function._schema.arguments}
    if "device" in known:
        moved["device"] = torch.device("meta")
    return [leaf for leaf in tree_leaves(function(**moved)) if isinstance(leaf, torch.Tensor)]
