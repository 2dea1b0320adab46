"""Training that ends with a proof of convexity: penalties, repair, and the loop of both."""

from jensen.training._exact import ExactConvexityPenalty
from jensen.training._repair import Repair, repair
from jensen.training._sampled import SampledConvexityPenalty

__all__ = ["ExactConvexityPenalty", "Repair", "SampledConvexityPenalty", "repair"]
