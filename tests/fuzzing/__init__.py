"""Inputs that nobody should pass to jensen, by class, and a judge of how they are answered."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzzing._archives import npz, pt2
from fuzzing._arguments import arguments, commands
from fuzzing._domains import domain_files, domains
from fuzzing._judge import Command, Outcome, Question, judge
from fuzzing._modules import modules
from fuzzing._networks import degenerate, numbers
from fuzzing._onnx import onnx_bytes, onnx_fields

CLASSES: dict[str, Callable[[Random, Path], Question | Command]] = {
    "onnx bytes": onnx_bytes,
    "onnx fields": onnx_fields,
    "pt2": pt2,
    "npz": npz,
    "domain files": domain_files,
    "domains": domains,
    "numbers": numbers,
    "degenerate": degenerate,
    "modules": modules,
    "arguments": arguments,
    "commands": commands,
}


def draw(name: str, seed: int, index: int, folder: Path) -> Question | Command:
    """Draw the index-th case of a class; files go to a folder that must be empty."""
    return CLASSES[name](Random(f"{name}/{seed}/{index}"), folder)


__all__ = ["CLASSES", "Command", "Outcome", "Question", "draw", "judge"]
