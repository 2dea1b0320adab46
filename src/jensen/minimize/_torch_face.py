"""The names of `jensen.minimize` that work on batches in torch, gathered for the package's `__init__`."""

from jensen.minimize._batched import minimize_batch
from jensen.minimize._conjugate import conjugate, gradient_map, prox
from jensen.minimize._entropy import minimize_entropy
from jensen.minimize._layer import ArgminLayer
from jensen.minimize._structured import ArgminLoss, MaxMarginLoss
from jensen.minimize._torch_result import BatchedMinimum

__all__ = [
    "ArgminLayer",
    "ArgminLoss",
    "BatchedMinimum",
    "MaxMarginLoss",
    "conjugate",
    "gradient_map",
    "minimize_batch",
    "minimize_entropy",
    "prox",
]
