"""Training that ends with a proof of convexity: penalties, repair, and the loop of both."""

from jensen.training._bounded import BoundConvexityPenalty
from jensen.training._counterexamples import CounterexamplePenalty
from jensen.training._exact import ExactConvexityPenalty
from jensen.training._fit import FitResult, fit_convex
from jensen.training._sampled import SampledConvexityPenalty
from jensen.training._schedule import Progress, Schedule
from jensen.training.mend import Repair, repair

__all__ = [
    "BoundConvexityPenalty",
    "CounterexamplePenalty",
    "ExactConvexityPenalty",
    "FitResult",
    "Progress",
    "Repair",
    "SampledConvexityPenalty",
    "Schedule",
    "fit_convex",
    "repair",
]
