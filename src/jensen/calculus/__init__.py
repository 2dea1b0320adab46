"""Disciplined convex analysis of traced PyTorch programs: sign and curvature of every entry."""

from jensen.calculus._analysis import Analysis, analyse
from jensen.calculus._atom import ATOMS, Atom, Shape, register_atom
from jensen.calculus._call import Condition
from jensen.calculus._curvature import Curvature, Intermediate, curvature
from jensen.calculus._explain import Break, first_break
from jensen.calculus._question import Answer, decide
from jensen.calculus._refutation import Counterexample, refute

__all__ = [
    "ATOMS",
    "Analysis",
    "Answer",
    "Atom",
    "Break",
    "Condition",
    "Counterexample",
    "Curvature",
    "Intermediate",
    "Shape",
    "analyse",
    "curvature",
    "decide",
    "first_break",
    "refute",
    "register_atom",
]
