"""All ways of minimising against referees of another make, on 1,000 random problems and some beyond.

Piecewise-linear problems are referred to linear programmes that scipy's HiGHS solves to 1e-10: the epigraph
of an input convex network; the maximum of all affine pieces (`jensen.regions`), or Kelley's cutting planes
written out here, of a convex network with negative weights. Smooth problems are referred to scipy's L-BFGS-B
and SLSQP, whose points are certified over their gradient; those with an entropy to Clarabel.

A lower bound counts as invalid if it exceeds the smallest value that anybody, the referee included, reaches
at a point of the domain. `OMP_NUM_THREADS=1 python -m benchmarks.minimise_agreement`; minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import numpy as np
import torch

import jensen
from benchmarks.minimise_epigraph import epigraph
from benchmarks.minimise_referees import (
    convex_pieces,
    entropic,
    feasible,
    kelley,
    smooth,
)
from jensen.errors import DomainError
from jensen.minimize import argmin, minimize_batch, minimize_entropy
from jensen.minimize.posed._icnn import why_not_icnn
from jensen.network import Domain, FloatArray, ReLUNetwork
from jensen.nn import FICNN, PICNN, RelayICNN, SkipMLP

GROUP = 4
"""Problems that share a network and a domain; they differ in x or in a slope that is added."""
DOMAINS = ("box", "half-open box", "polytope", "whole space")
KINDS = {"ICNN": 300, "PICNN at x": 300, "relay": 200, "proved by check": 200, "smooth": 100, "entropic": 100}
AGREE = 1e-6
ROUNDING = 1e-12


@dataclass
class Group:
    """Problems with one network and one domain.

    Attributes
    ----------
    module : torch.nn.Module
        f(y) or f(x, y), in float64.
    x : (GROUP, ...) tensor or None
    linear : (GROUP, n) tensor
    whole : list of modules
        One function of y alone for each problem, slopes included.
    verdict : list of Verdict or None
    """

    kind: str
    place: str
    domain: Domain
    module: torch.nn.Module
    x: torch.Tensor | None
    linear: torch.Tensor
    whole: list[torch.nn.Module]
    verdicts: list[jensen.Verdict | None]

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(self.linear.shape[1])


@dataclass
class Row:
    """What one method did on one kind of problem."""

    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    worst: float = 0.0
    invalid: int = 0
    wrong: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What a method said about one problem."""

    method: str
    status: str
    value: float
    lower: float
    point: FloatArray
    seconds: float


def draw_domain(rng: np.random.Generator, place: str, n: int, gathered: bool) -> Domain:
    """Draw a domain; one polytope in eight is empty, one in four unbounded."""
    if place == "whole space":
        return jensen.WholeSpace()
    if place == "box":
        lo = rng.normal(size=n)
        return jensen.Box(0.0, 1.0) if gathered else jensen.Box(lo, lo + rng.exponential(size=n))
    if place == "half-open box":
        return jensen.Box(np.where(rng.random(n) < 0.5, -np.inf, rng.normal(size=n)), np.inf)
    rows, right = rng.normal(size=(int(rng.integers(1, 2 * n + 3)), n)), rng.exponential(size=1) + 0.1
    right = np.full(len(rows), right[0])
    fate = rng.integers(8)
    if fate == 0:
        rows, right = np.vstack([rows, rows[:1], -rows[:1]]), np.concatenate([right, [-1.0, 0.5]])
    elif fate > 2:
        rows, right = (
            np.vstack([rows, np.eye(n), -np.eye(n)]),
            np.append(right, rng.exponential(size=2 * n) + 0.1),
        )
    return jensen.Polytope(rows, right)


def spoil(rng: np.random.Generator, module: torch.nn.Module) -> None:
    """Make a network less tame: larger weights, zeros, twins, no biases."""
    fate = rng.integers(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if fate == 0 and parameter.ndim == 2 and len(parameter) > 1:
                parameter[-1] = parameter[0]
            elif fate == 1 and parameter.ndim == 2:
                parameter.mul_(torch.rand_like(parameter) < 0.6)
            elif fate == 2 and parameter.ndim == 1:
                parameter.zero_()
            elif fate == 3:
                parameter.add_(0.5 * torch.randn_like(parameter))


def tilted(module: SkipMLP | FICNN, slope: torch.Tensor) -> torch.nn.Module:
    """Copy a network with a slope added to its output."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.skips[-1].weight.add_(slope[None])  # type: ignore[operator]
    return twin


def slopes_for(rng: np.random.Generator, module: torch.nn.Module, n: int, bounded: bool) -> torch.Tensor:
    """Draw slopes: any, or such that the whole space holds a minimum (less an average of gradients)."""
    slope = 0.5 * torch.from_numpy(rng.normal(size=(GROUP, n)))
    if not bounded or rng.random() < 0.2:
        return slope
    y = torch.from_numpy(3.0 * rng.normal(size=(5 * GROUP, n))).requires_grad_(True)
    (gradient,) = torch.autograd.grad(module(y).sum(), y)
    return -gradient.reshape(GROUP, 5, n).mean(1).detach()


def draw(rng: np.random.Generator, kind: str, place: str) -> Group:
    """Draw a group of problems."""
    unbounded = place in ("whole space", "half-open box")
    n = int(rng.integers(1, 9 if kind in ("ICNN", "PICNN at x") else 3 if unbounded else 4))
    widths = tuple(int(k) for k in rng.integers(2, 11 if n > 2 else 7, size=rng.integers(1, 4)))
    domain = draw_domain(rng, place, n, kind == "entropic")
    torch.manual_seed(int(rng.integers(1 << 30)))
    first = ("principled", "torch")[int(rng.integers(2))]
    if kind == "PICNN at x" or (kind == "entropic" and rng.random() < 0.5):
        picnn = PICNN(3, n, widths, initialisation=first, dtype=torch.float64)  # type: ignore[arg-type]
        spoil(rng, picnn)
        x = torch.from_numpy(rng.normal(size=(GROUP, 3)))
        whole: list[torch.nn.Module] = [picnn.at(one) for one in x]
        return Group(kind, place, domain, picnn, x, torch.zeros(GROUP, n).double(), whole, [None] * GROUP)
    if kind == "proved by check":
        return proved(rng, place, n, domain)
    if kind == "relay":
        relay = RelayICNN(n, widths if len(widths) > 1 else (*widths, 3), dtype=torch.float64)
        spoil(rng, relay)
        net: SkipMLP | FICNN = relay.skip_mlp()
    else:
        name = "softplus" if kind == "smooth" else ("relu", "leaky_relu")[int(rng.integers(2))]
        quadratic = 0.3 if kind == "smooth" and (place != "box" or rng.random() < 0.5) else 0.0
        net = FICNN(n, widths, name, quadratic=quadratic, initialisation=first, dtype=torch.float64)  # type: ignore[arg-type]
        spoil(rng, net)
    slopes = slopes_for(rng, net, n, unbounded or place == "polytope")
    verdicts: list[jensen.Verdict | None] = [None] * GROUP
    ready = [tilted(net, s) for s in slopes]
    if kind == "relay":
        verdicts = [jensen.check(one, exact=False) for one in ready]
    return Group(kind, place, domain, net, None, slopes, ready, verdicts)


def proved(rng: np.random.Generator, place: str, n: int, domain: Domain) -> Group:
    """Draw small networks with negative weights until `jensen.check` proves one convex."""
    while True:
        net = SkipMLP(n, (3, 3), dtype=torch.float64)
        with torch.no_grad():
            for layer in net.hidden:
                layer.weight.copy_(torch.from_numpy(rng.normal(0.6, 0.6, layer.weight.shape)))  # type: ignore[operator, arg-type]
            net.hidden[-1].weight.abs_()  # type: ignore[operator]
        if not why_not_icnn(jensen.as_network(net).network):
            continue
        if jensen.check(net, exact=False, time_limit=5.0).kind not in ("convex", "convex_float"):
            continue
        slopes = slopes_for(rng, net, n, True)
        whole = [tilted(net, s) for s in slopes]
        verdicts: list[jensen.Verdict | None] = [jensen.check(one) for one in whole]
        return Group("proved by check", place, domain, net, None, slopes, whole, verdicts)


def referee(group: Group, i: int, network: ReLUNetwork | None) -> tuple[str, float]:
    """Status and value of one problem, by other means."""
    if group.kind == "entropic":
        assert network is not None
        return entropic(network)
    if network is None:
        return smooth(group.whole[i], group.domain, group.size, float(group.whole[i].strong_convexity))  # type: ignore[arg-type]
    if not why_not_icnn(network):
        return epigraph(network, group.domain)
    if group.kind == "relay" and group.place == "box":
        return kelley(network, group.domain)
    return convex_pieces(network, group.domain)


def single(group: Group, network: ReLUNetwork | None, i: int) -> Iterator[Answer]:
    """Ask every method of `argmin` that serves."""
    methods = ["cuts"] if network is None else ["walk", "lp", "cuts"]
    if network is not None and why_not_icnn(network):
        methods = ["cuts", "auto"]
    for method in methods:
        began = perf_counter()
        found = argmin(group.whole[i], group.domain, method=method, verdict=group.verdicts[i])  # type: ignore[arg-type]
        name = "auto (walk, cuts)" if method == "auto" else method
        yield Answer(name, found.status, found.value, found.lower_bound, found.point, perf_counter() - began)


def batched(group: Group) -> Iterator[list[Answer]]:
    """Ask the methods that take all problems of a group at once."""
    runs: dict[str, Callable[[], object]] = {}
    vouched = isinstance(group.module, SkipMLP)
    linear, x = group.linear, group.x
    if group.kind == "entropic":
        runs["entropy, batch"] = lambda: minimize_entropy(group.module, x, linear=linear)
    else:
        names = ["bundle"] if group.place in ("box", "polytope") else []
        if group.kind == "smooth" and group.place != "polytope":
            names.append("newton")
        for name in names:
            runs[f"{name}, batch"] = lambda name=name: minimize_batch(  # type: ignore[misc]
                group.module, group.domain, x, method=name, linear=linear,
                tolerance=1e-7, assume_convex=vouched,
            )  # fmt: skip
    for name, run in runs.items():
        began = perf_counter()
        try:
            found: object = run()
        except DomainError as error:
            if "empty" in str(error):
                nothing = np.full(group.size, np.nan)
                yield [Answer(name, "infeasible", np.inf, np.inf, nothing, 0.0)] * GROUP
            continue  # unbounded polytopes are refused by the batched methods
        each = (perf_counter() - began) / GROUP
        parts = [getattr(found, key) for key in ("converged", "value", "lower_bound", "point")]
        yield [
            Answer(name, "optimal" if ok else "not converged", float(v), float(low), y.numpy(), each)
            for ok, v, low, y in zip(*parts, strict=True)
        ]


def judge(group: Group, table: dict[tuple[str, str, str], Row]) -> None:
    """Have one group solved by everybody and compare."""
    crowd = list(batched(group))
    for i in range(GROUP):
        network = None
        if group.kind != "smooth":
            network = jensen.as_network(group.whole[i]).network
        status, value = referee(group, i, network)
        answers = [a[i] for a in crowd]
        if group.kind != "entropic":
            answers += list(single(group, network, i))
        reached = [a.value for a in answers if a.status == "optimal" and feasible(group.domain, a.point)]
        least, scale = min([value, *reached]), max(1.0, abs(value))
        for answer in answers:
            row = table[group.kind, group.place, answer.method]
            row.outcomes[status] += 1
            row.seconds.append(answer.seconds)
            if answer.status != status:
                row.wrong += 1
                told = f"value {answer.value:.12g}, bound {answer.lower:.12g}, referee {value:.12g}"
                print(group.kind, group.place, answer.method, answer.status, "not", status, told, sep=", ")
            if status == "optimal":
                row.invalid += not answer.lower <= least + ROUNDING * scale
                if answer.status == "optimal":
                    row.worst = max(row.worst, abs(answer.value - value) / scale)
                    row.wrong += not feasible(group.domain, answer.point)


def main() -> None:
    """Draw the problems, print the table, end with an error if anything disagrees."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the problems")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=np.inf, help="draw no more problems after so long")
    arguments = parser.parse_args()
    table: dict[tuple[str, str, str], Row] = defaultdict(Row)
    tasks = []
    for kind, number in KINDS.items():
        groups = max(1 if kind == "entropic" else len(DOMAINS), round(number * arguments.share / GROUP))
        tasks += [(k / groups, kind, k) for k in range(groups)]
    count, began = 0, perf_counter()
    for _, kind, k in sorted(tasks):  # all kinds in turn, so that a run that is cut short has seen all
        if perf_counter() - began > arguments.seconds:
            break
        place = "box" if kind == "entropic" else DOMAINS[k % len(DOMAINS)]
        rng = np.random.default_rng([arguments.seed, list(KINDS).index(kind), k])
        judge(draw(rng, kind, place), table)
        count += GROUP
    print(f"{count} problems\n")
    print("| kind | domain | method | problems | optimal / unbounded / infeasible | wrong status or point "
          "| worst relative error | invalid bounds | median ms |")  # fmt: skip
    print("| --- " * 9 + "|")
    for (kind, place, method), row in sorted(table.items()):
        shares = " / ".join(str(row.outcomes[s]) for s in ("optimal", "unbounded", "infeasible"))
        print(f"| {kind} | {place} | {method} | {len(row.seconds)} | {shares} | {row.wrong} "
              f"| {row.worst:.0e} | {row.invalid} | {1e3 * median(row.seconds):.2f} |")  # fmt: skip
    rows = table.values()
    if any(row.wrong or row.invalid or row.worst > AGREE for row in rows):
        raise SystemExit("there are disagreements")


if __name__ == "__main__":
    main()
