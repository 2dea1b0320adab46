"""Can a network's training loss be made convex in its parameters? Verdict, reason and witness.

Every CONVEX is proved by the rules of `jensen.curvature`, every NOT CONVEX by three points whose values are
enclosed by interval arithmetic. Questions (a) to (e) are about small networks with inputs held at any value;
(f) is about the whole loss on a real table, the ten mean features of scikit-learn's breast cancer data, on
which it is then minimised: with one exponential per class it is convex, and all starts end at the same loss.
Run `python -m experiments.parameter_convexity`; about a minute on one core.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import jensen
from jensen.calculus import Counterexample, Curvature, refute


@dataclass(frozen=True)
class Question:
    """A computation, the variables in which its convexity is asked, and what is declared nonnegative."""

    label: str
    text: str
    function: Callable[..., Any]
    example: tuple[Tensor, ...]
    wrt: Sequence[int | str]
    nonnegative: Sequence[int] = ()


@dataclass(frozen=True)
class Reply:
    """What was found out: CONVEX by rules, NOT CONVEX by a witness, or UNKNOWN."""

    question: Question
    kind: str
    found: Curvature
    witness: Counterexample | None

    def __str__(self) -> str:
        """Write the verdict with its reason."""
        lines = [f"({self.question.label}) {self.question.text}: {self.kind}"]
        if self.kind == "CONVEX":
            last = self.found.intermediates[-1]
            log = f", {last.logarithm}" if last.logarithm else ""
            lines.append(f"  by rules: the output is {self.found.kind}{log}")
            lines += [f"  provided that {condition}" for condition in self.found.conditions]
        elif self.found.broken is not None:
            lines.append(f"  the rules break at {self.found.broken}")
        if self.witness is not None:
            if sum(v.size for v in self.witness.x.values()) <= 32:
                lines.append(str(self.witness))
            else:
                lines.append(
                    f"  three points violate Jensen's inequality by {float(self.witness.violation):.3g}"
                )
        return "\n".join(lines)


def answered(question: Question, seconds: float = 2.0) -> Reply:
    """Ask the rules; where they do not tell, look for a witness."""
    found = jensen.curvature(
        question.function, question.example, wrt=question.wrt, nonnegative=question.nonnegative
    )
    if found.kind in ("constant", "affine", "convex"):
        return Reply(question, "CONVEX", found, None)
    witness = refute(found, seconds=seconds)
    return Reply(question, "UNKNOWN" if witness is None else "NOT CONVEX", found, witness)


A = torch.tensor([1.0, -2.0, 3.0])
ONE, X = torch.ones(1), torch.ones(2)
FIRST, LAST = torch.ones(2, 2), torch.ones(2, 2)
NET = (FIRST, LAST, X)


def network(first: Tensor, last: Tensor, x: Tensor) -> Tensor:
    """Both outputs of a two-layer ReLU network without biases."""
    return last @ (first @ x).relu()


def logistic(y: Tensor) -> Tensor:
    """log(1 + exp([1, -1] . y)), written as the document has it."""
    return torch.log1p(torch.exp(y[0] - y[1]))


def questions() -> Iterator[Question]:
    """List the document's questions about small networks."""
    yield Question("a", "relu(x)", torch.relu, (ONE,), [0])
    yield Question("a", "relu(a . x), a of any sign", lambda x: torch.relu(A @ x), (A,), [0])
    yield Question("a", "log(1 + exp(a . x)), a of any sign", lambda x: functional.softplus(A @ x), (A,), [0])
    yield Question(
        "b", "f(g), f = log(1 + exp) rises everywhere, g = x^2 - 1",
        lambda x: functional.softplus(x.square() - 1), (ONE,), [0],
    )  # fmt: skip
    yield Question(
        "b",
        "f(g), f = x^2 rises on the range of g = x^2 + 1",
        lambda x: (x.square() + 1).square(),
        (ONE,),
        [0],
    )
    yield Question(
        "b", "f(g), f = x^2 falls on a part of the range of g = x^2 - 1",
        lambda x: (x.square() - 1).square(), (ONE,), [0],
    )  # fmt: skip
    everything = [0, 1, 2]
    yield Question(
        "c",
        "w1 w2 x >= 0, jointly in both weights",
        lambda v, w, x: v * w * x,
        (ONE,) * 3,
        [0, 1],
        everything,
    )
    for block, wrt in (("the first layer", [0]), ("the last layer", [1]), ("both layers", [0, 1])):
        yield Question(
            "c", f"output of a nonnegative network, in {block}",
            lambda first, last, x: network(first, last, x)[0], NET, wrt, everything,
        )  # fmt: skip
    for signs, low in (("nonnegative", everything), ("free", [])):
        for block, wrt in (("the first layer", [0]), ("the last layer", [1]), ("both layers", [0, 1])):
            yield Question(
                "d", f"log(1 + exp([1, -1] . y)) of a {signs} network, in {block}",
                lambda first, last, x: logistic(network(first, last, x)), NET, wrt, low,
            )  # fmt: skip
    yield Question(
        "e", "output with weights exp(theta), jointly in both layers",
        lambda first, last, x: network(first.exp(), last.exp(), x)[0], NET, [0, 1], [2],
    )  # fmt: skip
    yield Question(
        "e", "squared output with weights exp(theta), jointly",
        lambda first, last, x: network(first.exp(), last.exp(), x).square().sum(), NET, [0, 1], [2],
    )  # fmt: skip
    yield Question(
        "e", "log(1 + exp([1, -1] . y)) with weights exp(theta), jointly",
        lambda first, last, x: logistic(network(first.exp(), last.exp(), x)), NET, [0, 1], [2],
    )  # fmt: skip
    yield Question(
        "e", "log(1 + y0 / y1), both outputs posynomials, jointly",
        lambda first, last, x: torch.log1p((first @ x).exp().sum() / (last @ x).exp().sum()), NET, [0, 1],
    )  # fmt: skip
    yield Question(
        "e", "log(1 + y0 / y1), y0 a posynomial and y1 a monomial, jointly",
        lambda first, last, x: torch.log1p((first @ x).exp().sum() / (last[0] @ x).exp()), NET, [0, 1],
    )  # fmt: skip


class GeometricClassifier(nn.Module):
    """Scores y_k = sum_j exp(theta_kj . z), and the loss -log(y_c / sum_k y_k) on a table."""

    z: Tensor
    classes: Tensor

    def __init__(self, z: Tensor, classes: Tensor, terms: int, seed: int = 0) -> None:
        super().__init__()
        self.register_buffer("z", z)
        self.register_buffer("classes", classes)
        generator = torch.Generator().manual_seed(seed)
        self.theta = nn.Parameter(torch.randn(2, terms, z.shape[1], generator=generator, dtype=z.dtype))

    def scores(self) -> Tensor:
        """Scores of all samples, (samples, 2)."""
        classes, terms, _ = self.theta.shape
        return (self.z @ self.theta.flatten(0, 1).T).exp().view(-1, classes, terms).sum(2)

    def forward(self) -> Tensor:
        """Mean of log(1 + (score of the other class) / (score of the class))."""
        y = self.scores()
        right, wrong = y.gather(1, self.classes[:, None]), y.gather(1, 1 - self.classes[:, None])
        loss: Tensor = torch.log1p(wrong / right).mean()
        return loss


def table() -> tuple[Tensor, Tensor]:
    """Standardised features, with a column of ones, and classes."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    features = data.data[:, :10]
    z = (features - features.mean(0)) / features.std(0)
    return torch.from_numpy(np.column_stack([z, np.ones(len(z))])), torch.from_numpy(data.target).long()


def trained(model: GeometricClassifier) -> tuple[float, float]:
    """Minimise the loss, with a small penalty that keeps the minimiser finite; return loss and accuracy."""
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = model() + 1e-3 * model.theta.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        loss = float(model() + 1e-3 * model.theta.square().sum())
        return loss, float((model.scores().argmax(1) == model.classes).double().mean())


def on_the_table(rows: int | None = None) -> Iterator[Question]:
    """Ask about the loss on a real table, with one term and with two terms per class."""
    z, classes = table()
    for terms in (1, 2):
        model = GeometricClassifier(z[:rows], classes[:rows], terms)
        what = "one exponential" if terms == 1 else f"{terms} exponentials"
        yield Question("f", f"loss on {len(model.z)} rows, {what} per class", model, (), ["theta"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the verdicts, and what training reaches from several starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=4, help="of training on the table")
    parser.add_argument("--rows", type=int, default=100, help="rows of the table for the verdicts of (f)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    for question in (*questions(), *on_the_table(options.rows)):
        print(answered(question), flush=True)
    z, classes = table()
    print("\n| exponentials per class | start | loss | accuracy (training) |")
    print("| --- | --- | --- | --- |")
    for terms in (1, 2, 4):
        for seed in range(options.starts):
            loss, accuracy = trained(GeometricClassifier(z, classes, terms, seed))
            print(f"| {terms} | {seed} | {loss:.6f} | {accuracy:.4f} |", flush=True)


if __name__ == "__main__":
    main()
