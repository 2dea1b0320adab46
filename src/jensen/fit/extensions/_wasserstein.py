"""Wasserstein generative adversarial networks with a two-layer discriminator and a linear generator.

The game: min over W, max over discriminators D(x) = sum_i sigma(x . w_i) a_i, of
mean D(x) - mean D(z W) - beta sum_i |w_i|^k |a_i| + |W|^2 / 2, with k the degree of sigma. D enters
homogeneously, so that the maximum is 0 if the critic, max |mean sigma(x . w) - mean sigma(z W . w)| over
|w| <= 1, is at most beta, and infinite if not: W is the shortest one with a critic of at most beta
(Sahiner, Ergen, Ozturkler, Bartan, Pauly, Mardani and Pilanci, ICLR 2022).

* linear sigma: the critic is |mean x - W' mean z|, a convex constraint.
* quadratic sigma: it is the spectral norm of S_x - W' S_z W, with second moments S. By Weyl's inequality
  the eigenvalues of W' S_z W are at least those of S_x minus beta, and |W|^2 is at least the sum of their
  quotients by the eigenvalues of S_z, both in descending order. Equality is reached: a closed form for a
  problem that is not convex in W.
* ReLU: for a given generator the critic is the price of neurons on all samples, which is bounded by branch
  and bound. As mean relu(x . w) is the support function of a zonotope, the constraint says that two
  zonotopes are within beta of one another: one half of it is convex in W, the other is not. So a
  generator can be certified, but no optimum over W is claimed. (See `fit_mixture` for a generator against
  which the game is convex-concave.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from jensen.errors import ArgumentError
from jensen.fit._losses import Floats
from jensen.fit._patterns import as_data
from jensen.fit._price_bound import bound_price
from jensen.fit.extensions._numbers import positive
from jensen.network._numbers import as_floats

Discriminator: TypeAlias = Literal["linear", "quadratic", "relu"]

_RANK = 1e-12


@dataclass(frozen=True)
class Critic:
    """The best discriminator neuron against a generator.

    Attributes
    ----------
    lower : float
        |mean sigma(x . w) - mean sigma(g . w)| of the neuron, in float64.
    upper : float
        A bound for all neurons, |w| <= 1: proved for ReLU; of float64 and equal to `lower` for the others.
    neuron : (d,) float64 array
        A unit vector, or zeros where the samples cannot be told apart.
    """

    lower: float
    upper: float
    neuron: Floats


@dataclass(frozen=True)
class GeneratorFit:
    """An optimal linear generator.

    Attributes
    ----------
    weights : (p, d) float64 array
        W: noise z becomes z W.
    objective : float
        |W|^2 / 2, the value of the game.
    critic : Critic
        At most beta, up to rounding.
    """

    weights: Floats
    objective: float
    critic: Critic


def two_samples(x: object, generated: object) -> tuple[Floats, Floats]:
    """Check two data matrices with the same columns.

    Raises
    ------
    ArgumentError
        If they are none.
    """
    one, two = as_data(x), as_data(generated)
    if one.shape[1] != two.shape[1]:
        raise ArgumentError(f"samples have {one.shape[1]} and {two.shape[1]} columns; they must agree")
    return one, two


def _probabilities(values: object, m: int) -> Floats:
    if values is None:
        return np.full(m, 1 / m)
    p = as_floats(values, "probabilities", ArgumentError)
    if p.shape != (m,) or not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise ArgumentError(f"probabilities must be {m} nonnegative numbers, not all zero")
    return np.asarray(p / p.sum())


def evaluate_critic(
    x: object,
    generated: object,
    discriminator: Discriminator,
    *,
    probabilities: object = None,
    tolerance: float = 1e-6,
    time_limit: float | None = None,
) -> Critic:
    """Find the neuron that tells two samples apart best.

    Parameters
    ----------
    x : (n, d) array
        Real samples.
    generated : (m, d) array
    discriminator : {"linear", "quadratic", "relu"}
    probabilities : (m,) array, optional
        Of the generated samples: nonnegative, normalised to sum 1. By default all are the same.
    tolerance : float, default 1e-6
        Relative, for ReLU.
    time_limit : float, optional
        Seconds, for ReLU: the bound is crude if they do not suffice.

    Raises
    ------
    ArgumentError
        If shapes do not fit, or there is no discriminator of that name.
    """
    one, two = two_samples(x, generated)
    p = _probabilities(probabilities, len(two))
    if discriminator == "linear":
        gap = one.mean(0) - p @ two
        size = float(np.linalg.norm(gap))
        return Critic(size, size, gap / size if size > 0 else gap)
    if discriminator == "quadratic":
        scale, axes = np.linalg.eigh(one.T @ one / len(one) - (two.T * p) @ two)
        worst = int(np.argmax(np.abs(scale)))
        return Critic(float(abs(scale[worst])), float(abs(scale[worst])), axes[:, worst])
    if discriminator != "relu":
        raise ArgumentError(f"discriminator must be linear, quadratic or relu, got {discriminator!r:.80}")
    signal = np.concatenate([np.full(len(one), 1 / len(one)), -p])
    accuracy = positive(tolerance, "tolerance")
    rows = np.concatenate([one, two])
    bound = bound_price(rows, signal, tolerance=accuracy, count=0, time_limit=time_limit)
    neuron = bound.neurons[0] if len(bound.neurons) else np.zeros(one.shape[1])
    return Critic(bound.lower, bound.upper, neuron)


def fit_generator(
    x: object, noise: object, beta: float, discriminator: Literal["linear", "quadratic"] = "quadratic"
) -> GeneratorFit:
    """Train a linear generator against a two-layer discriminator to the game's optimum.

    Parameters
    ----------
    x : (n, d) array
        Real samples.
    noise : (m, p) array
        The generator's inputs.
    beta : float
        Weight decay of the discriminator; positive.
    discriminator : {"linear", "quadratic"}, default "quadratic"

    Returns
    -------
    GeneratorFit

    Raises
    ------
    ArgumentError
        If shapes do not fit, or no generator of this kind comes within beta: the noise has mean zero, or
        too few dimensions.
    """
    data, inputs = as_data(x), as_data(noise)
    strength = positive(beta, "beta")
    if discriminator == "linear":
        weights = _by_means(data, inputs, strength)
    elif discriminator == "quadratic":
        weights = _by_moments(data, inputs, strength)
    else:
        raise ArgumentError(f"discriminator must be linear or quadratic, got {discriminator!r:.80}")
    critic = evaluate_critic(data, inputs @ weights, discriminator)
    return GeneratorFit(weights, float((weights**2).sum()) / 2, critic)


def _by_means(x: Floats, noise: Floats, beta: float) -> Floats:
    target, level = x.mean(0), noise.mean(0)
    size, square = float(np.linalg.norm(target)), float(level @ level)
    if size <= beta:
        return np.zeros((noise.shape[1], x.shape[1]))
    if square <= (_RANK * float(np.abs(noise).max())) ** 2:
        raise ArgumentError("noise of mean zero cannot follow the samples' mean: add a constant column to it")
    return np.outer(level / square, target * (1 - beta / size))


def _by_moments(x: Floats, noise: Floats, beta: float) -> Floats:
    wanted, axes = np.linalg.eigh(x.T @ x / len(x))
    given, inputs = np.linalg.eigh(noise.T @ noise / len(noise))
    wanted, axes, given, inputs = wanted[::-1], axes[:, ::-1], given[::-1], inputs[:, ::-1]
    used = int((wanted > beta).sum())
    usable = int((given > _RANK * max(float(given[0]), 1e-300)).sum())
    if used > usable:
        raise ArgumentError(
            f"the samples vary by more than beta in {used} directions, and the noise has only {usable}: "
            "give it more columns, or raise beta"
        )
    roots = np.sqrt((wanted[:used] - beta) / given[:used])
    return np.asarray((inputs[:, :used] * roots) @ axes[:, :used].T)
