"""`check` and its stages: rules, falsify, bound, branch and bound, enumerate."""

from jensen.certify._verdict import NeuronReport, StageReport, Verdict, Witness

__all__ = ["NeuronReport", "StageReport", "Verdict", "Witness"]
