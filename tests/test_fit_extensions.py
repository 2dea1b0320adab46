from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from jensen.errors import ArgumentError
from jensen.fit._arrangement import all_gates
from jensen.fit._generate import fit_network
from jensen.fit._problem import Problem, make_problem
from jensen.fit.extensions._batch_norm import fit_batch_norm
from jensen.fit.extensions._degree_two import fit_polynomial_network, maximise_on_sphere
from jensen.fit.extensions._gated_nuclear import solve_gated_vectors
from jensen.fit.extensions._vector_fit import fit_vector_network
from jensen.fit.extensions._vector_network import descend_vectors, network_value, random_vector_network
from jensen.fit.extensions._vector_price import bound_vector_price
from jensen.fit.extensions._wasserstein import evaluate_critic, fit_generator

Floats = NDArray[np.float64]
STARTS = 6


def vectors(seed: int, n: int, d: int, c: int, loss: str = "squared", strength: float = 0.03) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = rng.normal(size=(n, c)) if loss == "squared" else np.eye(c)[rng.integers(c, size=n)]
    return make_problem(x, y, strength, loss)


class TestVectorOutputs:
    @pytest.mark.parametrize(
        ("seed", "n", "d", "c", "loss"),
        [
            (0, 8, 2, 2, "squared"),
            (2, 8, 2, 3, "squared"),
            (4, 8, 3, 2, "squared"),
            (3, 9, 2, 2, "multinomial"),
        ],
    )
    def test_no_descent_ends_below_the_optimum_and_the_best_reaches_it(
        self, seed: int, n: int, d: int, c: int, loss: str
    ) -> None:
        problem = vectors(seed, n, d, c, loss)
        fit = fit_vector_network(problem, time_limit=60)
        assert fit.status == "optimal"
        assert fit.gap <= 1e-5
        assert fit.objective == pytest.approx(network_value(problem, fit.weights, fit.outputs), rel=1e-12)
        ends = []
        for start in range(STARTS):
            network = random_vector_network(problem, 25, np.random.default_rng(start))
            ends.append(network_value(problem, *descend_vectors(problem, *network, steps=1500)))
        assert min(ends) >= fit.lower_bound
        assert min(ends) <= fit.objective * (1 + 5e-3)

    def test_one_output_is_the_scalar_problem(self) -> None:
        problem = vectors(1, 8, 2, 1)
        scalar = make_problem(problem.x, problem.y[:, 0], problem.regularisation)
        one, two = fit_vector_network(problem, time_limit=60), fit_network(scalar, time_limit=60)
        assert one.objective == pytest.approx(two.objective, rel=2e-5)
        assert one.lower_bound <= two.objective
        assert two.lower_bound <= one.objective

    def test_the_price_is_bounded_and_the_bound_is_sharp(self) -> None:
        rng = np.random.default_rng(5)
        x, signal = rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
        angles = np.linspace(0, 2 * np.pi, 40_000, endpoint=False)
        w = np.column_stack([np.cos(angles), np.sin(angles)])
        most = float(np.linalg.norm(np.maximum(w @ x.T, 0) @ signal, axis=1).max())
        tight = bound_vector_price(x, signal, goal=most * (1 + 1e-7), tolerance=1e-4)
        assert most <= tight.upper <= most * (1 + 2e-4)
        # A goal that is too low is refuted by a neuron.
        refuted = bound_vector_price(x, signal, goal=0.9 * most)
        assert 0.9 * most < refuted.lower <= most * (1 + 1e-7)
        assert refuted.upper >= most * (1 - 1e-9)
        # Without time the bound is crude, but one.
        assert bound_vector_price(x, signal, goal=most, time_limit=1e-9).upper >= most

    def test_large_regularisation_leaves_no_neuron(self) -> None:
        problem = vectors(0, 6, 2, 2, strength=100.0)
        fit = fit_vector_network(problem)
        assert fit.status == "optimal"
        assert len(fit.weights) == 0
        assert fit.predict(problem.x).shape == (6, 2)

    def test_scalar_targets_and_kinks_are_refused(self) -> None:
        with pytest.raises(ArgumentError, match="vector outputs"):
            fit_vector_network(make_problem(np.eye(3), np.ones(3), 0.1))


class TestGatedVectors:
    @pytest.mark.parametrize(("seed", "n", "d", "c"), [(0, 8, 2, 2), (1, 7, 3, 2)])
    def test_the_nuclear_norm_programme_is_solved(self, seed: int, n: int, d: int, c: int) -> None:
        cp: Any = pytest.importorskip("cvxpy")
        problem = vectors(seed, n, d, c)
        gates = all_gates(problem.x)
        found = solve_gated_vectors(problem, gates, tolerance=1e-7)
        z = [cp.Variable((d, c)) for _ in gates]
        fitted = sum((g[:, None] * problem.x) @ part for g, part in zip(gates, z, strict=True))
        loss = cp.sum_squares(fitted - problem.y) / (2 * n)
        programme = cp.Problem(
            cp.Minimize(loss + problem.regularisation * sum(cp.normNuc(part) for part in z))
        )
        programme.solve(solver=cp.CLARABEL)
        assert found.status == "optimal"
        assert found.objective == pytest.approx(programme.value, rel=1e-6)
        assert found.lower_bound <= programme.value * (1 + 1e-7)
        # The neurons are the matrices, at the same norm.
        gate, w, a = found.neurons()
        fitted = sum(
            (gates[g][:, None] * (problem.x @ u)[:, None] * v) for g, u, v in zip(gate, w, a, strict=True)
        )
        norm = float(np.linalg.norm(w, axis=1) @ np.linalg.norm(a, axis=1))
        assert problem.primal(fitted, norm) == pytest.approx(found.objective, rel=1e-9)

    def test_it_bounds_relu_networks_from_below(self) -> None:
        problem = vectors(0, 8, 2, 2)
        gated = solve_gated_vectors(problem, all_gates(problem.x))
        assert gated.lower_bound <= fit_vector_network(problem, time_limit=60).objective

    def test_one_gate_that_is_always_true_is_a_linear_network(self) -> None:
        """With X'X = n I the solution is the least squares one with shrunken singular values."""
        rng = np.random.default_rng(0)
        n = 9
        x = np.linalg.qr(rng.normal(size=(n, 3)))[0] * np.sqrt(n)
        y = rng.normal(size=(n, 4))
        problem = make_problem(x, y, 0.2)
        found = solve_gated_vectors(problem, np.ones((1, n), dtype=bool), tolerance=1e-10)
        left, scale, right = np.linalg.svd(x.T @ y / n, full_matrices=False)
        assert found.coefficients[0] == pytest.approx((left * np.maximum(scale - 0.2, 0)) @ right, abs=1e-5)


def descend_any(value: Any, start: Floats, steps: int = 1500) -> float:
    """Minimise a torch function of a float64 vector by L-BFGS."""
    import torch
    from scipy.optimize import minimize

    def objective(z: Floats) -> tuple[float, Floats]:
        at = torch.tensor(z, requires_grad=True)
        out = value(at)
        out.backward()
        assert at.grad is not None
        return float(out.detach()), at.grad.numpy()

    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxfun": 2 * steps}
    )
    return float(found.fun)


class TestBatchNorm:
    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [0, 1])
    def test_no_descent_ends_below_the_optimum_and_the_best_reaches_it(self, seed: int) -> None:
        import torch

        rng = np.random.default_rng(seed)
        n, d, m, strength = 9, 2 + seed, 25, 0.05
        x, y = 3 + rng.normal(size=(n, d)), rng.normal(size=n)
        found = fit_batch_norm(x, y, strength, time_limit=60)
        assert found.fit.status == "optimal"
        data, target = torch.tensor(x), torch.tensor(y)

        def value(z: torch.Tensor) -> torch.Tensor:
            w, gamma, alpha, a = torch.split(z, [m * d, m, m, m])
            before = data @ w.reshape(d, m)
            normal = torch.nn.functional.batch_norm(before, None, None, gamma, alpha, True, eps=1e-12)
            fitted = torch.relu(normal) @ a
            decay = (gamma**2).sum() + (alpha**2).sum() + (a**2).sum()
            return ((fitted - target) ** 2).sum() / (2 * n) + strength * decay / 2

        ends = [descend_any(value, 0.3 * rng.normal(size=m * (d + 3))) for _ in range(STARTS)]
        assert min(ends) >= found.fit.lower_bound
        assert min(ends) <= found.fit.objective * (1 + 1e-2)
        # The layers have the objective that is claimed.
        w, gamma, alpha, a = found.neurons
        room = m - len(w)
        assert room >= 0
        spare = np.random.default_rng(0).normal(size=(room, d))
        z = [np.concatenate([w, spare]).T.ravel(), *(np.pad(v, (0, room)) for v in (gamma, alpha, a))]
        assert float(value(torch.tensor(np.concatenate(z)))) == pytest.approx(found.fit.objective, rel=1e-7)

    def test_the_module_predicts_the_same_in_both_modes(self) -> None:
        import torch

        rng = np.random.default_rng(3)
        x = rng.normal(size=(10, 3)) + 5
        x[:, 2] = 1  # without variance
        found = fit_batch_norm(x, rng.normal(size=10), 0.02, time_limit=60)
        module = found.to_torch()
        with torch.no_grad():
            evaluated = module(torch.tensor(x)).numpy()[:, 0]
            trained = module.train()(torch.tensor(x)).numpy()[:, 0]
        assert len(found.fit.outputs) > 0
        assert evaluated == pytest.approx(found.predict(x), abs=1e-9)
        assert trained == pytest.approx(evaluated, abs=1e-9)

    def test_invariant_under_affine_maps_of_the_inputs(self) -> None:
        rng = np.random.default_rng(4)
        x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
        moved = x @ rng.normal(size=(2, 2)) + [3.0, -100.0]
        one, two = (fit_batch_norm(data, y, 0.05, time_limit=60).fit.objective for data in (x, moved))
        assert one == pytest.approx(two, rel=3e-6)


class TestWasserstein:
    @pytest.mark.slow
    @pytest.mark.parametrize("discriminator", ["linear", "quadratic"])
    def test_no_adversarial_training_ends_below_the_optimum(
        self, discriminator: Literal["linear", "quadratic"]
    ) -> None:
        """Against a discriminator of bounded weights the critic is an exact penalty, descended directly."""
        import torch

        rng = np.random.default_rng(0)
        x = rng.normal(size=(30, 3)) @ np.diag([2.0, 1.0, 0.3]) + 0.5
        z = rng.normal(size=(40, 3)) @ np.diag([1.0, 0.7, 0.5]) + 0.3
        beta = 0.2
        found = fit_generator(x, z, beta, discriminator)
        assert found.critic.upper <= beta * (1 + 1e-9)
        data, noise = torch.tensor(x), torch.tensor(z)

        def value(w: torch.Tensor) -> torch.Tensor:
            fake = noise @ w.reshape(3, 3)
            if discriminator == "linear":
                critic = torch.linalg.norm(data.mean(0) - fake.mean(0))
            else:
                gap = data.T @ data / len(data) - fake.T @ fake / len(fake)
                critic = torch.linalg.eigvalsh(gap).abs().max()
            return (w**2).sum() / 2 + 10 * torch.clamp(critic - beta, min=0)

        ends = [descend_any(value, rng.normal(size=9)) for _ in range(20)]
        assert float(value(torch.tensor(found.weights.ravel()))) == pytest.approx(found.objective, rel=1e-9)
        assert min(ends) >= found.objective * (1 - 1e-9)
        assert min(ends) <= found.objective * 1.1

    def test_quadratic_discriminators_give_a_semidefinite_programme(self) -> None:
        cp: Any = pytest.importorskip("cvxpy")
        rng = np.random.default_rng(1)
        x = rng.normal(size=(20, 3)) @ np.diag([2.0, 1.0, 0.3])
        z = np.linalg.qr(rng.normal(size=(10, 3)))[0] * np.sqrt(10)
        moments = cp.Variable((3, 3), PSD=True)
        near = cp.norm(x.T @ x / 20 - moments, 2) <= 0.3
        programme = cp.Problem(cp.Minimize(cp.trace(moments) / 2), [near])
        programme.solve(solver=cp.CLARABEL)
        assert fit_generator(x, z, 0.3).objective == pytest.approx(programme.value, rel=1e-6)

    def test_a_relu_critic_is_bounded_and_sharp(self) -> None:
        rng = np.random.default_rng(2)
        x, g = rng.normal(size=(12, 2)), rng.normal(size=(9, 2))
        critic = evaluate_critic(x, g, "relu")
        angles = np.linspace(0, 2 * np.pi, 50_000)
        w = np.column_stack([np.cos(angles), np.sin(angles)])
        gaps = np.maximum(x @ w.T, 0).mean(0) - np.maximum(g @ w.T, 0).mean(0)
        assert np.abs(gaps).max() <= critic.upper
        assert critic.lower == pytest.approx(np.abs(gaps).max(), rel=1e-5)
        assert critic.upper <= critic.lower * (1 + 2e-6)

    def test_what_cannot_be_followed_is_refused(self) -> None:
        rng = np.random.default_rng(3)
        x = rng.normal(size=(20, 3)) + 5
        with pytest.raises(ArgumentError, match="directions"):
            fit_generator(x, rng.normal(size=(10, 1)), 0.01)
        z = rng.normal(size=(10, 2))
        with pytest.raises(ArgumentError, match="mean zero"):
            fit_generator(x, z - z.mean(0), 0.01, "linear")
        assert not fit_generator(x, z, 1e3, "linear").weights.any()


class TestPolynomials:
    @pytest.mark.parametrize(("seed", "kind"), [(0, "hard"), (1, "easy"), (2, "linear"), (3, "pure")])
    def test_the_sphere_problem_is_solved(self, seed: int, kind: str) -> None:
        rng = np.random.default_rng(seed)
        matrix = rng.normal(size=(2, 2))
        matrix = (matrix + matrix.T) * (kind != "linear")
        vector = rng.normal(size=2) * (kind != "pure")
        if kind == "hard":
            vector = 0.1 * np.linalg.eigh(matrix)[1][:, 0]
        angles = np.linspace(0, 2 * np.pi, 100_001)
        w = np.column_stack([np.cos(angles), np.sin(angles)])
        most = float(((w @ matrix * w).sum(1) + w @ vector).max())
        best, bound = maximise_on_sphere(matrix, vector)
        assert most <= bound + 1e-12
        assert bound == pytest.approx(most, abs=1e-7)
        assert best @ matrix @ best + vector @ best == pytest.approx(bound, abs=1e-10)

    @pytest.mark.parametrize("activation", [(1.0, 0.0, 0.0), (0.09, 0.5, 0.47)])
    def test_the_semidefinite_programme_and_no_descent_go_below(
        self, activation: tuple[float, float, float]
    ) -> None:
        import torch

        cp: Any = pytest.importorskip("cvxpy")
        rng = np.random.default_rng(4)
        n, d, strength, m = 12, 3, 0.05, 12
        x, y = rng.normal(size=(n, d)), rng.normal(size=n)
        problem = make_problem(x, y, strength)
        found = fit_polynomial_network(problem, activation)
        p, q, s = activation
        parts = [cp.Variable((d + 1, d + 1), PSD=True) for _ in range(2)]
        z = parts[0] - parts[1]
        o = p * cp.sum(cp.multiply(x @ z[:d, :d], x), axis=1) + q * x @ z[:d, d] + s * z[d, d]
        norm = parts[0][d, d] + parts[1][d, d]
        programme = cp.Problem(
            cp.Minimize(cp.sum_squares(o - y) / (2 * n) + strength * norm),
            [cp.trace(part[:d, :d]) == part[d, d] for part in parts],
        )
        programme.solve(solver=cp.CLARABEL)
        assert found.status == "optimal"
        assert found.objective == pytest.approx(programme.value, rel=2e-6)
        assert found.lower_bound <= programme.value * (1 + 1e-7)
        assert problem.primal(found.predict(x), float(np.abs(found.outputs).sum())) == pytest.approx(
            found.objective
        )
        data, target = torch.tensor(x), torch.tensor(y)

        def value(at: torch.Tensor) -> torch.Tensor:
            w, a = at[: m * d].reshape(m, d), at[m * d :]
            t = data @ (w / torch.linalg.norm(w, dim=1, keepdim=True)).T
            misses: torch.Tensor = ((p * t + q) * t + s) @ a - target
            return (misses**2).sum() / (2 * n) + strength * a.abs().sum()

        ends = [descend_any(value, 0.5 * rng.normal(size=m * (d + 1))) for _ in range(STARTS)]
        assert min(ends) >= found.lower_bound
        assert min(ends) <= found.objective * 1.05
