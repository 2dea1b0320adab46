"""The verifier's own rules on signs and curvature, which share no code with `jensen.calculus`."""

from jensen.verifier.rules._replay import replay_rules

__all__ = ["replay_rules"]
