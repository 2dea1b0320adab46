"""One trap for every condition of the verifier's rules: beside what holds, what almost does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from programs import WIDTH
from verifier_campaign import Step, accepted, flags, program_of

import jensen
from jensen.errors import CertificateError
from jensen.program import Leaf, Name, Node, Program
from jensen.verifier import replay_rules
from jensen.verifier.rules._forms import is_semidefinite
from jensen.verifier.rules._moving import moved
from jensen.verifier.rules._replay import RULES

X, P = Name("x"), Name("p")
N = [Name(f"n{i}") for i in range(8)]
REAL, NONNEGATIVE, POSITIVE, NONPOSITIVE, BELOW = (
    (-np.inf, np.inf),
    (0.0, np.inf),
    (1e-300, np.inf),
    (-np.inf, 0.0),
    (-np.inf, -1e-300),
)
Ends = tuple[Any, Any]


def on(
    ends: Ends, *steps: tuple[str, dict[str, Any]], wrt: tuple[int, ...] | None = None, **constants: Any
) -> bool:
    """Whether the verifier accepts the first entry of a program; `x` varies, `p` is held."""
    named: list[Step] = [
        (f"n{i}", name if name.startswith("_operator") else f"aten.{name}", args)
        for i, (name, args) in enumerate(steps)
    ]
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    return accepted(program_of(named, arrays, f"n{len(steps) - 1}"), jensen.Box(*ends), wrt, 0)


def alone(ends: Ends, name: str, **args: Any) -> bool:
    """Whether one operator of x and p is accepted, whose arguments torch itself may refuse."""
    leaves = tuple(Leaf(leaf, leaf, "input", (1, WIDTH)) for leaf in "xp")
    node = Node("n0", f"aten.{name}", args, "here", (1, WIDTH))
    return accepted(Program(leaves, {}, (node,), ("n0",)), jensen.Box(*ends), None, 0)


def one(ends: Ends, name: str, **args: Any) -> bool:
    """Whether one operator on x is accepted."""
    return on(ends, (f"{name}.default", {"self": X, **args}))


def negated(ends: Ends, name: str, **args: Any) -> bool:
    """Whether minus one operator on x is accepted: it is concave."""
    return on(ends, (f"{name}.default", {"self": X, **args}), ("neg.default", {"self": N[0]}))


@pytest.mark.parametrize("name", ["log", "log2", "log10"])
def test_logarithms_need_a_positive_argument(name: str) -> None:
    assert negated(POSITIVE, name)
    assert not negated(NONNEGATIVE, name)
    assert not negated(REAL, name)
    assert not one(POSITIVE, name)


def test_what_is_undefined_is_refused_even_where_it_does_not_move() -> None:
    for name in ("log", "sqrt", "rsqrt", "reciprocal", "log1p"):
        steps = ((f"{name}.default", {"self": P}), ("add.Tensor", {"self": X, "other": N[0]}))
        assert not on(REAL, *steps), name
    assert not on(REAL, ("div.Tensor", {"self": X, "other": P}))
    assert not on((1, 2), ("div.Tensor", {"self": X, "other": 0.0}))


def test_inverses_need_one_sign_without_zero() -> None:
    assert one(POSITIVE, "reciprocal")
    assert not one(NONNEGATIVE, "reciprocal")
    assert not one(REAL, "reciprocal")
    assert not one(BELOW, "reciprocal")
    assert negated(BELOW, "reciprocal")
    assert not negated(NONPOSITIVE, "reciprocal")
    assert not negated(POSITIVE, "reciprocal")
    assert one(POSITIVE, "rsqrt")
    assert not one(NONNEGATIVE, "rsqrt")
    # Not zero, but of both signs: 1 / (1 / x).
    assert not on((-1, 1), ("div.Tensor", {"self": 1.0, "other": X}))
    assert on(POSITIVE, ("div.Tensor", {"self": 1.0, "other": X}))
    assert not on(POSITIVE, ("div.Tensor", {"self": -1.0, "other": X}))
    assert not on(POSITIVE, ("div.Tensor_mode", {"self": X, "other": 2.0, "rounding_mode": "floor"}))
    assert on(REAL, ("div.Tensor", {"self": X, "other": -2.0}))


def power(ends: Ends, p: Any) -> bool:
    return on(ends, ("pow.Tensor_Scalar", {"self": X, "exponent": p}))


def minus_power(ends: Ends, p: Any) -> bool:
    return on(ends, ("pow.Tensor_Scalar", {"self": X, "exponent": p}), ("neg.default", {"self": N[0]}))


def test_powers() -> None:
    assert all(power(REAL, p) for p in (0, 1, 2, 4, 6.0))
    assert not any(power(REAL, p) for p in (3, 5, 1.5, 0.5, -1, -2, float("inf"), float("nan")))
    assert not alone(REAL, "pow.Tensor_Scalar", self=X, exponent=10**400)
    assert all(power(NONNEGATIVE, p) for p in (3, 5, 1.5, 2.5))
    assert not any(power(NONNEGATIVE, p) for p in (0.5, -1, -2, -0.5))
    assert all(power(POSITIVE, p) for p in (-1, -2, -0.5, 1.5))
    assert not power(POSITIVE, 0.5)
    assert minus_power(NONNEGATIVE, 0.5)
    assert not minus_power((-1e-9, 1), 0.5)
    assert minus_power(NONPOSITIVE, 3)
    assert not minus_power(NONPOSITIVE, 2)
    assert not power(BELOW, -2)  # true, and not known
    assert on(REAL, ("pow.Scalar", {"self": 0.5, "exponent": X}))
    assert not on(REAL, ("pow.Scalar", {"self": -0.5, "exponent": X}))
    for base in (0.5, 2.0):
        square, minus = ("square.default", {"self": X}), ("neg.default", {"self": N[0]})
        assert on(REAL, square, ("pow.Scalar", {"self": base, "exponent": N[0]})) == (base > 1)
        assert on(REAL, square, minus, ("pow.Scalar", {"self": base, "exponent": N[1]})) == (base < 1)
    assert not on(REAL, ("pow.Scalar", {"self": 0.0, "exponent": X}))
    assert not on(REAL, ("pow.Tensor_Tensor", {"self": X, "exponent": X}))


def test_monotone_functions_take_what_bends_their_way() -> None:
    """f(g) for f of every slope, and g = x^2, -x^2, |x| - 1 (of both signs), x."""
    square = ("square.default", {"self": X})
    minus = ("neg.default", {"self": N[0]})

    def of_square(name: str, **args: Any) -> bool:
        return on(REAL, square, (f"{name}.default", {"self": N[0], **args}))

    def of_minus_square(name: str, **args: Any) -> bool:
        return on(REAL, square, minus, (f"{name}.default", {"self": N[1], **args}))

    def of_shifted_size(name: str, **args: Any) -> bool:
        size, shifted = ("abs.default", {"self": X}), ("sub.Tensor", {"self": N[0], "other": 1.0})
        return on(REAL, size, shifted, (f"{name}.default", {"self": N[1], **args}))

    rising = ("exp", "exp2", "expm1", "softplus", "celu", "relu", "elu")
    assert all(of_square(name) and of_shifted_size(name) for name in rising)
    assert not any(of_minus_square(name) for name in ("exp", "exp2", "expm1", "softplus", "celu", "elu"))
    assert of_minus_square("relu")  # zero
    both = ("abs", "square", "cosh")
    assert all(of_square(name) for name in both)
    assert all(of_minus_square(name) for name in ("abs", "square", "cosh"))  # falling, of a concave one
    assert not any(of_shifted_size(name) for name in both)
    assert all(of_square(name) for name in ("selu", "sinh"))
    assert not any(of_shifted_size(name) for name in ("selu", "sinh", "tanh", "sigmoid", "erf", "atan"))
    assert not any(of_square(name) for name in ("tanh", "sigmoid", "erf", "erfc", "atan", "asinh", "relu6"))
    assert not any(one(REAL, name) for name in ("tanh", "sigmoid", "erf", "erfc", "selu", "sinh", "asinh"))
    assert all(one(NONPOSITIVE, name) for name in ("tanh", "sigmoid", "erf", "atan", "asinh", "selu"))
    assert not any(
        one(NONNEGATIVE, name) for name in ("tanh", "sigmoid", "erf", "atan", "asinh", "log_sigmoid")
    )
    assert all(
        negated(NONNEGATIVE, name) for name in ("tanh", "sigmoid", "erf", "atan", "asinh", "log_sigmoid")
    )
    assert one(NONNEGATIVE, "erfc")
    assert not one(NONPOSITIVE, "erfc")
    assert not any(one(REAL, name) for name in ("silu", "gelu", "mish", "sin", "hardsigmoid", "hardswish"))


def test_parameters_of_activations() -> None:
    assert one(REAL, "softplus", beta=2.0)
    assert not one(REAL, "softplus", beta=-1.0)
    assert not one(REAL, "softplus", threshold=5.0)
    assert one(REAL, "elu", alpha=0.5)
    assert not one(REAL, "elu", alpha=1.25)
    assert not one(REAL, "elu", alpha=-0.25)
    assert not one(REAL, "elu", alpha=0.5, scale=-1.0)
    assert not one(REAL, "celu", alpha=-1.0)
    for slope, convex, concave in (
        (0.5, True, False),
        (-0.5, True, False),
        (1.5, False, True),
        (1.0, True, True),
    ):
        assert one(REAL, "leaky_relu", negative_slope=slope) == convex
        assert negated(REAL, "leaky_relu", negative_slope=slope) == concave
    # A negative slope falls below zero: of |x| - 2 it is not convex.
    size, shifted = ("abs.default", {"self": X}), ("sub.Tensor", {"self": N[0], "other": 2.0})
    for slope, convex in ((0.5, True), (-0.5, False)):
        step = ("leaky_relu.default", {"self": N[1], "negative_slope": slope})
        assert on(REAL, size, shifted, step) == convex
    assert one(REAL, "threshold", threshold=0.5, value=0.5)
    assert not one(REAL, "threshold", threshold=0.5, value=0.25)
    prelu = ("_prelu_kernel.default", {"self": X, "weight": Name("w")})
    assert on(REAL, prelu, w=[0.5, 2.0, 0.5])
    assert not on(REAL, prelu, w=[2.0, 0.5, 0.5])


def test_hard_limits_bend_both_ways_unless_the_sign_is_known() -> None:
    assert not one(REAL, "hardtanh")
    assert not one(NONNEGATIVE, "hardtanh")
    assert negated(NONNEGATIVE, "hardtanh")
    assert one(NONPOSITIVE, "hardtanh")
    assert not negated(NONNEGATIVE, "hardtanh", min_val=0.5, max_val=1.0)
    assert not one(NONPOSITIVE, "hardtanh", min_val=-2.0, max_val=-1.0)
    assert not one(REAL, "hardtanh", min_val=1.0, max_val=-1.0)
    assert not one(NONNEGATIVE, "relu6")
    assert one(NONPOSITIVE, "relu6")
    assert one(REAL, "clamp", min=0.5)
    assert not one(REAL, "clamp", max=0.5)
    assert not one(REAL, "clamp", min=-0.5, max=0.5)
    assert not one(REAL, "clamp", min=float("-inf"), max=0.5)
    assert one(NONPOSITIVE, "clamp_max", max=0.0)
    assert not one(NONPOSITIVE, "clamp_max", max=-0.5)


@pytest.mark.parametrize("name", ["amax", "amin", "logsumexp", "linalg_vector_norm"])
def test_reductions(name: str) -> None:
    """Of concave entries they are not convex, nor are they where one entry is concave."""
    args = {"self": X, "dim": [1], "keepdim": True}
    assert on(REAL, (f"{name}.default", args)) == (name != "amin")
    square, minus = ("square.default", {"self": X}), ("neg.default", {"self": N[0]})
    assert on(REAL, square, (f"{name}.default", {**args, "self": N[0]})) == (name != "amin")
    assert on(REAL, square, minus, (f"{name}.default", {**args, "self": N[1]})) == (
        name == "linalg_vector_norm"
    )
    mixed = ("mul.Tensor", {"self": N[0], "other": Name("w")})
    found = on(REAL, square, mixed, (f"{name}.default", {**args, "self": N[1]}), w=[1.0, 1.0, -1e-300])
    assert found == (name == "linalg_vector_norm")
    shifted = ("sub.Tensor", {"self": N[0], "other": 1.0})
    assert on(REAL, square, shifted, (f"{name}.default", {**args, "self": N[1]})) == (
        name in ("amax", "logsumexp")
    )


def test_minima_are_concave_and_pairs_of_values() -> None:
    for name, convex in (
        ("maximum", True),
        ("fmax", True),
        ("minimum", False),
        ("fmin", False),
        ("logaddexp", True),
    ):
        step = (f"{name}.default", {"self": X, "other": P})
        assert on(REAL, step) == convex
        assert on(REAL, step, ("neg.default", {"self": N[0]})) != convex
    for name, convex in (("max", True), ("min", False)):
        pair = (f"{name}.dim", {"self": X, "dim": 1, "keepdim": True})
        assert on(REAL, pair, ("_operator.getitem", {"a": N[0], "b": 0})) == convex
        assert not on(REAL, pair, ("_operator.getitem", {"a": N[0], "b": 1}))


def test_a_larger_value_is_one_of_two_only_if_their_signs_say_so() -> None:
    steps = ("abs.default", {"self": X}), ("neg.default", {"self": N[0]})
    for one, other in ((X, N[1]), (N[1], X)):
        last = ("maximum.default", {"self": one, "other": other}), ("neg.default", {"self": N[2]})
        assert not on(REAL, *steps, *last)
        assert not on(NONPOSITIVE, *steps, *last)
        assert on(NONNEGATIVE, *steps, *last)  # it is x
    for one, other in ((X, N[0]), (N[0], X)):
        last = ("maximum.default", {"self": one, "other": other}), ("neg.default", {"self": N[1]})
        assert not on(REAL, ("flip.default", {"self": X, "dims": [1]}), *last)


def test_norms_of_order_below_one_are_refused() -> None:
    for order, convex in ((1, True), (1.5, True), (float("inf"), True), (0.5, False), (0, False), (-1, False),
                          (float("-inf"), False), (float("nan"), False)):  # fmt: skip
        assert one(REAL, "linalg_vector_norm", ord=order) == convex
    assert not alone(REAL, "linalg_vector_norm.default", self=X, ord="nuc", dim=[2], keepdim=False)


def test_a_variance_is_convex_in_affine_entries_and_needs_entries() -> None:
    for correction, known in ((0, True), (1, True), (2.5, True), (3, False), (4, False)):
        step = ("var.correction", {"self": X, "dim": [1], "correction": correction})
        assert on(REAL, step) == known
    assert not on(
        REAL, ("var.correction", {"self": X, "dim": [1], "correction": 0}), ("neg.default", {"self": N[0]})
    )
    size = ("abs.default", {"self": X})
    assert not on(REAL, size, ("var.correction", {"self": N[0], "dim": [1], "correction": 0}))


def test_pools() -> None:
    largest = {"self": X, "kernel_size": [3], "stride": [1], "padding": [1], "dilation": [1]}
    mean = {"self": X, "kernel_size": [3], "stride": [1], "padding": [1], "ceil_mode": False}
    square, minus = ("square.default", {"self": X}), ("neg.default", {"self": N[0]})
    assert on(REAL, ("max_pool1d.default", largest))
    assert not on(REAL, square, minus, ("max_pool1d.default", {**largest, "self": N[1]}))
    for counted in (True, False):
        rest = {**mean, "count_include_pad": counted}
        assert on(REAL, square, ("avg_pool1d.default", {**rest, "self": N[0]}))
        assert not on(REAL, square, minus, ("avg_pool1d.default", {**rest, "self": N[1]}))
    # The signs of a largest entry are not those of what stands in its place beyond the edge.
    exp = ("exp.default", {"self": N[0]})
    pooled = ("max_pool1d.default", {**largest, "self": N[1]})
    assert (
        on(REAL, ("neg.default", {"self": X}), exp, pooled, ("reciprocal.default", {"self": N[2]})) is False
    )
    image = ("reshape.default", {"self": Name("w"), "shape": [1, 1, 1, 3]})
    joined = ("mul.Tensor", {"self": N[0], "other": X})
    for divisor, convex in ((2, True), (-2, False)):
        pool = ("avg_pool2d.default", {"self": N[1], "kernel_size": [1, 3], "divisor_override": divisor})
        assert on(REAL, image, joined, pool, w=np.ones(3)) == convex


def test_a_window_without_entries_is_refused() -> None:
    """Beyond the edge stands minus infinity, which is no number: one wide dilation sees nothing else."""
    shape = (1, 1, 1)
    leaf = Leaf("x", "x", "input", shape, batched=True)
    args = {"self": X, "kernel_size": [2], "stride": [1], "padding": [1], "dilation": [2]}
    program = Program((leaf,), {}, (Node("n0", "aten.max_pool1d.default", args, "here", shape),), ("n0",))
    with np.errstate(all="ignore"):
        assert np.isneginf(program.evaluate(np.ones(shape))[0]).all()
    assert not accepted(program, jensen.WholeSpace(), None, 0)


def test_products() -> None:
    mul = "mul.Tensor"
    assert on(REAL, (mul, {"self": X, "other": X}))
    assert on(REAL, (mul, {"self": X, "other": P}))
    flipped = ("flip.default", {"self": X, "dims": [1]})
    for ends in (REAL, NONNEGATIVE, POSITIVE):
        assert not on(ends, flipped, (mul, {"self": X, "other": N[0]}))
    square = ("square.default", {"self": X})
    assert not on(REAL, square, (mul, {"self": N[0], "other": P}))  # of a factor of any sign
    assert on(REAL, square, ("exp.default", {"self": P}), (mul, {"self": N[0], "other": N[1]}))
    assert not on(REAL, square, (mul, {"self": N[0], "other": -1e-300}))
    assert on(REAL, square, (mul, {"self": N[0], "other": 0.0}))
    # A factor that is held in one entry only.
    assert on((0, 1), flipped, (mul, {"self": N[0], "other": X}), wrt=(0, 1))
    assert not on((0, 1), flipped, (mul, {"self": N[0], "other": X}), wrt=(0, 2))
    reordered = ("permute.default", {"self": X, "dims": [1, 0]})
    assert not on(
        REAL, reordered, ("matmul.default", {"self": X, "other": N[0]})
    )  # x' x, written with two names


def test_weights_of_one_wrong_sign() -> None:
    square = ("square.default", {"self": X})
    products: tuple[tuple[str, dict[str, Any]], ...] = (
        ("linear", {"input": N[0], "weight": Name("w")}),
        ("matmul", {"self": N[0], "other": Name("w")}),
        ("mm", {"self": N[0], "mat2": Name("w")}),
        ("addmm", {"self": Name("b"), "mat1": N[0], "mat2": Name("w")}),
    )
    for name, args in products:
        step = (f"{name}.default", args)
        w, b = np.eye(3), np.ones(3)
        assert on(REAL, square, step, w=w, b=b), name
        w = w.copy()
        w[(0, 1) if name == "linear" else (1, 0)] = -5e-324
        assert not on(REAL, square, step, w=w, b=b), name
    for mat, scale in ((N[0], "alpha"), (X, "beta")):
        for factor, convex in ((1, True), (-1, False)):
            other = Name("b") if scale == "alpha" else N[0]
            args = {"self": other, "mat1": mat, "mat2": Name("w"), scale: factor}
            assert on(REAL, square, ("addmm.default", args), w=np.eye(3), b=np.ones(3)) == convex
    for alpha, convex in ((1, True), (-2, False)):
        assert on(REAL, square, ("add.Tensor", {"self": X, "other": N[0], "alpha": alpha})) == convex
        assert on(REAL, square, ("sub.Tensor", {"self": X, "other": N[0], "alpha": alpha})) != convex
        assert on(REAL, square, ("rsub.Scalar", {"self": N[0], "other": 1, "alpha": alpha})) != convex
    assert on(REAL, square, ("neg.default", {"self": N[0]}), ("rsub.Scalar", {"self": N[1], "other": 1}))


def test_batch_normalisation_needs_a_positive_variance_and_eval_mode() -> None:
    def normalised(training: bool = False, eps: float = 1e-5, **constants: Any) -> bool:
        numbers = {"m": np.zeros(3), "v": np.ones(3), "w": np.ones(3), "b": np.zeros(3), **constants}
        names = {"running_mean": Name("m"), "running_var": Name("v"), "weight": Name("w"), "bias": Name("b")}
        rest = {"training": training, "momentum": 0.1, "eps": eps, "cudnn_enabled": False}
        leaf, shape = Leaf("x", "x", "input", (1, WIDTH)), (1, WIDTH)
        nodes = (
            Node("n0", "aten.square.default", {"self": X}, "here", shape),
            Node("n1", "aten.batch_norm.default", {"input": N[0], **names, **rest}, "here", shape),
        )
        return accepted(Program((leaf,), numbers, nodes, ("n1",)), jensen.WholeSpace(), None, 0)

    assert normalised()
    assert not normalised(training=True)
    assert not normalised(w=np.array([-1e-300, 1, 1]))
    assert not normalised(v=np.array([-1.0, 1, 1]))
    assert not normalised(v=np.array([0.0, 1, 1]), eps=0.0)
    assert normalised(v=np.array([0.0, 1, 1]))
    assert not normalised(eps=-2.0)


def test_moving_operators_take_the_right_entries() -> None:
    square = ("square.default", {"self": X})
    mixed = ("mul.Tensor", {"self": N[0], "other": Name("w")})
    w = np.array([-1.0, 1.0, 1.0])

    def kept(name: str, **args: Any) -> bool:
        return on(REAL, square, mixed, (name, {"self": N[1], **args}), w=w)

    assert not kept("slice.Tensor", dim=1, start=0, end=1)
    assert kept("slice.Tensor", dim=1, start=1, end=3)
    assert kept("flip.default", dims=[1])
    assert not kept("flip.default", dims=[0])
    assert kept("roll.default", shifts=[1], dims=[1])
    assert kept("select.int", dim=1, index=-1)
    assert kept("constant_pad_nd.default", pad=[1, 0], value=0.0)
    assert not kept("constant_pad_nd.default", pad=[0, 1], value=0.0)
    assert not on(REAL, ("view.dtype", {"self": X, "dtype": "float16"}))
    assert not kept("unfold.default", dimension=1, size=2, step=1)
    assert on(REAL, square, ("unfold.default", {"self": N[0], "dimension": 1, "size": 2, "step": 1}))
    for mask, convex in (([True, False, False], True), ([False, True, True], False)):
        args = {"self": N[1], "mask": Name("mask"), "value": 0.0}
        assert on(REAL, square, mixed, ("masked_fill.Scalar", args), w=w, mask=mask) == convex
        args = {"condition": Name("mask"), "self": N[0], "other": N[1]}
        assert on(REAL, square, mixed, ("where.self", args), w=w, mask=mask) == convex
    args = {"condition": N[2], "self": X, "other": P}
    assert not on(REAL, square, mixed, ("gt.Scalar", {"self": P, "other": 0}), ("where.self", args), w=w)
    for index, convex in (([0], False), ([2], True)):
        args = {"self": N[1], "dim": 1, "index": Name("i")}
        assert on(REAL, square, mixed, ("index_select.default", args), w=w, i=index) == convex
    # What a pad fills in has its own sign.
    for value, convex in ((1.0, True), (0.0, False), (-1.0, True)):
        pad = ("constant_pad_nd.default", {"self": X, "pad": [1, 0], "value": value})
        assert on(POSITIVE, pad, ("reciprocal.default", {"self": N[0]})) == convex
    pad = ("constant_pad_nd.default", {"self": X, "pad": [1, 0], "value": float("-inf")})
    assert not on(REAL, pad, ("logsumexp.default", {"self": N[0], "dim": [1]}))


def test_an_operator_that_mixes_entries_moves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    mean = ("avg_pool1d.default", {"self": X, "kernel_size": [2], "stride": [1]})
    assert on(REAL, mean)
    monkeypatch.setitem(RULES, "aten.avg_pool1d", moved)
    assert not on(REAL, mean)


def test_conversions_to_integers_jump() -> None:
    assert not on(REAL, ("to.other", {"self": X, "other": Name("i")}), i=np.array([1]))
    assert on(REAL, ("to.dtype", {"self": X, "dtype": "float32"}))
    for dtype, convex in (("float32", True), ("bfloat16", True), ("int64", False), ("bool", False)):
        assert on(REAL, ("_to_copy.default", {"self": X, "dtype": dtype})) == convex
        assert on(REAL, ("sum.dim_IntList", {"self": X, "dim": [1], "dtype": dtype})) == convex


def test_entropy_is_of_one_value() -> None:
    def product(log: str, one: Name, other: Name, ends: Ends) -> bool:
        return on(ends, (f"{log}.default", {"self": one}), ("mul.Tensor", {"self": other, "other": N[0]}))

    assert product("log", X, X, POSITIVE)
    assert product("log2", X, X, POSITIVE)
    assert not product("log", X, X, NONNEGATIVE)
    assert not product("log1p", X, X, POSITIVE)
    flipped = ("flip.default", {"self": X, "dims": [1]})
    steps = (flipped, ("log.default", {"self": X}), ("mul.Tensor", {"self": N[0], "other": N[1]}))
    assert not on(POSITIVE, *steps)
    bent = ("square.default", {"self": X}), ("log.default", {"self": N[0]})
    assert not on(POSITIVE, *bent, ("mul.Tensor", {"self": N[0], "other": N[1]}))
    assert on(NONNEGATIVE, ("xlogy.Tensor", {"self": X, "other": X}))
    assert not on((-1e-300, 1), ("xlogy.Tensor", {"self": X, "other": X}))
    assert not on(POSITIVE, flipped, ("xlogy.Tensor", {"self": X, "other": N[0]}))
    assert not on(NONNEGATIVE, ("xlogy.Tensor", {"self": X, "other": X}), ("neg.default", {"self": N[0]}))


def test_only_sums_of_largest_entries_are_known() -> None:
    def top(largest: bool, *last: tuple[str, dict[str, Any]], dim: int = 1) -> bool:
        pick = ("topk.default", {"self": X, "k": 1 if dim == 0 else 2, "dim": dim, "largest": largest})
        return on(REAL, pick, ("_operator.getitem", {"a": N[0], "b": 0}), *last)

    add, mean = (f"{name}" for name in ("sum.dim_IntList", "mean.dim"))
    assert top(True, (add, {"self": N[1], "dim": [1]}))
    assert top(True, (mean, {"self": N[1], "dim": [-1]}))
    assert not top(False, (add, {"self": N[1], "dim": [1]}))
    assert top(False, (add, {"self": N[1], "dim": [1]}), ("neg.default", {"self": N[2]}))
    assert not top(True)
    for index in (0, 1):
        assert not top(True, ("select.int", {"self": N[1], "dim": 1, "index": index}))
    negative = ("neg.default", {"self": N[1]})
    assert not top(True, negative, (add, {"self": N[2], "dim": [1]}))
    assert not top(True, (add, {"self": N[1], "dim": [1]}), dim=0)
    # The largest of entries that are never positive is zero if one is; the sum of the two largest is not.
    picked = (
        ("mul.Tensor", {"self": X, "other": Name("w")}),
        ("topk.default", {"self": N[0], "k": 2, "dim": 1}),
        ("_operator.getitem", {"a": N[1], "b": 0}),
        (add, {"self": N[2], "dim": [1]}),
    )
    w = np.array([1.0, 1.0, 0.0])
    assert on(NONPOSITIVE, *picked, w=w)
    assert not on(NONPOSITIVE, *picked, ("neg.default", {"self": N[3]}), w=w)
    square, minus = ("square.default", {"self": X}), ("neg.default", {"self": N[0]})
    pick = ("topk.default", {"self": N[1], "k": 2, "dim": 1})
    steps = (square, minus, pick, ("_operator.getitem", {"a": N[2], "b": 0}))
    assert not on(REAL, *steps, (add, {"self": N[3], "dim": [1]}))
    indices = ("_operator.getitem", {"a": N[0], "b": 1})
    assert not on(
        REAL, ("topk.default", {"self": X, "k": 2, "dim": 1}), indices, (add, {"self": N[1], "dim": [1]})
    )


def form(matrix: Any, ends: Ends = REAL, image: str = "matmul", inner: str = "", axes: Any = (1,)) -> bool:
    """Whether sum(x * (x @ P)) is accepted."""
    first: list[tuple[str, dict[str, Any]]] = [(f"{inner}.default", {"self": X})] if inner else []
    x = N[0] if inner else X
    names = {"matmul": ("self", "other"), "linear": ("input", "weight")}[image]
    here = len(first)
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        *first,
        (f"{image}.default", {names[0]: x, names[1]: Name("w")}),
        ("mul.Tensor", {"self": x, "other": N[here]}),
        ("sum.dim_IntList", {"self": N[here + 1], "dim": list(axes)}),
    )
    return on(ends, *steps, w=matrix)


def test_quadratic_forms() -> None:
    root = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [1.0, 3.0, 3.0]])  # of rank 2
    matrix = root.T @ root
    for image in ("matmul", "linear"):
        assert form(matrix, image=image)
        assert not form(-matrix, image=image)
    lower = matrix.copy()
    lower[2, 2] = np.nextafter(lower[2, 2], 0)  # indefinite by one unit in the last place
    assert not form(lower)
    skewed = matrix + 100 * np.array([[0, 1.0, -2], [-1, 0, 3], [2, -3, 0]])
    assert form(skewed)  # only the symmetric part counts
    assert not form(np.array([[1.0, 3, 0], [0, 1, 0], [0, 0, 1]]))
    assert not form(matrix, inner="square")
    assert not form(matrix, inner="abs")
    assert not form(matrix, axes=(0,))
    # Rows of a square matrix: sums along the other axis, and a matrix in front of it, mix them.
    rows = ("mul.Tensor", {"self": X, "other": Name("v")})
    behind = ("matmul.default", {"self": N[0], "other": Name("w")})
    before = ("matmul.default", {"self": Name("w"), "other": N[0]})
    products = ("mul.Tensor", {"self": N[0], "other": N[1]})
    v = np.array([[1.0], [5.0], [0.0]])
    w = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for seen, axis, convex in ((behind, 1, True), (behind, 0, False), (before, 1, False), (before, 0, False)):
        last: tuple[str, dict[str, Any]] = ("sum.dim_IntList", {"self": N[2], "dim": [axis]})
        assert on(REAL, rows, seen, products, last, v=v, w=w) == convex
    # The image of another vector.
    flipped = ("flip.default", {"self": X, "dims": [1]})
    steps = (
        flipped,
        ("matmul.default", {"self": N[0], "other": Name("w")}),
        ("mul.Tensor", {"self": X, "other": N[1]}),
        ("sum.dim_IntList", {"self": N[2], "dim": [1]}),
    )
    assert not on(REAL, *steps, w=matrix)


def test_semidefinite_matrices_are_told_exactly() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 12):
        root = rng.integers(-9, 10, (n, max(n - 1, 1))).astype(float)
        gram = root @ root.T
        assert is_semidefinite(gram)
        assert is_semidefinite(gram * 2.0**-300)
        assert n == 1 or not is_semidefinite(gram - np.diag(np.full(n, 5e-324)) - np.diag(np.full(n, 1e-9)))
        lower = np.nextafter(gram, -np.inf)
        off = ~np.eye(n, dtype=bool)
        lower[off] = gram[off]
        assert n == 1 or not is_semidefinite(lower)
    assert is_semidefinite(np.zeros((3, 3)))
    assert is_semidefinite(np.array([[1e300, 0], [0, 1e-300]]))
    assert not is_semidefinite(np.array([[1e300, 0], [0, -1e-300]]))
    assert not is_semidefinite(np.array([[0.0, 1e-300], [0.0, 1.0]]))
    assert is_semidefinite(np.array([[0.0, 1.0], [-1.0, 0.0]]))


EXP = ("exp.default", {"self": X})
FLIPPED = ("flip.default", {"self": N[0], "dims": [1]})


def test_log_convexity() -> None:
    mul, add, sub = "mul.Tensor", "add.Tensor", "sub.Tensor"
    pair = {"self": N[0], "other": N[1]}
    both = (EXP, FLIPPED)
    assert on(REAL, *both, (mul, pair))
    assert on(REAL, *both, (add, pair), (mul, {"self": N[2], "other": N[1]}))
    assert on(REAL, *both, ("maximum.default", pair), (mul, {"self": N[2], "other": N[1]}))
    assert not on(REAL, *both, ("minimum.default", pair), (mul, {"self": N[2], "other": N[1]}))
    soft = EXP, ("softplus.default", {"self": X}), ("flip.default", {"self": N[0], "dims": [1]})
    for name in ("maximum.default", add):  # of a value that is not log-convex, and one that is
        assert not on(REAL, *soft, (name, pair), (mul, {"self": N[3], "other": N[2]}))
    assert not on(REAL, *both, (sub, pair))
    assert not on(REAL, *both, (sub, pair), (mul, {"self": N[2], "other": N[1]}))  # a difference
    assert on(REAL, *both, (add, pair), ("log.default", {"self": N[2]}))
    assert not on(REAL, *both, (add, pair), ("log.default", {"self": N[2]}), ("neg.default", {"self": N[3]}))
    assert on(REAL, EXP, ("log.default", {"self": N[0]}), ("neg.default", {"self": N[1]}))
    assert on(REAL, *both, ("div.Tensor", pair))  # by one exponential
    total = (add, {"self": N[1], "other": N[0]})
    assert not on(REAL, *both, total, ("div.Tensor", {"self": N[0], "other": N[2]}))  # by a sum of two
    assert not on(REAL, *both, total, ("reciprocal.default", {"self": N[2]}))
    for p in (0.5, 3, -0.5):
        power = ("pow.Tensor_Scalar", {"self": N[2], "exponent": p})
        assert on(REAL, *both, total, power) == (p > 0)
        assert on(REAL, *both, (mul, pair), power)
        times = (mul, {"self": N[3], "other": N[0]})
        assert on(REAL, *both, total, power, times) == (p > 0)
    # Positive, and not log-convex: x y is not convex, nor is (x + 1) exp(y).
    assert not on(POSITIVE, ("flip.default", {"self": X, "dims": [1]}), (mul, {"self": X, "other": N[0]}))
    assert not on(POSITIVE, EXP, FLIPPED, (mul, {"self": X, "other": N[1]}))
    # A constant that is negative.
    assert not on(REAL, *both, (sub, {"self": N[0], "other": 1e-9}), (mul, {"self": N[2], "other": N[1]}))
    assert on(REAL, *both, (add, {"self": N[0], "other": 1e-9}), (mul, {"self": N[2], "other": N[1]}))
    # Matrices of exponentials, and norms.
    assert on(REAL, EXP, ("matmul.default", {"self": N[0], "other": Name("w")}),
              (mul, {"self": N[1], "other": N[0]}), w=np.ones((3, 3)))  # fmt: skip
    w = np.ones((3, 3))
    w[0, 0] = -1e-300
    assert not on(REAL, EXP, ("matmul.default", {"self": N[0], "other": Name("w")}),
                  (mul, {"self": N[1], "other": N[0]}), w=w)  # fmt: skip
    norm = ("linalg_vector_norm.default", {"self": N[0], "ord": 2, "dim": [1], "keepdim": True})
    assert on(REAL, EXP, norm, (mul, {"self": N[1], "other": N[0]}))
    norm = ("linalg_vector_norm.default", {"self": X, "ord": 2, "dim": [1], "keepdim": True})
    assert not on(REAL, EXP, norm, (mul, {"self": N[1], "other": N[0]}))


def test_log_concavity() -> None:
    log = ("log.default", {"self": N[0]})
    minus = ("neg.default", {"self": N[1]})
    for name, extra in (
        ("sigmoid.default", {}),
        ("softplus.default", {}),
        ("erfc.default", {}),
        ("softmax.int", {"dim": 1}),
    ):
        assert on(REAL, (name, {"self": X, **extra}), log, minus), name
        assert not on(REAL, (name, {"self": X, **extra}), log), name
        assert on(REAL, (name, {"self": X, **extra}), ("reciprocal.default", {"self": N[0]})), name
        assert not on(REAL, (name, {"self": X, **extra}), ("neg.default", {"self": N[0]})), name
        inner = ("square.default", {"self": X})
        outer = (
            (name, {"self": N[0], **extra}),
            ("log.default", {"self": N[1]}),
            ("neg.default", {"self": N[2]}),
        )
        # Of a convex argument; erfc falls, so that log(erfc(x^2)) is concave.
        assert on(REAL, inner, *outer) == (name == "erfc.default"), name
    # Products of a log-concave and a log-convex function are nothing, and sums of log-concave ones neither.
    mixed = (
        ("sigmoid.default", {"self": X}),
        ("reciprocal.default", {"self": N[0]}),
        ("flip.default", {"self": N[1], "dims": [1]}),
        ("mul.Tensor", {"self": N[0], "other": N[2]}),
        ("log.default", {"self": N[3]}),
    )
    assert not on(REAL, *mixed)
    assert not on(REAL, *mixed, ("neg.default", {"self": N[4]}))
    added = ("add.Tensor", {"self": N[0], "other": N[1]})
    both = ("sigmoid.default", {"self": X}), ("flip.default", {"self": N[0], "dims": [1]}), added
    assert not on(REAL, *both, ("reciprocal.default", {"self": N[2]}))
    assert on(NONNEGATIVE, *both, ("reciprocal.default", {"self": N[2]}))  # both are concave


def test_log_softmax() -> None:
    step = ("log_softmax.int", {"self": X, "dim": 1})
    assert not on(REAL, step)
    assert on(REAL, step, ("neg.default", {"self": N[0]}))
    inner = ("square.default", {"self": X})
    outer = ("log_softmax.int", {"self": N[0], "dim": 1}), ("neg.default", {"self": N[1]})
    assert not on(REAL, inner, *outer)


def test_losses() -> None:
    square = ("square.default", {"self": X})
    for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"):
        for reduction in (0, 1, 2):
            rest = {"target": P, "reduction": reduction}
            assert on(REAL, (f"{name}.default", {"self": X, **rest})), name
            assert not on(REAL, square, (f"{name}.default", {"self": N[0], **rest})), name
        assert not on(REAL, (f"{name}.default", {"self": X, "target": P}), ("neg.default", {"self": N[0]})), (
            name
        )
    for delta in (-1.0, 1.0):
        assert alone(REAL, "huber_loss.default", self=X, target=P, reduction=0, delta=delta) == (delta > 0)


def test_cancelling_terms_are_not_seen() -> None:
    square = ("square.default", {"self": X})
    half = ("mul.Tensor", {"self": N[0], "other": -0.5})
    assert not on(REAL, square, half, ("add.Tensor", {"self": N[0], "other": N[1]}))


def test_arguments_that_make_no_sense_are_refused_and_nothing_else_is_raised() -> None:
    """Whatever stands where numbers or tensors should: the only error is the verifier's."""
    strange: tuple[Any, ...] = ("a", [1.0], 10**400, float("nan"), Name("i"), -7)
    leaf = Leaf("x", "x", "input", (1, WIDTH))
    numbers = {"i": np.array([1, 0])}
    names = ("self", "other", "weight", "dim", "a")
    for packet in RULES:
        overloads = [] if packet.startswith("_") else getattr(torch.ops.aten, packet[5:]).overloads()
        operator = f"{packet}.{overloads[0]}" if overloads else packet
        for name in names:
            for value in strange:
                args = {"self": X, "input": X, name: value}
                node = Node("n0", operator, args, "here", (1, WIDTH))
                program = Program((leaf,), numbers, (node,), ("n0",))
                try:
                    replay_rules(program, jensen.WholeSpace(), (0,), None, 0)
                except CertificateError:
                    continue


def test_signs_of_sums_and_products() -> None:
    """A certificate also says that nothing is undefined, whatever values the held inputs have."""

    def defined(*steps: tuple[str, dict[str, Any]], **constants: Any) -> bool:
        last = len(steps)
        rest = ("log.default", {"self": N[last - 1]}), ("add.Tensor", {"self": N[last], "other": X})
        return on(REAL, *steps, *rest, **constants)

    exp, relu = ("exp.default", {"self": P}), ("relu.default", {"self": P})
    flipped = ("flip.default", {"self": N[0], "dims": [1]})
    pair = {"self": N[0], "other": N[1]}
    assert defined(exp, flipped, ("add.Tensor", pair))
    assert defined(exp, flipped, ("mul.Tensor", pair))
    for name in ("add.Tensor", "mul.Tensor", "maximum.default"):
        assert not defined(relu, flipped, (name, pair)), name
    assert defined(exp, relu, ("add.Tensor", pair))
    assert defined(exp, relu, ("maximum.default", pair))
    assert not defined(exp, relu, ("mul.Tensor", pair))
    assert not defined(exp, relu, ("minimum.default", pair))
    # A difference of positive numbers may be zero, and so may its square.
    square = ("square.default", {"self": N[2]})
    assert not defined(exp, flipped, ("sub.Tensor", pair), square)
    assert defined(exp, flipped, ("add.Tensor", pair), square)
    # A sum of products of both signs: p' w for a w of both signs.
    for w, good in ((np.ones((3, 3)), True), (np.diag([1.0, -1.0, 1.0]) - 0.5, False)):
        row = ("matmul.default", {"self": N[0], "other": Name("w")})
        squared = ("square.default", {"self": N[1]})
        assert defined(exp, row, squared, w=w) == good
    for values, good in (([1.0, 1.0, 1.0], True), ([1.0, 0.0, 1.0], False)):
        assert defined(exp, ("mul.Tensor", {"self": N[0], "other": Name("w")}), w=values) == good
    # Two negative factors are positive: relu(|x|) bends up.
    steps = (
        ("abs.default", {"self": X}),
        ("neg.default", {"self": N[0]}),
        ("mul.Tensor", {"self": N[1], "other": -2.0}),
        ("relu.default", {"self": N[2]}),
    )
    assert on(REAL, *steps)
    assert not on(REAL, *steps, ("neg.default", {"self": N[3]}))


def test_signs_of_activations() -> None:
    """What may be negative has no logarithm; what may be positive is not cut off."""
    for name, extra, signs in (
        ("relu", {}, (0, 0, 1)),
        ("leaky_relu", {"negative_slope": 0.5}, (-1, 0, 1)),
        ("leaky_relu", {"negative_slope": -0.5}, (1, 0, 1)),
        ("leaky_relu", {"negative_slope": 0.0}, (0, 0, 1)),
        ("elu", {"alpha": 0.5}, (-1, 0, 1)),
        ("elu", {"alpha": 0.0}, (0, 0, 1)),
        ("celu", {}, (-1, 0, 1)),
        ("selu", {}, (-1, 0, 1)),
        ("softplus", {}, (1, 1, 1)),
        ("abs", {}, (1, 0, 1)),
        ("square", {}, (1, 0, 1)),
        ("exp", {}, (1, 1, 1)),
        ("expm1", {}, (-1, 0, 1)),
        ("sinh", {}, (-1, 0, 1)),
        ("cosh", {}, (1, 1, 1)),
        ("tanh", {}, (-1, 0, 1)),
        ("erf", {}, (-1, 0, 1)),
        ("erfc", {}, (1, 1, 1)),
        ("atan", {}, (-1, 0, 1)),
        ("asinh", {}, (-1, 0, 1)),
        ("sigmoid", {}, (1, 1, 1)),
        ("log_sigmoid", {}, (-1, -1, -1)),
        ("relu6", {}, (0, 0, 1)),
        ("hardtanh", {}, (-1, 0, 1)),
    ):
        leaf, shape = Leaf("x", "x", "input", (1, WIDTH)), (1, WIDTH)
        program = Program(
            (leaf,), {}, (Node("n0", f"aten.{name}.default", {"self": X, **extra}, "", shape),), ("n0",)
        )
        assert tuple(np.sign(program.evaluate(np.array([[-0.75, 0.0, 0.75]]))[0][0])) == signs, name
        for sign, ends in zip(signs, ((-2, -0.5), (0, 0), (0.5, 2)), strict=True):
            found = flags(program, jensen.Box(*ends), None)["n0"]
            may = [bool(part.all()) for part in (found.negative, found.zero, found.positive)]
            assert may == [sign < 0, sign == 0, sign > 0]
