"""Repair of modules whose weights are shared: parameters shrink, and the module is trained meanwhile."""

from __future__ import annotations

import copy
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from jensen.certify import Verdict, check
from jensen.errors import NetworkError
from jensen.network import ReLUNetwork
from jensen.training._attack import Attack
from jensen.training.mend._cuts import Candidate, Trial, fit_under_cuts
from jensen.training.mend._head import head_of, write_head
from jensen.training.mend._problem import Problem
from jensen.training.mend._refit import Refit
from jensen.training.mend._signs import Signs, signs_of
from jensen.training.mend._tune import Data, tune
from jensen.training.tape import flattened, has_tape, tape

Module = TypeVar("Module", bound=nn.Module)

STEPS = 2000
"""Of Adam, for each candidate."""
RATE = 3e-3
SHARE = 0.5
"""Of the time that is left, for the training of one candidate, and for its refits."""
ENOUGH = 1.02
"""A candidate whose error is at most this multiple of the unrepaired module's ends the search."""
FACTORS = (0.0, 1.0, 0.25, 0.5, 0.75)
"""What is left of negative weights, in the order in which it is tried; with 1 there is no training."""


class SharedSearch(Generic[Module]):
    """Tries candidates, the one that cannot fail first.

    Parameters
    ----------
    model : torch.nn.Module
    shape : tuple of int
        Of one input.
    problem : Problem
    """

    def __init__(self, model: Module, shape: tuple[int, ...], problem: Problem) -> None:
        self.model, self.shape, self.problem = copy.deepcopy(model).eval(), shape, problem
        self.like = next(model.parameters(), torch.zeros(()))
        self.data = Data(problem.x, problem.y, shape, self.like)
        self.has_tape = has_tape(flattened(self.model, shape))
        self._signs: Signs | NetworkError
        try:
            self._signs = signs_of(self.model, shape)
        except NetworkError as error:  # which is of no interest if the module is convex already
            self._signs = error
        self._stop = False

    @property
    def is_free(self) -> bool:
        """Whether a convex model may be improved."""
        return isinstance(self._signs, Signs) and bool(self._signs.signs)

    @property
    def signs(self) -> Signs:
        """Parameters that must not be negative in an ICNN."""
        if isinstance(self._signs, NetworkError):
            raise self._signs
        return self._signs

    def error(self) -> float:
        """Mean squared error of the model."""
        return self.data.error(self.model)

    def check(self, limit: float) -> Verdict:
        """Check the model as it is."""
        return self._check(self.model, limit)

    def _check(self, module: Module, limit: float) -> Verdict:
        return check(module, self.problem.domain, exact=True, time_limit=limit, input_shape=self.shape)

    def run(self, before: float, first: Verdict, known: Candidate[Module] | None) -> Candidate[Module]:
        """Return the best candidate with a certificate; `known` is the model itself, if it has one."""
        best = self._icnn()
        self.problem.tell(best.how, best.error)
        if known is not None and known.error <= best.error:
            best = known
        for factor in FACTORS:
            if self.problem.left < 0 or self._stop:
                break
            how = "refit" if factor == 1 else f"negative weights x {factor:g}, trained"
            try:
                found = (
                    self._refit(how, self.model, first, best.error)
                    if factor == 1
                    else self._trained(how, factor, best.error)
                )
            except KeyboardInterrupt:
                break
            self.problem.tell(how, np.inf if found is None else found.error)
            if found is not None and found.error < best.error:
                best = found
            if best is not known and best.error <= ENOUGH * before:
                break
        return best

    @property
    def _patience(self) -> float:
        """Seconds for checks of ICNNs: where their signs are those of the lowered network, rules decide."""
        return self.problem.limit + 60.0 if self.has_tape else max(self.problem.left / 3, 1.0)

    def _icnn(self) -> Candidate[Module]:
        """Drop all weights of the wrong sign; and if that does not do, all weights behind activations."""
        module = copy.deepcopy(self.model)
        self.signs.raise_to(module, self.signs.negative_parts(module), 0.0)
        candidates = [("negative weights x 0", module)]
        module = copy.deepcopy(self.model)
        with torch.no_grad():
            for name in self.signs.signs:
                module.get_parameter(name).zero_()
        candidates.append(("weights after activations x 0", module))
        for how, module in candidates:
            verdict = self._check(module, self._patience)
            if verdict.kind == "convex":
                return Candidate(module, verdict, how, self.data.error(module), 0)
        raise NetworkError(
            f"a {type(self.model).__name__} without negative weights after its activations was not found "
            f"convex: {verdict.reason or verdict.kind}"
        )

    def _trained(self, how: str, factor: float, worst: float) -> Candidate[Module] | None:
        """Train while negative weights shrink; without any, rules prove the result."""
        module = copy.deepcopy(self.model)
        try:
            tune(
                module,
                self.data,
                self.signs,
                factor,
                steps=STEPS,
                rate=RATE,
                deadline=self._soon(),
                seed=self.problem.seed,
            )
        except KeyboardInterrupt:
            self._stop = True
        if self._stop and factor > 0:
            return None
        error = self.data.error(module)
        if error >= worst:
            return None
        if factor > 0 and self.has_tape:
            return self._refit(how, module, None, worst)
        verdict = self._check(module, self._patience if factor == 0 else max(self.problem.left / 2, 1.0))
        return Candidate(module, verdict, how, error, 0) if verdict.kind == "convex" else None

    def _refit(
        self, how: str, module: Module, known: Verdict | None, worst: float
    ) -> Candidate[Module] | None:
        """Fit the output's weights until there is a certificate; None if that fails, or cannot be done."""
        if not self.has_tape:
            return None
        flat = flattened(module, self.shape)
        network = tape(flat).network()
        attack = Attack(self.problem.domain, network.input_size, self.problem.seed)
        head = head_of(flat)
        if head is None:
            return None if known is not None else self._unless_refuted(how, module, network, attack)
        refit = Refit(network, self.problem.x, self.problem.y, self.like.dtype == torch.float32, head)
        if known is not None and known.witness is not None:
            refit.cut_witness(known.witness)

        def trial(fitted: ReLUNetwork) -> Trial[Module]:
            changed = copy.deepcopy(module)
            write_head(flattened(changed, self.shape), refit.weights, fitted.output_bias)
            return Trial(
                fitted, self.data.error(changed), lambda limit: (changed, self._check(changed, limit))
            )

        return fit_under_cuts(how, refit, trial, attack, worst, self._soon())

    def _soon(self) -> float:
        return perf_counter() + SHARE * self.problem.left

    def _unless_refuted(
        self, how: str, module: Module, network: ReLUNetwork, attack: Attack
    ) -> Candidate[Module] | None:
        if len(attack(network)):
            return None
        verdict = self._check(module, max(self.problem.left / 2, 1.0))
        if verdict.reason == "interrupted":
            raise KeyboardInterrupt
        if verdict.kind != "convex":
            return None
        return Candidate(module, verdict, how, self.data.error(module), 0)
