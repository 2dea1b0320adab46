"""An adversary of `jensen.verify`: altered, damaged and forged certificates, and a judge of the answers."""

from attack._content import sealed
from attack._corpus import Sample, certified, content_of, other_domain, other_inputs, samples
from attack._damage import DAMAGES
from attack._forger import Forger, frontiers
from attack._judge import ATTEMPTS, Outcome, answer, is_true

__all__ = [
    "ATTEMPTS",
    "DAMAGES",
    "Forger",
    "Outcome",
    "Sample",
    "answer",
    "certified",
    "content_of",
    "frontiers",
    "is_true",
    "other_domain",
    "other_inputs",
    "samples",
    "sealed",
]
