"""Each extension's convex programme beside direct training of the same objective from many starts.

Run: python -m benchmarks.fit_extensions [--starts 16] [--limit 6] [--only WORD]

A row is a problem. Ours: objective, lower bound, relative gap, seconds of processor. Direct training, in
float64 with the same regularisation: Adam on all starts at once (full batch, four step sizes, falling to 0
along a cosine), and L-BFGS on one start after the other, each within `--limit` seconds; best and median end,
in per cent above our lower bound, and how many ends are below it: none may be where the bound is one for all
networks. The rows "given gates" are programmes over the gates of random sub-networks, and of these and Adam's
best network, slightly moved: their bounds hold for these gates only, and networks may be below.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from jensen.fit import (
    ParallelNetwork,
    Problem,
    all_gates,
    all_parallel_patterns,
    bound_price,
    evaluate_critic,
    fit_batch_norm,
    fit_batch_norm_after,
    fit_generator,
    fit_mixture,
    fit_parallel_network,
    fit_polynomial_network,
    fit_vector_network,
    join_parallel_patterns,
    make_problem,
    network_parallel_patterns,
    random_parallel_network,
    solve_gated_vectors,
)

Floats = NDArray[np.float64]
Value = Callable[[torch.Tensor], torch.Tensor]

STEPS = 3000
RATES = (0.003, 0.01, 0.03, 0.1)
STRENGTH = 0.03


@dataclass(frozen=True)
class Case:
    """A problem: our solver, and the objective of a batch of vectors of weights, (s, size) to (s,)."""

    name: str
    solve: Callable[[], tuple[float, float]]
    value: Value
    size: int
    scale: float = 0.4


@dataclass(frozen=True)
class Direct:
    """Ends of direct training."""

    ends: Floats
    seconds: float
    best: Floats


def adam(case: Case, starts: int, limit: float, seed: int = 0) -> Direct:
    rng, begin = np.random.default_rng(seed), process_time()
    z = torch.tensor(case.scale * rng.standard_normal((starts, case.size)))
    rates = torch.tensor(np.resize(RATES, starts))[:, None]
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    best = torch.full((starts,), torch.inf, dtype=torch.float64)
    for step in range(1, STEPS + 1):
        before = z.requires_grad_(True)
        values = case.value(z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
        done = max(step / STEPS, (process_time() - begin) / limit)
        with torch.no_grad():
            best = torch.minimum(best, values.nan_to_num(torch.inf))
            gradient = gradient.nan_to_num(0.0)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            move = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-10)
            z = z - rates * (1 + math.cos(math.pi * min(done, 1.0))) / 2 * move
        if done >= 1:
            break
    winner = int(torch.argmin(values.detach().nan_to_num(torch.inf)))
    return Direct(best.numpy(), process_time() - begin, before[winner].detach().numpy())


def lbfgs(case: Case, starts: int, limit: float, seed: int = 1) -> Direct:
    rng, begin = np.random.default_rng(seed), process_time()
    ends, found = [], []

    def objective(z: Floats) -> tuple[float, Floats]:
        at = torch.tensor(z[None], requires_grad=True)
        value = case.value(at)
        (gradient,) = torch.autograd.grad(value.sum(), at)
        return float(value[0].detach()), gradient[0].numpy()

    for _ in range(starts):
        start = case.scale * rng.standard_normal(case.size)
        end = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 1000, "maxfun": 2000, "maxcor": 20},
        )
        ends.append(float(end.fun))
        found.append(np.asarray(end.x))
        if process_time() - begin > limit:
            break
    return Direct(np.array(ends), process_time() - begin, found[int(np.argmin(ends))])


def losses(problem: Problem) -> Value:
    """Mean losses of (s, n) or (s, n, c) outputs."""
    y = torch.tensor(problem.y)
    if problem.loss.name == "multinomial":
        return lambda o: (torch.logsumexp(o, 2) - (o * y).sum(2)).mean(1)
    return lambda o: ((o - y) ** 2).sum(tuple(range(1, o.ndim))) / (2 * len(y))


def split(z: torch.Tensor, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    parts = torch.split(z, [math.prod(shape) for shape in shapes], dim=1)
    return [part.reshape(len(z), *shape) for part, shape in zip(parts, shapes, strict=True)]


def vectors(name: str, problem: Problem, m: int) -> Case:
    loss, x = losses(problem), torch.tensor(problem.x)
    d, c = problem.x.shape[1], problem.y.shape[1]

    def value(z: torch.Tensor) -> torch.Tensor:
        w, a = split(z, (d, m), (m, c))
        return loss(torch.relu(x @ w) @ a) + problem.regularisation / 2 * (z**2).sum(1)

    def solve() -> tuple[float, float]:
        fit = fit_vector_network(problem, time_limit=60)
        return fit.objective, fit.lower_bound

    return Case(name, solve, value, m * (d + c))


def gated(problem: Problem, each: int) -> Case:
    gates = all_gates(problem.x)
    loss, d, c = losses(problem), problem.x.shape[1], problem.y.shape[1]
    masked = torch.tensor(gates[:, :, None] * problem.x)

    def value(z: torch.Tensor) -> torch.Tensor:
        w, a = split(z, (len(gates), d, each), (len(gates), each, c))
        return loss((masked @ w @ a).sum(1)) + problem.regularisation / 2 * (z**2).sum(1)

    def solve() -> tuple[float, float]:
        found = solve_gated_vectors(problem, gates)
        return found.objective, found.lower_bound

    return Case(f"gated, {len(gates)} gates, {c} outputs", solve, value, len(gates) * each * (d + c), 0.1)


def normalised(where: str, problem: Problem, m: int) -> Case:
    (n, d), loss, data = problem.x.shape, losses(problem), torch.tensor(problem.x)

    def value(z: torch.Tensor) -> torch.Tensor:
        w, gamma, alpha, a = split(z, (d, m), (1, m), (1, m), (m, 1))
        h = data @ w
        h = h if where == "before" else torch.relu(h)
        centre = h.mean(1, keepdim=True) if where != "scale" else 0.0
        h = gamma * (h - centre) / torch.sqrt(((h - centre) ** 2).mean(1, keepdim=True) + 1e-12)
        h = h if where == "scale" else h + alpha
        o = (torch.relu(h) if where == "before" else h) @ a
        decay = (gamma**2).sum((1, 2)) + (alpha**2).sum((1, 2)) + (a**2).sum((1, 2))
        return loss(o[:, :, 0]) + problem.regularisation / 2 * decay

    def solve() -> tuple[float, float]:
        if where == "before":
            fit = fit_batch_norm(problem.x, problem.y, problem.regularisation, time_limit=60).fit
            return fit.objective, fit.lower_bound
        after = fit_batch_norm_after(problem.x, problem.y, problem.regularisation, centred=where == "after")
        return after.solution.objective, after.solution.lower_bound

    names = {
        "before": "batch norm before the ReLU",
        "after": "batch norm after the ReLU",
        "scale": "the same, not centred (U_i of D_i X)",
    }
    return Case(f"{names[where]}, n = {n}, d = {d}", solve, value, m * (d + 3))


def parallel(problem: Problem, fan_ins: tuple[int, ...], m: int) -> Case:
    (n, d), loss, x = problem.x.shape, losses(problem), torch.tensor(problem.x)
    widths = [math.prod(fan_ins[i:]) for i in range(len(fan_ins) + 1)]
    shapes = [(m * widths[0], d), *((m * width,) for width in widths[:-1]), (m,)]

    def value(z: torch.Tensor) -> torch.Tensor:
        w, *edges, c = split(z, *shapes)
        level, squares = torch.relu(x @ w.transpose(1, 2)), (w**2).sum(2)
        for h, edge in zip(fan_ins, edges, strict=True):
            level = torch.relu((level * edge[:, None]).reshape(len(z), n, -1, h).sum(3))
            squares = (squares * edge**2).reshape(len(z), -1, h).sum(2)
        paths = (c.abs() * torch.sqrt(squares + 1e-14)).sum(1)
        return loss((level @ c[:, :, None])[:, :, 0]) + problem.regularisation * paths

    def solve() -> tuple[float, float]:
        solution = fit_parallel_network(problem, all_parallel_patterns(problem.x, fan_ins)).solution
        return solution.objective, solution.lower_bound

    name = f"{len(fan_ins) + 2} layers, fan-ins {fan_ins}, n = {n}, d = {d}"
    return Case(name, solve, value, sum(math.prod(shape) for shape in shapes))


def given_gates(problem: Problem, fan_ins: tuple[int, ...], m: int, starts: int, limit: float) -> None:
    """Programmes over the gates of random sub-networks, and of Adam's best network as well."""
    case, (n, d) = parallel(problem, fan_ins, m), problem.x.shape
    runs = [method(case, starts, limit) for method in (adam, lbfgs)]
    widths = [math.prod(fan_ins[i:]) for i in range(len(fan_ins) + 1)]
    w, *edges, c = np.split(runs[0].best, np.cumsum([m * widths[0] * d, *(m * k for k in widths[:-1])]))
    trained = ParallelNetwork(fan_ins, w.reshape(m, -1, d), tuple(e.reshape(m, -1) for e in edges), c)
    random = network_parallel_patterns(random_parallel_network(d, fan_ins, 200), problem.x)
    near = network_parallel_patterns(trained, problem.x, spread=1e-2, copies=4)
    exact = network_parallel_patterns(trained, problem.x, spread=1e-9)
    for name, patterns in (
        ("random", random),
        ("random and trained", join_parallel_patterns(exact, near, random)),
    ):
        begin = process_time()
        found = fit_parallel_network(problem, patterns).solution
        title = f"{len(fan_ins) + 2} layers, {len(patterns)} given gates, {name}, n = {n}, d = {d}"
        others = [report(run, found.lower_bound) for run in runs]
        show(title, found.objective, found.lower_bound, process_time() - begin, others)


def polynomial(problem: Problem, m: int) -> Case:
    d, loss, x = problem.x.shape[1], losses(problem), torch.tensor(problem.x)

    def value(z: torch.Tensor) -> torch.Tensor:
        w, a = split(z, (d, m), (m, 1))
        t = x @ (w / torch.linalg.norm(w, dim=1, keepdim=True))
        o = ((0.09 * t + 0.5) * t + 0.47) @ a
        return loss(o[:, :, 0]) + problem.regularisation * a.abs().sum((1, 2))

    def solve() -> tuple[float, float]:
        fit = fit_polynomial_network(problem, (0.09, 0.5, 0.47))
        return fit.objective, fit.lower_bound

    return Case(f"activation .09 t^2 + .5 t + .47, d = {d}", solve, value, m * (d + 1))


def generator(x: Floats, noise: Floats, beta: float) -> Case:
    """Against discriminators of bounded weights the critic is an exact penalty."""
    p, d = noise.shape[1], x.shape[1]
    real, fake = (torch.tensor(a.T @ a / len(a)) for a in (x, noise))

    def value(z: torch.Tensor) -> torch.Tensor:
        (w,) = split(z, (p, d))
        critic = torch.linalg.eigvalsh(real - w.transpose(1, 2) @ fake @ w).abs().max(1).values
        return (w**2).sum((1, 2)) / 2 + 10 * torch.clamp(critic - beta, min=0)

    def solve() -> tuple[float, float]:
        fit = fit_generator(x, noise, beta)
        return fit.objective, fit.objective

    return Case(f"quadratic discriminator, linear generator, d = {d}", solve, value, p * d, 1.0)


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)

    def scalar(n: int, d: int, strength: float = STRENGTH) -> Problem:
        return make_problem(rng.normal(size=(n, d)), rng.normal(size=n), strength)

    table = make_problem(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), STRENGTH)
    yield vectors("vector outputs, n = 40, d = 3, c = 3", table, 40)
    classes = make_problem(rng.normal(size=(60, 3)), np.eye(3)[rng.integers(3, size=60)], 0.02, "multinomial")
    yield vectors("multinomial, n = 60, d = 3, c = 3", classes, 40)
    yield gated(make_problem(rng.normal(size=(12, 2)), rng.normal(size=(12, 2)), STRENGTH), 2)
    for where in ("before", "after", "scale"):
        yield normalised(where, scalar(12, 2), 30)
    yield normalised("after", scalar(20, 3), 40)
    yield parallel(scalar(4, 2), (2,), 20)
    yield parallel(scalar(2, 2), (2, 2), 20)
    yield polynomial(scalar(40, 5), 20)
    spread = np.diag([2.0, 1.0, 0.3])
    yield generator(rng.normal(size=(30, 3)) @ spread + 0.5, rng.normal(size=(40, 3)) + 0.3, 0.2)


def game(starts: int, limit: float) -> None:
    """Play the game, which has two players: ends are critics of p, by `evaluate_critic`."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(40, 2)) + 1, np.ones(40)])
    g = np.column_stack([1.5 * rng.normal(size=(80, 2)), np.ones(80)])
    begin = process_time()
    found = fit_mixture(x, g)
    ours = process_time() - begin
    real, fake, k = torch.tensor(x), torch.tensor(g), 30
    torch.manual_seed(0)
    logits = torch.zeros(starts, 80, dtype=torch.float64, requires_grad=True)
    w = torch.randn(starts, 3, k, dtype=torch.float64, requires_grad=True)
    a = torch.randn(starts, k, dtype=torch.float64, requires_grad=True)
    down, up = torch.optim.Adam([logits], 0.02), torch.optim.Adam([w, a], 0.02)
    mean, steps, begin = torch.zeros(starts, 80, dtype=torch.float64), 0, process_time()
    while process_time() - begin < limit and steps < STEPS:
        steps += 1
        for optimiser, sign in ((up, -1.0), (down, 1.0)):
            size = (torch.linalg.norm(w, dim=1) * a.abs()).sum(1)
            marks = [(torch.relu(rows @ w) @ a[:, :, None])[:, :, 0] for rows in (real, fake)]
            value = (marks[0].mean(1) - (torch.softmax(logits, 1) * marks[1]).sum(1)) / size
            optimiser.zero_grad()
            torch.autograd.backward((sign * value).sum())
            optimiser.step()
        mean += torch.softmax(logits, 1).detach()
    spent = process_time() - begin
    p = np.concatenate([torch.softmax(logits, 1).detach().numpy(), (mean / steps).numpy()])
    ends = np.array([evaluate_critic(x, g, "relu", probabilities=row, tolerance=1e-4).lower for row in p])
    row = "ReLU discriminator, 80 candidates, n = 40, d = 3"
    adversaries = report(Direct(ends, spent, p), found.lower_bound)
    show(row, found.upper_bound, found.lower_bound, ours, [adversaries, ["-"] * 4])


def report(direct: Direct, bound: float) -> list[str]:
    above = 100 * (direct.ends / bound - 1)
    return [
        *(
            f"{number:.2g}" if abs(number) < 99 else f"{number:.0f}"
            for number in (above.min(), np.median(above))
        ),
        f"{int((direct.ends < bound).sum())} of {len(direct.ends)}",
        f"{direct.seconds:.1f}",
    ]


def show(name: str, objective: float, bound: float, seconds: float, others: list[list[str]]) -> None:
    cells = [name, f"{objective:.6f}", f"{bound:.6f}", f"{(objective - bound) / objective:.1e}"]
    cells += [f"{seconds:.2f}", *(cell for other in others for cell in other)]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=16)
    parser.add_argument("--limit", type=float, default=6.0, help="seconds for each direct method and row")
    parser.add_argument("--only", default="", help="rows whose names hold this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bound_price(np.eye(2), np.ones(2))  # compiles
    direct = " | ".join(f"{name}: best % | median % | below | s" for name in ("Adam", "L-BFGS"))
    print(f"| problem | objective | bound | gap | s | {direct} |")
    print("|" + " --- |" * 13)
    for case in cases():
        if options.only in case.name:
            begin = process_time()
            objective, bound = case.solve()
            seconds = process_time() - begin
            runs = [method(case, options.starts, options.limit) for method in (adam, lbfgs)]
            show(case.name, objective, bound, seconds, [report(run, bound) for run in runs])
    if options.only in "given gates":
        rng = np.random.default_rng(1)
        x = np.column_stack([rng.normal(size=(20, 2)), np.ones(20)])
        problem = make_problem(x, np.sin(3 * x[:, 0]) + x[:, 1] ** 2, 0.01)
        given_gates(problem, (2, 2), 20, options.starts, options.limit)
    if options.only in "ReLU discriminator":
        game(options.starts, options.limit)


if __name__ == "__main__":
    main()
