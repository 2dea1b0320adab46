"""`check` and its stages: rules, falsify, bound, branch and bound, enumerate."""

from jensen.certify._check import check
from jensen.certify._progress import Progress
from jensen.certify._render import verdict_to_dict
from jensen.certify._verdict import NeuronReport, StageReport, Verdict, Witness

__all__ = ["NeuronReport", "Progress", "StageReport", "Verdict", "Witness", "check", "verdict_to_dict"]
