"""Random programs of all that the verifier's rules know, and trials that may refute what they accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from programs import BINARY, REDUCTIONS, UNARY, WIDTH

import jensen
from jensen.calculus import decide
from jensen.calculus._value import DOWN, VARIES
from jensen.errors import CertificateError
from jensen.program import Leaf, Name, Node, Program
from jensen.program._evaluate import applied
from jensen.verifier import replay_rules
from jensen.verifier.rules._call import Call
from jensen.verifier.rules._known import Known, constant, held, variable
from jensen.verifier.rules._replay import _applied

TRIALS = 200
LIMIT = 1e6
"""Values beyond it are not compared, for what rounding does to them."""
Step = tuple[str, str, dict[str, Any]]
Arrays = Mapping[str, np.ndarray]

MORE_UNARY: list[tuple[str, dict[str, Any]]] = [
    ("exp.default", {}),
    ("exp.default", {}),
    ("exp2.default", {}),
    ("log1p.default", {}),
    ("log2.default", {}),
    ("log10.default", {}),
    ("rsqrt.default", {}),
    ("sqrt.default", {}),
    ("erf.default", {}),
    ("atan.default", {}),
    ("asinh.default", {}),
    ("selu.default", {}),
    ("relu6.default", {}),
    ("threshold.default", {"threshold": 0.5, "value": 0.5}),
    ("threshold.default", {"threshold": 0.5, "value": 0.25}),
    ("hardtanh.default", {"min_val": 0.5, "max_val": 1.0}),
    ("hardtanh.default", {"min_val": 0.0, "max_val": 1.0}),
    ("hardtanh.default", {"min_val": -2.0, "max_val": -1.0}),
    ("leaky_relu.default", {"negative_slope": 0.0}),
    ("leaky_relu.default", {"negative_slope": 1.0}),
    ("elu.default", {"alpha": 0.0}),
    *(("pow.Tensor_Scalar", {"exponent": p}) for p in (0, 0.5, 1, 2, 2.5, 5, -0.5, -1, -2, -3)),
    ("pow.Scalar", {"base": 2.0}),
    ("pow.Scalar", {"base": 0.5}),
    ("clamp_min.default", {"min": 0.0}),
    ("clamp_max.default", {"max": 0.0}),
    ("clamp_min.default", {"min": 0.25}),
    ("add.Tensor", {"other": 1}),
    ("sub.Tensor", {"other": 2.5, "alpha": -0.5}),
    ("rsub.Scalar", {"other": 1.5, "alpha": 2}),
    ("mul.Tensor", {"other": 0.5}),
    ("div.Tensor", {"other": -2.0}),
    ("div.Tensor_mode", {"other": 2.0, "rounding_mode": "floor"}),
    ("roll.default", {"shifts": [1], "dims": [1]}),
    ("softmax.int", {"dim": 1}),
    ("clone.default", {}),
]
MORE_REDUCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("linalg_vector_norm.default", {"ord": float("inf"), "dim": [-1], "keepdim": True}),
    ("linalg_vector_norm.default", {"ord": 3, "dim": [-1], "keepdim": True}),
    ("linalg_vector_norm.default", {"ord": 0.5, "dim": [-1], "keepdim": True}),
    ("linalg_vector_norm.default", {"ord": 0, "dim": [-1], "keepdim": True}),
    ("norm.ScalarOpt_dim", {"p": 2, "dim": [-1], "keepdim": True}),
    ("var.correction", {"dim": [-1], "correction": 1, "keepdim": True}),
    ("select.int", {"dim": 1, "index": 0}),
    ("slice.Tensor", {"dim": 1, "start": -1, "end": 9}),
]


class _Writer:
    """Writes steps, of which some take several operators, on values of shape (samples, width)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.steps: list[Step] = []
        self.constants: dict[str, np.ndarray] = {}
        self.widths = {"x": WIDTH, "p": WIDTH}

    def made(self, operator: str, width: int | None, /, **args: Any) -> Name:
        name = f"n{len(self.steps)}"
        operator = operator if operator.startswith("_") else f"aten.{operator}"
        self.steps.append((name, operator, args))
        if width is not None:
            self.widths[name] = width
        return Name(name)

    def kept(self, array: Any) -> Name:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return Name(name)

    def weights(self, *shape: int) -> Name:
        w = self.rng.uniform(0.25, 1.5, shape) * (self.rng.random(shape) < 0.8)
        return self.kept(w * (1, 1, -1, self.rng.choice([-1, 1], shape))[int(self.rng.integers(4))])

    def recent(self) -> Name:
        names = list(self.widths)
        return Name(names[int(self.rng.integers(max(0, len(names) - 3), len(names)))])

    def any(self) -> Name:
        names = list(self.widths)
        return Name(names[int(self.rng.integers(len(names)))])

    def step(self) -> None:
        a, rng = self.recent(), self.rng
        wide = self.widths[a.name]
        kind = rng.random()
        if kind < 0.4:
            table = (UNARY, MORE_UNARY)[int(rng.integers(2))]
            operator, extra = table[int(rng.integers(len(table)))]
            name = {"pow.Scalar": "exponent"}.get(operator, "self")
            if operator == "pow.Scalar":
                self.made(operator, wide, self=extra["base"], exponent=a)
            else:
                self.made(operator, wide, **{name: a}, **extra)
        elif kind < 0.5:
            table = (REDUCTIONS, MORE_REDUCTIONS)[int(rng.integers(2))]
            operator, extra = table[int(rng.integers(len(table)))]
            if operator == "select.int":
                self.made("unsqueeze.default", 1, self=self.made(operator, None, self=a, **extra), dim=1)
            else:
                self.made(operator, 1, self=a, **extra)
        elif kind < 0.62:
            operator, b = BINARY[int(rng.integers(len(BINARY)))], self.any()
            self.made(operator, max(wide, self.widths[b.name]), self=a, other=b)
        else:
            self.special(int(rng.integers(16)), a, wide)

    def special(self, which: int, a: Name, wide: int) -> Name:
        rng, made = self.rng, self.made
        if which == 0:
            return made("mul.Tensor", WIDTH, self=a, other=self.weights(WIDTH))
        if which == 1:
            return made(
                "linear.default", WIDTH, input=a, weight=self.weights(WIDTH, wide), bias=self.weights(3)
            )
        if which == 2:
            return made("matmul.default", WIDTH, self=a, other=self.weights(wide, WIDTH))
        if which == 3:
            extra = {"beta": float(rng.choice([1, -1])), "alpha": float(rng.choice([1, -2]))}
            return made(
                "addmm.default", WIDTH, self=self.weights(3), mat1=a, mat2=self.weights(wide, WIDTH), **extra
            )
        if which == 4:
            args = {name: self.weights(wide) for name in ("weight", "bias", "running_mean")}
            spread = self.kept(rng.uniform(0.1, 2, wide))
            rest = {"training": False, "momentum": 0.1, "eps": 1e-5, "cudnn_enabled": False}
            return made("batch_norm.default", wide, input=a, **args, running_var=spread, **rest)
        if which == 5:
            b = self.any()
            index = rng.integers(0, wide + self.widths[b.name], WIDTH)
            joined = made("cat.default", None, tensors=[a, b], dim=1)
            return made("index_select.default", WIDTH, self=joined, dim=1, index=self.kept(index))
        if which == 6:
            fill = float(rng.choice([0.0, 1.0, -1.0]))
            padded = made("constant_pad_nd.default", None, self=a, pad=[1, 0], value=fill)
            return made("slice.Tensor", wide, self=padded, dim=1, start=0, end=wide)
        if which == 7:
            mask = self.kept(rng.random(WIDTH) < 0.5)
            return made("where.self", WIDTH, condition=mask, self=a, other=self.any())
        if which == 8:
            chosen = made(
                "topk.default", None, self=a, k=min(wide, 2), dim=1, largest=bool(rng.random() < 0.7)
            )
            values = made("_operator.getitem", None, a=chosen, b=0)
            operator = ("sum.dim_IntList", "mean.dim", "select.int")[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
            if operator == "select.int":
                one = made(operator, None, self=values, dim=1, index=0)
                return made("unsqueeze.default", 1, self=one, dim=1)
            return made(operator, 1, self=values, dim=[-1], keepdim=True)
        if which == 9:
            root = rng.integers(-2, 3, (wide, wide)).astype(float)
            matrix = root.T @ root
            if rng.random() < 0.5:
                matrix[0, -1] += rng.choice([-1.0, 1.0, 4.0])
            if rng.random() < 0.3:
                matrix = -matrix
            image = made("matmul.default", None, self=a, other=self.kept(matrix))
            both = (a, image) if rng.random() < 0.5 else (image, a)
            products = made("mul.Tensor", None, self=both[0], other=both[1])
            return made("sum.dim_IntList", 1, self=products, dim=[-1], keepdim=True)
        if which == 10:
            b = a if rng.random() < 0.8 else self.any()
            logarithm = made("log.default", None, self=b)
            both = (a, logarithm) if rng.random() < 0.5 else (logarithm, a)
            wide = max(wide, self.widths[b.name])
            return made("mul.Tensor", wide, self=both[0], other=both[1])
        if which == 11:
            b = a if rng.random() < 0.6 else self.any()
            return made("xlogy.Tensor", max(wide, self.widths[b.name]), self=a, other=b)
        if which == 12:
            window: dict[str, Any] = {"kernel_size": [3], "stride": [1], "padding": [1]}
            if rng.random() < 0.5:
                return made("max_pool1d.default", wide, self=a, dilation=[1], **window)
            return made(
                "avg_pool1d.default", wide, self=a, count_include_pad=bool(rng.random() < 0.5), **window
            )
        if which == 13:
            channel = made("unsqueeze.default", None, self=a, dim=1)
            seen = made(
                "conv1d.default", None, input=channel, weight=self.weights(1, 1, 3), bias=None, padding=[1]
            )
            return made("squeeze.dim", wide, self=seen, dim=1)
        if which == 14:
            operator = ("max.dim", "min.dim")[int(rng.integers(2))]
            pair = made(operator, None, self=a, dim=1, keepdim=True)
            return made("_operator.getitem", 1, a=pair, b=0)
        operator = ("mse_loss", "huber_loss", "smooth_l1_loss", "l1_loss")[int(rng.integers(4))]
        return made(f"{operator}.default", wide, self=a, target=a if wide == 1 else Name("x"), reduction=0)


def random_steps(
    rng: np.random.Generator, length: int
) -> tuple[list[Step], dict[str, np.ndarray], list[str]]:
    """Draw steps, constants, and which values are of shape (samples, width)."""
    writer = _Writer(rng)
    for _ in range(length):
        writer.step()
    return writer.steps, writer.constants, [name for name in writer.widths if name not in ("x", "p")]


def leaves_of(samples: int) -> tuple[Leaf, Leaf]:
    """`x`, which varies, and `p`, which is held."""
    return Leaf("x", "x", "input", (samples, WIDTH)), Leaf("p", "p", "input", (samples, WIDTH))


def nodes_of(steps: list[Step], constants: Arrays, samples: int) -> list[Node]:
    """Write steps down for a number of samples."""
    values: dict[str, Any] = {leaf.name: torch.ones(leaf.shape).double() for leaf in leaves_of(samples)}
    values.update({name: torch.from_numpy(value) for name, value in constants.items()})

    def resolved(given: Any) -> Any:
        if isinstance(given, list):
            return [resolved(entry) for entry in given]
        return values[given.name] if isinstance(given, Name) else given

    nodes = []
    for name, operator, args in steps:
        found = applied(Node(name, operator, {}, name, ()), {k: resolved(v) for k, v in args.items()})
        values[name] = found
        shape: Any = tuple(tuple(m.shape) for m in found) if isinstance(found, tuple) else tuple(found.shape)
        nodes.append(Node(name, operator, args, name, shape))
    return nodes


def needed(nodes: list[Node], constants: Arrays, samples: int, output: str) -> Program:
    """Keep what an output needs."""
    names, left = {output}, []
    for node in reversed(nodes):
        if node.name in names:
            names.update(node.inputs)
            left.append(node)
    kept = {name: value for name, value in constants.items() if name in names}
    return Program(leaves_of(samples), kept, tuple(reversed(left)), (output,))


def program_of(steps: list[Step], constants: Arrays, output: str) -> Program:
    """Write down what an output of one sample needs."""
    return needed(nodes_of(steps, constants, 1), constants, 1, output)


@dataclass
class Counts:
    """What a campaign saw: entries of intermediate values."""

    programs: int = 0
    entries: int = 0
    accepted: int = 0
    claimed: int = 0
    bent: int = 0
    refuted: tuple[str, ...] = ()
    unclaimed: tuple[str, ...] = ()


def drawn(rng: np.random.Generator, domain: jensen.Box) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of points of the domain, on its boundary too, far from and near to each other."""
    lo, hi = domain.bounds(WIDTH)
    spread = rng.choice([0.3, 1.0, 3.0], (TRIALS, 1))
    x, y = np.clip(rng.standard_normal((2, TRIALS, WIDTH)) * spread, lo, hi)
    inside = np.isfinite(lo) & np.isfinite(hi)
    for points in (x, y):
        anywhere = rng.uniform(np.where(inside, lo, 0), np.where(inside, hi, 1), (TRIALS, WIDTH))
        points[...] = np.where(inside & (rng.random((TRIALS, 1)) < 0.7), anywhere, points)
    near = np.clip(x + 0.3 * rng.standard_normal(x.shape), lo, hi)
    y = np.where(rng.random((TRIALS, 1)) < 0.4, near, y)
    alone = rng.random((TRIALS, WIDTH)) < 0.5
    return x, np.where((rng.random((TRIALS, 1)) < 0.3) & alone, x, y)


DOMAINS = (
    (-np.inf, np.inf),
    (0.0, np.inf),
    (0.125, 4.0),
    (-3.0, 0.0),
    (-2.0, -0.125),
    ([0.25, -1.0, 0.0], [3.0, np.inf, 2.0]),
    (0.0, 1.0),
)


def judge(seed: int, length: int, counts: Counts, replayed: float = 1.0) -> None:
    """Judge every intermediate value of a random program.

    Parameters
    ----------
    seed, length : int
    counts : Counts
    replayed : float
        Share of the accepted ones that are replayed as certificates are.
    """
    rng = np.random.default_rng(seed)
    steps, constants, shown = random_steps(rng, length)
    domain = jensen.Box(*DOMAINS[int(rng.integers(len(DOMAINS)))])
    wrt = None if rng.random() < 0.7 else tuple(int(i) for i in rng.permutation(WIDTH)[:2])
    x, y = drawn(rng, domain)
    if wrt is not None:
        still = [i for i in range(WIDTH) if i not in wrt]
        y[:, still] = x[:, still]
    p = rng.standard_normal((TRIALS, WIDTH)) * rng.choice([0.3, 1.0, 3.0], (TRIALS, 1))
    t = rng.choice([0.5, 0.25, 0.9], (TRIALS, 1))
    points, still_points = np.concatenate([x, y, t * x + (1 - t) * y]), np.concatenate([p] * 3)
    counts.programs += 1
    single, several = (nodes_of(steps, constants, samples) for samples in (1, 3 * TRIALS))
    tensors = tuple(node.name for node in single if isinstance(node.shape[0], int))
    whole, many = (
        Program(leaves_of(samples), constants, tuple(nodes), tensors)
        for samples, nodes in ((1, single), (3 * TRIALS, several))
    )
    analysis = decide(whole, (0,), domain, wrt, 0).analysis
    known = flags(whole, domain, wrt)
    with np.errstate(all="ignore"):
        values = dict(zip(tensors, many.evaluate(points, still_points), strict=True))
        # Where anything overflows, or is not defined, nothing is compared.
        fits = {k: np.abs(v.reshape(3 * TRIALS, -1)).max(1) < LIMIT for k, v in values.items()}
    for name in shown:
        one = needed(single, constants, 1, name)
        beneath = [node.name for node in one.nodes if node.name in values]
        bends = analysis.values[name].curvature[0]  # type: ignore[union-attr]
        supposed = any(condition.node in beneath for condition in analysis.conditions)
        claims = ((bends & (VARIES | DOWN)) != VARIES | DOWN) & (not supposed)
        counts.entries += claims.size
        counts.claimed += int(claims.sum())
        found = known.get(name)
        if not isinstance(found, Known):
            continue
        ok = np.all([fits[k] for k in beneath], axis=0).reshape(3, TRIALS).all(axis=0)
        fx, fy, fm = np.split(values[name], 3)
        slack = 1e-8 * (1 + np.abs(fx) + np.abs(fy) + np.abs(fm))
        with np.errstate(all="ignore"):
            violated = (fm > t * fx + (1 - t) * fy + slack) & ok[:, None]
        for j in np.flatnonzero(~found.down[0]):
            where = f"{seed} {name} {one.nodes[-1].operator} [{j}]"
            counts.accepted += 1
            counts.bent += bool(found.up[0, j])
            if rng.random() < replayed and not accepted(one, domain, wrt, int(j)):
                counts.unclaimed += (f"not replayed: {where}",)
            if violated[:, j].any():
                counts.refuted += (where,)
            # Only the verifier says of everything that is zero everywhere that it does not move.
            if not claims[j] and all(known[k].there.all() for k in beneath):
                counts.unclaimed += (where,)


def accepted(program: Program, domain: jensen.Domain, wrt: tuple[int, ...] | None, output: int) -> bool:
    """Whether the verifier accepts the claim that an output is convex in the first input."""
    try:
        replay_rules(program, domain, (0,), wrt, output)
    except CertificateError:
        return False
    return True


def flags(program: Program, domain: jensen.Domain, wrt: tuple[int, ...] | None) -> dict[str, Any]:
    """All that the rules know, by names of values; what they refuse is left out."""
    moves = np.isin(np.arange(WIDTH), range(WIDTH) if wrt is None else wrt)[None]
    lo, hi = domain.bounds(WIDTH)
    leaf = variable((lo < 0)[None], ((lo <= 0) & (hi >= 0))[None], (hi > 0)[None], moves)
    values: dict[str, Any] = {"x": leaf, "p": held((1, WIDTH))}
    values.update({name: constant(array) for name, array in program.constants.items()})
    makers: dict[str, Node] = {}
    for node in program.nodes:
        if all(name in values for name in node.inputs):
            try:
                values[node.name] = _applied(Call(node, values, makers, program), values)
            except CertificateError:
                continue
            makers[node.name] = node
    return values
