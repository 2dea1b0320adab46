"""The game of ReLU discriminators against probabilities, and why there is none against a layer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from jensen.errors import ArgumentError
from jensen.fit import evaluate_critic, fit_mixture

Floats = NDArray[np.float64]


def samples(seed: int, n: int, m: int, d: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.where(rng.random((n, 1)) < 0.5, 1.0, 0.3) + 1
    return np.column_stack([x, np.ones(n)]), np.column_stack([1.5 * rng.normal(size=(m, d)), np.ones(m)])


def test_over_the_weights_of_a_generator_the_game_is_not_convex() -> None:
    """Two linear generators that reproduce the samples, and one between them that does not."""
    x = z = np.array([[-1.0], [1.0]])
    critics = {w: evaluate_critic(x, z * w, "relu") for w in (-1.0, 0.0, 1.0)}
    assert critics[-1.0].upper <= 1e-9
    assert critics[1.0].upper <= 1e-9
    assert critics[0.0].lower == pytest.approx(0.5)
    # The same over the generated samples themselves: the two generators are permutations of one another.


@pytest.mark.parametrize(("seed", "n", "m", "d"), [(0, 20, 30, 1), (1, 15, 25, 2)])
def test_the_gap_closes_and_both_bounds_hold(seed: int, n: int, m: int, d: int) -> None:
    x, g = samples(seed, n, m, d)
    found = fit_mixture(x, g)
    assert found.status == "optimal"
    assert 0 <= found.gap <= 1e-5 * np.linalg.norm(x, axis=1).mean()
    assert found.probabilities.sum() == pytest.approx(1.0)
    assert (found.probabilities >= 0).all()
    # The discriminator is one, and against it no p does better than the lower bound.
    assert np.abs(found.outputs) @ np.linalg.norm(found.weights, axis=1) <= 1 + 1e-12
    marks = [np.maximum(rows @ found.weights.T, 0) @ found.outputs for rows in (x, g)]
    assert marks[0].mean() - marks[1].max() == pytest.approx(found.lower_bound, abs=1e-12)
    # Against p no discriminator does better than the upper bound.
    critic = evaluate_critic(x, g, "relu", probabilities=found.probabilities)
    assert critic.lower <= found.upper_bound * (1 + 1e-9)
    assert critic.upper >= found.lower_bound
    rng = np.random.default_rng(0)
    for p in rng.dirichlet(np.full(m, 0.3), size=20):
        assert evaluate_critic(x, g, "relu", probabilities=p).upper >= found.lower_bound


def test_in_two_dimensions_a_fine_circle_gives_the_same_value() -> None:
    x, g = samples(2, 10, 12, 1)
    found = fit_mixture(x, g)
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    w = np.column_stack([np.cos(angles), np.sin(angles)])
    real, fake = np.maximum(w @ x.T, 0).mean(1), np.maximum(w @ g.T, 0)
    one = np.ones((len(w), 1))
    done = linprog(
        np.append(np.zeros(12), 1.0),
        A_ub=np.block([[-fake, -one], [fake, -one]]),
        b_ub=np.concatenate([-real, real]),
        A_eq=np.append(np.ones(12), 0.0)[None],
        b_eq=np.ones(1),
    )
    assert done.status == 0
    assert done.fun is not None
    assert found.lower_bound - 1e-4 <= done.fun <= found.upper_bound


def test_alternating_descent_and_ascent_ends_at_no_lower_critic() -> None:
    import torch

    x, g = samples(1, 15, 25, 2)
    found = fit_mixture(x, g)
    torch.manual_seed(0)
    data, fake = torch.tensor(x), torch.tensor(g)
    logits = torch.zeros(25, dtype=torch.float64, requires_grad=True)
    w = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    a = torch.randn(20, dtype=torch.float64, requires_grad=True)
    down, up = torch.optim.Adam([logits], 0.02), torch.optim.Adam([w, a], 0.02)

    def value() -> torch.Tensor:
        size = (torch.linalg.norm(w, dim=1) * a.abs()).sum()
        marks = torch.relu(data @ w.T) @ a, torch.relu(fake @ w.T) @ a
        found: torch.Tensor = (marks[0].mean() - torch.softmax(logits, 0) @ marks[1]) / size
        return found

    mean, steps = np.zeros(25), 600
    for _ in range(steps):
        for optimiser, sign in ((up, -1), (down, 1)):
            optimiser.zero_grad()
            (sign * value()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        mean += torch.softmax(logits, 0).detach().numpy() / steps
    critics = [  # of the last p, and of the mean
        evaluate_critic(x, g, "relu", probabilities=p)
        for p in (torch.softmax(logits, 0).detach().numpy(), mean)
    ]
    assert min(critic.upper for critic in critics) >= found.lower_bound
    start = evaluate_critic(x, g, "relu").lower
    assert found.upper_bound < min(critic.lower for critic in critics) < start


def test_samples_among_the_candidates_are_found() -> None:
    x, g = samples(3, 12, 10, 1)
    found = fit_mixture(x, np.concatenate([g, x]))
    assert found.status == "optimal"
    assert found.lower_bound == 0
    assert found.upper_bound <= 1e-5 * np.linalg.norm(x, axis=1).mean()


def test_one_candidate_and_no_time_and_nothing_to_see() -> None:
    x, g = samples(4, 10, 8, 1)
    alone = fit_mixture(x, g[:1])
    assert alone.probabilities == pytest.approx([1.0])
    assert alone.upper_bound == pytest.approx(evaluate_critic(x, g[:1], "relu").lower, rel=1e-4)
    hurried = fit_mixture(x, g, time_limit=1e-9)
    assert hurried.status == "time_limit"
    assert hurried.lower_bound <= fit_mixture(x, g).upper_bound <= hurried.upper_bound
    with pytest.raises(ArgumentError, match="samples are zero"):
        fit_mixture(np.zeros((3, 2)), g)
    with pytest.raises(ArgumentError, match="columns"):
        fit_mixture(x, g[:, :1])
    with pytest.raises(ArgumentError, match="nonnegative"):
        evaluate_critic(x, g, "relu", probabilities=-np.ones(8))
