"""Input convex networks of ReLUs as the maximum over their neurons' slopes, smoothed from below.

relu(z) is the largest of s z over s in [0, 1]. With (width / 2) (s - known)^2 subtracted it becomes a smooth
convex function of z that is nowhere above relu(z), and equal to it where `known` is a slope that relu has
there. So a network of them is smooth, convex, nowhere above the network, and at the minimiser as low as the
network once the known slopes are the right ones, however large the width is: this is the augmented Lagrangian
of the epigraph, with the activations eliminated. Any slopes in place of the activations give an affine
function below the network.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from jensen.minimize.tensors._problem import TorchProblem
from jensen.nn import FICNN, PICNN, Architecture, ConvICNN
from jensen.nn._activation import LeakyReLU, ReLU

_KINDS = (FICNN, PICNN, ConvICNN)
"""Architectures with nonnegative weights on hidden neurons, all of which apply `self.activation`."""


class Relaxed:
    """A batch of networks with smoothed activations; every neuron of every sample has a known slope.

    Parameters
    ----------
    problem : TorchProblem
        Whose f is such a network, see `can_relax`; not frozen.
    y : (batch, n) tensor
        Where the sizes of the layers' pre-activations are measured.
    """

    def __init__(self, problem: TorchProblem, y: Tensor) -> None:
        net = problem.f
        assert isinstance(net, Architecture)
        least = net.activation.slope if isinstance(net.activation, LeakyReLU) else 0.0
        self._activation = _Activation(least)
        twin = copy.copy(net)
        twin._modules = {**net._modules, "activation": self._activation}
        self._problem = replace(problem, f=twin).frozen()
        self.width = y.new_ones(problem.batch)
        self._everyone = torch.arange(problem.batch, device=y.device)
        self._evaluate("measure", y)

    def problem(self) -> TorchProblem:
        """Give the problems with the smoothed networks."""

        def f(index: Tensor, y: Tensor) -> Tensor:
            self._activation.begin("smooth", self.width[index], index)
            return self._problem.take(index).values(y)

        return replace(self._problem, f=f, x=self._everyone, linear=None, shape=(self._problem.size,))

    def minorant(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Make the slopes that maximise at y the known ones; give the affine function at y, and its slope."""
        self._evaluate("learn", y)
        self._activation.begin("affine", self.width, self._everyone)
        return self._problem.evaluate(y)

    def take(self, index: Tensor) -> None:
        """Restrict to some of the samples."""
        self._problem = self._problem.take(index)
        self.width, self._everyone = self.width[index], torch.arange(len(index), device=index.device)
        self._activation.known = [known[index] for known in self._activation.known]

    def _evaluate(self, mode: str, y: Tensor) -> None:
        self._activation.begin(mode, self.width, self._everyone)
        self._problem.values(y)


def can_relax(problem: TorchProblem) -> bool:
    """Tell whether a problem's f is an input convex network of ReLUs, as a class whose insides are known."""
    f = problem.f
    return type(f) in _KINDS and isinstance(f, Architecture) and isinstance(f.activation, (ReLU, LeakyReLU))


class _Activation(nn.Module):
    """Stands for all activations of a network; layers are told apart by the order of the calls."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least, self.mode, self.layer = least, "measure", 0
        self.sizes: list[float] = []
        self.known: list[Tensor] = []
        self.width, self.index = torch.empty(0), torch.empty(0)

    def begin(self, mode: str, width: Tensor, index: Tensor) -> None:
        """Say what the next evaluation is for, and of which samples."""
        self.mode, self.width, self.index, self.layer = mode, width, index, 0

    def forward(self, z: Tensor) -> Tensor:
        """Apply the activation of the next layer."""
        layer, self.layer = self.layer, self.layer + 1
        if self.mode == "measure":
            self.sizes.append(float(z.std(correction=0)) if z.numel() else 1.0)
            self.known.append(torch.full_like(z, (1 + self.least) / 2))
            return z.clamp_min(0.0) + self.least * z.clamp_max(0.0)
        known = self.known[layer] if self.mode != "smooth" else self.known[layer][self.index]
        if self.mode == "affine":
            return known * z
        width = max(self.sizes[layer], torch.finfo(z.dtype).tiny ** 0.5) * self.width
        width = width.reshape(-1, *[1] * (z.ndim - 1))
        slope = (known + z / width).clamp(self.least, 1.0)
        if self.mode == "learn":
            self.known[layer] = slope.detach()
        smooth: Tensor = slope * z - width / 2 * (slope - known).square()
        return smooth
