"""Blocks of parameters in which a training loss is convex: found, proved, and minimised over."""

from jensen.blocks._check import check_block
from jensen.blocks._losses import LOSSES
from jensen.blocks._structure import BlockStructure, convex_blocks
from jensen.blocks._train import BlockTraining, train_blocks
from jensen.blocks._verdict import BlockVerdict, BlockWitness
from jensen.blocks._visit import BlockVisit

__all__ = [
    "LOSSES",
    "BlockStructure",
    "BlockTraining",
    "BlockVerdict",
    "BlockVisit",
    "BlockWitness",
    "check_block",
    "convex_blocks",
    "train_blocks",
]
