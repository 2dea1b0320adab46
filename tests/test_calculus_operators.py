"""Every rule of the calculus against random evaluation, on entries that bend and move in all ways.

Each entry of an argument is a function of a variable of its own: of known sign and curvature, chosen at random.
"""

# ruff: noqa: E501 - a table has one line for each operator

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jensen.calculus import analyse
from jensen.calculus._table import RULES
from jensen.calculus._value import (
    AFFINE,
    ANY_SIGN,
    CONCAVE,
    CONSTANT,
    CONVEX,
    DOWN,
    NEGATIVE,
    NONNEGATIVE,
    NONPOSITIVE,
    POSITIVE,
    UP,
    VARIES,
    ZERO,
    Value,
)
from jensen.network.lowering._program import call
from jensen.program import Leaf, Name, Node, Program, substituted

Floats = NDArray[np.float64]
SAMPLES, TRIALS = 4, 45

INNER: list[tuple[Callable[[Floats], Floats], int, int]] = [
    (lambda u: u, ANY_SIGN, AFFINE),
    (lambda u: u + 3, POSITIVE, AFFINE),
    (lambda u: u - 3, NEGATIVE, AFFINE),
    (np.exp, POSITIVE, CONVEX),
    (lambda u: u * u, NONNEGATIVE, CONVEX),
    (lambda u: u * u - 5, NEGATIVE, CONVEX),
    (lambda u: u * u - 1, ANY_SIGN, CONVEX),
    (lambda u: 5 - u * u, POSITIVE, CONCAVE),
    (lambda u: -np.exp(u), NEGATIVE, CONCAVE),
    (lambda u: -u * u, NONPOSITIVE, CONCAVE),
    (lambda u: 1 - np.exp(u), ANY_SIGN, CONCAVE),
    (lambda u: 0 * u + 1.5, POSITIVE, CONSTANT),
    (lambda u: 0 * u - 0.5, NEGATIVE, CONSTANT),
    (lambda u: 0 * u, ZERO, CONSTANT),
]
ABOVE = [i for i, (_, sign, _) in enumerate(INNER) if sign in (POSITIVE, NONNEGATIVE)]
STRICTLY = [i for i, (_, sign, _) in enumerate(INNER) if sign == POSITIVE]


@dataclass(frozen=True)
class T:
    """An argument that varies: its shape, and which functions its entries are."""

    shape: tuple[int, ...] = (2, 3)
    among: tuple[int, ...] = tuple(range(len(INNER)))


def above(*shape: int) -> T:
    return T(shape or (2, 3), tuple(ABOVE))


def strictly(*shape: int) -> T:
    return T(shape or (2, 3), tuple(STRICTLY))


def array(*values: Any) -> NDArray[Any]:
    return np.array(values)


V, IMAGE, LINE, CUBE = T((3,)), T((1, 2, 4, 4)), T((1, 2, 6)), T((1, 1, 4, 4, 4))
W = np.array([[0.5, -1.0, 0.0], [2.0, 0.0, 1.0], [-1.0, -0.5, 0.25]])
P = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
FORM = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
ROW = {"self": T(), "dim": [-1]}
TWO = {"self": T(), "other": T()}
SCALED = {"self": T(), "other": W[:2]}
EVAL: dict[str, Any] = {
    "running_mean": array(0.5, -0.5), "running_var": array(1.0, 2.0), "momentum": 0.1, "eps": 1e-5,
    "weight": array(1.5, -0.5), "bias": array(0.0, 1.0),
}  # fmt: skip
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    **{n: [("Tensor", TWO), ("Tensor", {**TWO, "alpha": -2}), ("Scalar", {"self": T(), "other": 1.5})] for n in ("add", "sub", "subtract", "rsub")},
    **{n: [("Tensor", TWO)] for n in ("add_", "sub_")},
    **{n: [("default", {"self": T()})] for n in ("neg", "neg_", "negative", "positive", "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "zeros_like", "ones_like", "sign", "trace", "t", "numpy_T")},
    **{n: [("Tensor", TWO), ("Tensor", SCALED)] for n in ("mul", "mul_", "multiply")},
    "xlogy": [("Tensor", {"self": above(), "other": strictly()}), ("Tensor", {"self": array(1.0, 0.5, 0.0), "other": strictly()})],
    **{n: [("Tensor", {"self": T(), "other": strictly()}), ("Tensor", {"self": array([1.0, -2.0, 0.0]), "other": strictly()}), ("Tensor", {"self": T(), "other": array(1.0, -2.0, 0.5)})] for n in ("div", "true_divide")},
    "div_": [("Tensor", {"self": T(), "other": array(1.0, -2.0, 0.5)})],
    "reciprocal": [("default", {"self": strictly()}), ("default", {"self": T((2, 3), (2, 5, 8, 12))})],
    "linear": [("default", {"input": T(), "weight": W, "bias": array(1.0, 2.0, -1.0)}), ("default", {"input": T(), "weight": T((2, 3))})],
    "conv1d": [("default", {"input": LINE, "weight": np.arange(-6.0, 6.0).reshape(2, 2, 3)}), ("default", {"input": LINE, "weight": np.arange(-3.0, 3.0).reshape(2, 1, 3), "groups": 2, "stride": [2], "padding": [1]})],
    "conv2d": [("default", {"input": IMAGE, "weight": np.arange(-8.0, 8.0).reshape(2, 2, 2, 2), "bias": array(1.0, 2.0), "padding": [1, 0]})],
    "conv3d": [("default", {"input": CUBE, "weight": np.arange(-4.0, 4.0).reshape(1, 1, 2, 2, 2), "dilation": [2, 1, 1]})],
    "convolution": [("default", {"input": IMAGE, "weight": np.arange(-8.0, 8.0).reshape(2, 2, 2, 2), "bias": None, "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "transposed": False, "output_padding": [0, 0], "groups": 1})],
    "conv_transpose1d": [("default", {"input": LINE, "weight": np.arange(-6.0, 6.0).reshape(2, 2, 3), "stride": [2]})],
    "conv_transpose2d": [("input", {"input": IMAGE, "weight": np.arange(-8.0, 8.0).reshape(2, 2, 2, 2)})],
    "conv_transpose3d": [("input", {"input": CUBE, "weight": np.arange(-4.0, 4.0).reshape(1, 1, 2, 2, 2)})],
    "mm": [("default", {"self": T(), "mat2": W}), ("default", {"self": W, "mat2": T((3, 2))})],
    "matmul": [("default", {"self": T(), "other": W}), ("default", {"self": V, "other": V}), ("default", {"self": T(), "other": T((3, 2))})],
    "bmm": [("default", {"self": T((1, 2, 3)), "mat2": W[None]})],
    "mv": [("default", {"self": W, "vec": V})],
    "dot": [("default", {"self": V, "tensor": W[0]})], "vdot": [("default", {"self": V, "other": W[0]})],
    "outer": [("default", {"self": V, "vec2": W[0]})],
    "addmm": [("default", {"self": T((3,)), "mat1": T(), "mat2": W, "beta": -1, "alpha": 2})],
    "addmv": [("default", {"self": T((3,)), "mat": W, "vec": V})],
    "baddbmm": [("default", {"self": T((1, 2, 3)), "batch1": T((1, 2, 3)), "batch2": W[None]})],
    "addcmul": [("default", {"self": T(), "tensor1": T(), "tensor2": W[:2], "value": -1})],
    "sum": [("dim_IntList", ROW), ("dim_IntList", {**ROW, "keepdim": True}), ("default", {"self": T()})],
    "mean": [("dim", ROW), ("default", {"self": T()})],
    "cumsum": [("default", {"self": T(), "dim": 1})],
    **{f"{kind}_pool{n}d": [("default", {"self": x, "kernel_size": [2] * n, "padding": [1] * n})] for kind in ("avg", "max") for n, x in ((1, LINE), (2, IMAGE), (3, CUBE))},
    **{f"max_pool{n}d_with_indices": [("default", {"self": x, "kernel_size": [2] * n})] for n, x in ((2, IMAGE), (3, CUBE))},
    **{f"adaptive_{kind}_pool{n}d": [("default", {"self": x, "output_size": [2] * n})] for kind in ("avg", "max") for n, x in ((1, LINE), (2, IMAGE), (3, CUBE))},
    "_adaptive_avg_pool2d": [("default", {"self": IMAGE, "output_size": [2, 2]})],
    "batch_norm": [("default", {"input": IMAGE, **EVAL, "training": False, "cudnn_enabled": False})],
    "_native_batch_norm_legit_no_training": [("default", {"input": IMAGE, **EVAL})],
    "native_batch_norm": [("default", {"input": IMAGE, **EVAL, "training": False})],
    **{n: [("default", TWO), ("default", {"self": T(), "other": array(0.5, -0.5, 0.0)})] for n in ("maximum", "minimum", "logaddexp")},
    "max": [("dim", {"self": T(), "dim": 1}), ("default", {"self": T()}), ("other", TWO)],
    "min": [("dim", {"self": T(), "dim": 0}), ("default", {"self": T()}), ("other", TWO)],
    "amax": [("default", ROW), ("default", {**ROW, "keepdim": True})], "amin": [("default", ROW)],
    **{n: [("default", {"self": T(), "min": -0.5}), ("default", {"self": T(), "max": 0.5}), ("default", {"self": T(), "min": -0.5, "max": 0.5})] for n in ("clamp", "clamp_", "clip")},
    **{n: [("default", {"self": T(), n[6:9]: 0.25})] for n in ("clamp_min", "clamp_min_", "clamp_max", "clamp_max_")},
    "prelu": [("default", {"self": IMAGE, "weight": array(0.25, -0.5)}), ("default", {"self": IMAGE, "weight": array(1.5, 0.0)}), ("default", {"self": T(), "weight": array(1.0)})],
    "_prelu_kernel": [("default", {"self": T((2, 2)), "weight": array([0.25, 1.5])})],
    "pow": [*(("Tensor_Scalar", {"self": T(), "exponent": p}) for p in (1, 2, 3, 4)), *(("Tensor_Scalar", {"self": strictly(), "exponent": p}) for p in (0.5, 1.5, 2.5, -1, -0.5)), ("Scalar", {"self": 0.5, "exponent": T()})],
    "var": [("correction", {**ROW, "correction": 0}), ("correction", {"self": T((2, 3), (0, 1, 2, 11)), "dim": [1], "correction": 1})],
    **{n: [("Scalar", {"self": T(), "other": 0.5})] for n in ("gt", "ge", "lt", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal")},
    "argmax": [("default", {"self": T(), "dim": 1})],
    "logsumexp": [("default", ROW), ("default", {**ROW, "keepdim": True})],
    "logcumsumexp": [("default", {"self": T(), "dim": 1})],
    **{n: [("int", {"self": T(), "dim": 1}), ("int", {"self": T((2, 3), (0, 1, 2, 11)), "dim": 0})] for n in ("log_softmax", "softmax")},
    **{n: [("default", {"self": T(), "dim": 1, "half_to_float": False})] for n in ("_log_softmax", "_softmax")},
    "linalg_vector_norm": [("default", {**ROW, "ord": p}) for p in (1, 2, 3, 0.5, inf)],
    "norm": [("ScalarOpt_dim", {**ROW, "p": 2})],
    **{n: [("default", {"self": T(), "target": W[:2], "reduction": r}) for r in (0, 1, 2)] for n in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")},
    "binary_cross_entropy_with_logits": [("default", {"self": T(), "target": array([0.0, 1.0, 0.5], [1.0, 1.5, -0.5]), "reduction": 0}), ("default", {"self": T(), "target": array([0.0, 1.0, 0.5], [1.0, 1.0, 0.0]), "weight": array(1.0, 0.5, 2.0)})],
    "cross_entropy_loss": [("default", {"self": T((4, 2)), "target": array(0, 1, 1, 0), "reduction": r}) for r in (0, 1, 2)] + [("default", {"self": T((4, 2)), "target": array(0, 1, 1, 0), "weight": array(1.0, 0.5), "reduction": 0}), ("default", {"self": T((3,)), "target": array(1).reshape(())})],
    **{n: [("default", {"self": T(), "size": [3, 2]})] for n in ("view", "_unsafe_view", "_reshape_copy", "view_copy")},
    "reshape": [("default", {"self": T(), "shape": [3, 2]})],
    "flatten": [("using_ints", {"self": IMAGE, "start_dim": 1})], "unflatten": [("int", {"self": T(), "dim": 1, "sizes": [3, 1]})],
    "permute": [("default", {"self": T(), "dims": [1, 0]})],
    **{n: [("int", {"self": T(), "dim0": 0, "dim1": 1})] for n in ("transpose",)},
    "swapaxes": [("default", {"self": T(), "axis0": 0, "axis1": 1})], "swapdims": [("default", {"self": T(), "dim0": 0, "dim1": 1})],
    "movedim": [("int", {"self": T(), "source": 0, "destination": 1})],
    "squeeze": [("dim", {"self": T((1, 3)), "dim": 0})], "unsqueeze": [("default", {"self": T(), "dim": 0})],
    "expand": [("default", {"self": T((1, 3)), "size": [2, 3]})], "expand_copy": [("default", {"self": T((1, 3)), "size": [2, 3]})],
    "broadcast_to": [("default", {"self": T((1, 3)), "size": [2, 3]})], "expand_as": [("default", {"self": T((1, 3)), "other": T()})],
    "view_as": [("default", {"self": T(), "other": T((3, 2))})], "reshape_as": [("default", {"self": T(), "other": T((3, 2))})],
    "repeat": [("default", {"self": T(), "repeats": [2, 1]})], "tile": [("default", {"self": T(), "dims": [2]})],
    **{n: [("Tensor", {"self": T(), "dim": 1, "start": 1, "end": 3})] for n in ("slice", "slice_copy")},
    **{n: [("int", {"self": T(), "dim": 1, "index": 2})] for n in ("select", "select_copy")},
    "narrow": [("default", {"self": T(), "dim": 1, "start": 1, "length": 2})],
    "index_select": [("default", {"self": T(), "dim": 1, "index": array(2, 0)})],
    "index": [("Tensor", {"self": T(), "indices": [array(1, 0), array(2, 2)]})],
    **{n: [("Tensor", {"self": T((4, 3)), "split_size": 2})] for n in ("split", "unsafe_split", "split_copy")},
    "split_with_sizes": [("default", {"self": T((4, 3)), "split_sizes": [1, 3]})],
    **{n: [("default", {"self": T((4, 3)), "chunks": 2})] for n in ("chunk", "unsafe_chunk")},
    "unbind": [("int", {"self": T()})],
    **{n: [("default", {"tensors": [T(), T()], "dim": 1})] for n in ("cat", "concat", "concatenate", "stack")},
    "slice_scatter": [("default", {"self": T(), "src": T((1, 3)), "start": 1})],
    "select_scatter": [("default", {"self": T(), "src": T((3,)), "dim": 0, "index": 1})],
    "flip": [("default", {"self": T(), "dims": [1]})], "roll": [("default", {"self": T(), "shifts": [1], "dims": [1]})],
    "gather": [("default", {"self": T(), "dim": 1, "index": array([2, 0], [1, 1])})],
    "diagonal": [("default", {"self": T()})], "tril": [("default", {"self": T()})], "triu": [("default", {"self": T()})],
    **{f"{kind}_pad1d": [("default", {"self": LINE, "padding": [1, 2]})] for kind in ("reflection", "replication")},
    **{f"{kind}_pad2d": [("default", {"self": IMAGE, "padding": [1, 1, 0, 1]})] for kind in ("reflection", "replication")},
    "repeat_interleave": [("self_int", {"self": T(), "repeats": 2, "dim": 1})],
    "as_strided_copy": [("default", {"self": T(), "size": [2, 2], "stride": [1, 1]})],
    **{n: [("default", {"input": T(), "p": 0.5, "train": False})] for n in ("dropout", "feature_dropout", "alpha_dropout", "native_dropout")},
    "dropout_": [("default", {"self": T(), "p": 0.5, "train": False})],
    "to": [("dtype", {"self": T(), "dtype": "float64"})], "_to_copy": [("default", {"self": T(), "dtype": "float64"})],
    "type_as": [("default", TWO)],
    "constant_pad_nd": [("default", {"self": T(), "pad": [1, 1], "value": -2.0})],
    "pad": [("default", {"self": T(), "pad": [1, 1], "value": 2.0}), ("default", {"self": LINE, "pad": [1, 1], "mode": "reflect"})],
    "full_like": [("default", {"self": T(), "fill_value": -1.0})],
    "new_zeros": [("default", {"self": T(), "size": [2]})], "new_ones": [("default", {"self": T(), "size": [2]})],
    "new_full": [("default", {"self": T(), "size": [2], "fill_value": -2.0})],
    "where": [("self", {"condition": array(True, False, True), **TWO})],
    **{n: [("default", TWO)] for n in ("fmax", "fmin", "hypot")},
    "dist": [("default", {**TWO, "p": p}) for p in (1, 2)],
    **{n: [("default", {"self": T(), "dim": 1})] for n in ("cummax", "cummin")},
    "std": [("correction", {"self": T((2, 3), (0, 1, 2, 11)), "dim": [1], "correction": 1})],
    "prod": [("dim_int", {"self": above(), "dim": 1})], "cumprod": [("default", {"self": above(), "dim": 1})],
    **{n: [("default", {"self": T((4, 2)), "target": array(0, 1, 1, 0), "reduction": r}) for r in (0, 1, 2)] for n in ("nll_loss", "nll_loss_nd")},
    "nll_loss2d": [("default", {"self": IMAGE, "target": array(0, 1).repeat(8).reshape(1, 4, 4), "weight": array(1.0, 0.5)})],
    "kl_div": [("default", {"self": T(), "target": array([0.5, 0.25, 0.0], [0.1, 0.2, 0.7]), "reduction": 0}), ("default", {"self": T(), "target": W[:2], "log_target": True})],
    **{f"upsample_{kind}{n}d": [("vec", {"input": x, "output_size": None, "align_corners": False, "scale_factors": [2.0] * n})] for kind, n, x in (("linear", 1, LINE), ("bilinear", 2, IMAGE), ("trilinear", 3, CUBE))},
    **{f"upsample_nearest{n}d": [("vec", {"input": x, "output_size": None, "scale_factors": [2.0] * n})] for n, x in ((1, LINE), (2, IMAGE), (3, CUBE))},
    **{n: [("default", {"self": T(), "src": T()})] for n in ("copy", "copy_")},
    "diag": [("default", {"self": V})],
    **{n: [("default", {"self": T()})] for n in ("diag_embed", "fliplr", "flipud", "rot90")},
    "embedding": [("default", {"weight": T((4, 3)), "indices": array(2, 0, 2)})],
    "im2col": [("default", {"self": IMAGE, "kernel_size": [2, 2], "dilation": [1, 1], "padding": [0, 0], "stride": [1, 1]})],
    "index_add": [("default", {"self": T(), "dim": 0, "index": array(0, 0), "source": T(), "alpha": -1})],
    **{n: [("default", {"self": T(), "indices": [array(0, 1), array(2, 0)], "values": T((2,))}), ("default", {"self": T(), "indices": [array(0, 0), array(2, 2)], "values": T((2,)), "accumulate": True})] for n in ("index_put", "_unsafe_index_put")},
    "scatter_add": [("default", {"self": T(), "dim": 1, "index": array([2, 2], [1, 0]), "src": T((2, 2))})],
    "channel_shuffle": [("default", {"self": T((1, 4, 2, 2)), "groups": 2})],
    "pixel_shuffle": [("default", {"self": T((1, 4, 2, 2)), "upscale_factor": 2})],
    "pixel_unshuffle": [("default", {"self": IMAGE, "downscale_factor": 2})],
    **{f"{kind}_pad3d": [("default", {"self": CUBE, "padding": [1, 0, 1, 1, 0, 1]})] for kind in ("reflection", "replication")},
    "unfold": [("default", {"self": T(), "dimension": 1, "size": 2, "step": 1})],
    "max_pool1d_with_indices": [("default", {"self": LINE, "kernel_size": [2]})],
    "masked_fill": [("Scalar", {"self": T(), "mask": array(True, False, True), "value": -1.0})],
}  # fmt: skip
UNKNOWN_TO_TORCH = {name for name in RULES if not hasattr(torch.ops.aten, name.removeprefix("aten."))}
PARAMETERS = [(name, i) for name, cases in CASES.items() for i in range(len(cases))]


def test_every_rule_is_among_them() -> None:
    assert {f"aten.{name}" for name in CASES} == set(RULES) - UNKNOWN_TO_TORCH
    assert len(UNKNOWN_TO_TORCH) < 8


class Written:
    """One operator as a program, of leaves that are `T`s."""

    def __init__(self, packet: str, overload: str, arguments: dict[str, Any]) -> None:
        self.leaves: list[T] = []
        self.constants: dict[str, NDArray[Any]] = {}
        args = self._stored(arguments)
        metas = {
            f"x{i}": torch.empty(t.shape, dtype=torch.float64, device="meta")
            for i, t in enumerate(self.leaves)
        }
        metas.update({name: torch.tensor(v).to("meta") for name, v in self.constants.items()})
        target = f"aten.{packet}.{overload}"
        plain = {k: torch.float64 if k == "dtype" else v for k, v in substituted(args, metas).items()}
        with torch.no_grad():
            meta = call(target, plain)
        several = not isinstance(meta, torch.Tensor)
        shape: Any = (
            tuple(tuple(m.shape) if m is not None else None for m in meta) if several else tuple(meta.shape)
        )
        nodes = [Node("r", target, args, "here", shape)]
        if several:
            nodes.append(Node("s", "_operator.getitem", {"a": Name("r"), "b": 0}, "here", shape[0]))
        leaves = tuple(Leaf(f"x{i}", f"x{i}", "input", t.shape) for i, t in enumerate(self.leaves))
        self.program = Program(leaves, self.constants, tuple(nodes), (nodes[-1].name,))

    def _stored(self, given: Any) -> Any:
        if isinstance(given, T):
            self.leaves.append(given)
            return Name(f"x{len(self.leaves) - 1}")
        if isinstance(given, np.ndarray):
            self.constants[f"c{len(self.constants)}"] = given
            return Name(f"c{len(self.constants) - 1}")
        if isinstance(given, dict):
            return {key: self._stored(value) for key, value in given.items()}
        return [self._stored(value) for value in given] if isinstance(given, list) else given


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("packet", "number"), PARAMETERS, ids=str)
def test_no_claim_is_refuted(packet: str, number: int) -> None:
    overload, arguments = CASES[packet][number]
    written = Written(packet, overload, arguments)
    rng = np.random.default_rng(len(packet) + number)
    for _ in range(SAMPLES):
        kinds = [rng.choice(t.among, t.shape) for t in written.leaves]
        values = {
            f"x{i}": Value(_looked_up(1, kind), _looked_up(2, kind)) for i, kind in enumerate(kinds)
        }  # fmt: skip
        analysis = analyse(written.program, values)
        assert not analysis.conditions or packet in ("xlogy", "pow")
        (found,) = analysis.outputs
        up, down = (found.curvature & UP) != 0, (found.curvature & DOWN) != 0
        moves = (found.curvature & VARIES) != 0
        for trial in range(TRIALS):
            size = 0.1 if trial % 3 == 0 else 2.0
            a = [rng.uniform(-2, 2, t.shape) for t in written.leaves]
            b = [np.clip(u + size * rng.uniform(-1, 1, u.shape), -2, 2) for u in a]
            middle = [(u + v) / 2 for u, v in zip(a, b, strict=True)]
            fa, fb, fm = (_evaluated(written, kinds, point) for point in (a, b, middle))
            gap, slack = fm - (fa + fb) / 2, 1e-10 * (1 + np.abs(fa) + np.abs(fb) + np.abs(fm))
            assert ((gap > -slack) | up).all(), "bends up"
            assert ((gap < slack) | down).all(), "bends down"
            assert ((np.abs(fa - fb) < slack) | moves).all(), "varies"
            for sign, wrong in ((NEGATIVE, fa < 0), (POSITIVE, fa > 0)):
                assert (~wrong | ((found.sign & sign) != 0)).all(), "sign"
            assert ((fa != 0) | ((found.sign & ZERO) != 0)).all(), "sign"


def _looked_up(which: int, kinds: NDArray[np.int64]) -> NDArray[np.int8]:
    table = np.array([entry[which] for entry in INNER], dtype=np.int8)
    return np.asarray(table[kinds])


def _evaluated(written: Written, kinds: list[NDArray[np.int64]], point: list[Floats]) -> Floats:
    values = []
    for kind, u in zip(kinds, point, strict=True):
        value = np.empty(prod(u.shape))
        for i, (which, number) in enumerate(zip(kind.ravel(), u.ravel(), strict=True)):
            value[i] = float(INNER[which][0](np.array(number)))
        values.append(value.reshape(u.shape))
    return written.program.evaluate(*values)[0]
