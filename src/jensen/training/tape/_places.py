"""From a module to its affine maps: which layers stand behind each, and in front of which activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn

from jensen.errors import ArgumentError, NetworkError
from jensen.nn import FICNN, ConvICNN, SkipMLP
from jensen.nn._activation import LeakyReLU, ReLU
from jensen.training.tape._operator import Operator
from jensen.training.tape._path import Path, Step
from jensen.training.tape._shapes import CONVOLUTIONS, LINEAR, NORMS, Shape, is_kind, outputs_of

_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)
_DENSE = (SkipMLP, FICNN)


@dataclass(frozen=True)
class Place:
    """The path from each source to one affine map; 0 is the input, k >= 1 is hidden layer k."""

    sources: Mapping[int, Path]

    def weights(self) -> dict[int, Tensor | Operator]:
        """Return the matrices, as they are now."""
        return {k: path.matrix() for k, path in self.sources.items()}

    def bias(self) -> Tensor:
        """Return what is added, flattened."""
        parts = [bias for path in self.sources.values() if (bias := path.bias()) is not None]
        if not parts:
            path = next(iter(self.sources.values()))
            return path.weight.new_zeros(prod((path.main, *path.after)[-1].outputs))
        return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])

    @property
    def is_plain(self) -> bool:
        """Whether every matrix is that of a linear layer."""
        paths = self.sources.values()
        return all(isinstance(path.matrix(), Tensor) and not path.norms for path in paths)


@dataclass(frozen=True)
class Places:
    """All affine maps of a module, the output's last, and the slopes below zero of the activations between.

    Attributes
    ----------
    maps : tuple of Place
    slopes : tuple of float
    inputs : int
        Numbers in one input.
    """

    maps: tuple[Place, ...]
    slopes: tuple[float, ...]
    inputs: int


def places_of(module: nn.Module) -> Places:
    """Find the layers behind every affine map of a module that takes vectors, not images.

    Raises
    ------
    NetworkError
        If the module cannot be read; it names what stands in the way.
    """
    if isinstance(module, _DENSE):
        return _architecture(module, None)
    if isinstance(module, ConvICNN):
        raise NetworkError(
            f"cannot look inside a ConvICNN, which takes images: put nn.Unflatten(1, {module.input_shape}) "
            "in front"
        )
    if not isinstance(module, nn.Sequential) or type(module) not in (nn.Sequential, Flattened):
        raise NetworkError(
            f"cannot look inside a {type(module).__name__}: this needs a piecewise-linear SkipMLP, FICNN or "
            "ConvICNN, or an nn.Sequential of linear layers, convolutions and (leaky) ReLUs with one output"
        )
    parts = list(_flat(module, ""))
    if parts and isinstance(parts[-1][1], (*_DENSE, ConvICNN)):
        return _architecture(parts[-1][1], _reshaped(parts[:-1]))
    return _sequential(parts)


def _flat(module: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for child, part in module.named_children():
        # Layers are called what they are called in the module that the user has.
        name = "" if isinstance(module, Flattened) else child
        if type(part) is nn.Sequential:
            yield from _flat(part, f"{prefix}{name}." if name else prefix)
        else:
            yield prefix + name, part


def _reshaped(parts: list[tuple[str, nn.Module]]) -> Shape | None:
    shape = None
    for name, part in parts:
        if not is_kind(part, (nn.Unflatten, nn.Flatten, nn.Identity)):
            raise NetworkError(f"cannot look inside: layer {name!r} stands before a whole architecture")
        shape = outputs_of(name, part, _first(part) if shape is None else shape)
    return shape


def _first(part: nn.Module) -> Shape:
    """Shape of the input, as far as the first layer tells it."""
    if is_kind(part, (nn.Unflatten,)):
        sizes = cast(nn.Unflatten, part).unflattened_size
        return (prod(cast(tuple[int, ...], sizes)),)
    if is_kind(part, LINEAR):
        return (cast(nn.Linear, part).in_features,)
    raise NetworkError(
        f"cannot look inside: a {type(part).__name__} does not tell the shape of its input; pass input_shape "
        "where that can be done, or put nn.Unflatten(1, shape) in front"
    )


def _sequential(parts: list[tuple[str, nn.Module]]) -> Places:
    paths: list[Path] = []
    slopes: list[float] = []
    steps: list[Step] = []
    shape: Shape | None = None
    inputs = 0
    for name, part in parts:
        if is_kind(part, _ACTIVATIONS):
            paths.append(_path(steps, f"before the activation {name!r}"))
            slopes.append(float(part.negative_slope) if isinstance(part, nn.LeakyReLU) else 0.0)
            steps = []
            continue
        if shape is None:
            if is_kind(part, (nn.Flatten, nn.Identity)):
                continue
            shape = _first(part)
            inputs = prod(shape)
        step = Step(name, part, shape, outputs_of(name, part, shape))
        steps.append(step)
        shape = step.outputs
    paths.append(_path(steps, "at the end"))
    if shape is None or prod(shape) != 1:
        raise NetworkError(
            f"cannot look inside a module whose outputs have shape {shape}: one number is needed"
        )
    maps = tuple(Place({k: path}) for k, path in enumerate(paths))
    return Places(maps, tuple(slopes), inputs)


def _path(steps: list[Step], where: str) -> Path:
    mains = [i for i, step in enumerate(steps) if is_kind(step.module, (*LINEAR, *CONVOLUTIONS))]
    if len(mains) != 1:
        names = ", ".join(repr(steps[i].name) for i in mains) or "none"
        raise NetworkError(
            f"cannot look inside: {where} there must be one linear layer or convolution since the last "
            f"activation, and there are {len(mains)} (layers: {names})"
        )
    before, main, after = steps[: mains[0]], steps[mains[0]], steps[mains[0] + 1 :]
    for i, step in enumerate(steps):
        later = [s for s in before[i:] if len(s.outputs) > len(s.inputs)]
        if is_kind(step.module, NORMS) and (later or (i > mains[0] and step.inputs[0] != main.outputs[0])):
            raise NetworkError(
                f"cannot look inside layer {step.name!r} ({type(step.module).__name__}): its channels are "
                f"not those of layer {main.name!r}, which has the weights; move it past the change of shape"
            )
    return Path(tuple(before), main, tuple(after))


def _architecture(module: SkipMLP | FICNN | ConvICNN, shape: Shape | None) -> Places:
    activation = module.activation
    if not module.piecewise_linear or type(activation) not in (ReLU, LeakyReLU):
        raise NetworkError(
            f"cannot look inside a {type(module).__name__} that is not piecewise linear: this needs ReLU or "
            "leaky ReLU, and no quadratic term"
        )
    slope = activation.slope if isinstance(activation, LeakyReLU) else 0.0
    maps = _convolutional(module) if isinstance(module, ConvICNN) else _dense(module)
    inputs = prod(next(iter(maps[0].sources.values())).main.inputs)
    if shape is not None and prod(shape) != inputs:
        raise NetworkError(f"a {type(module).__name__} takes {inputs} numbers, not shape {shape}")
    return Places(tuple(maps), (slope,) * (len(maps) - 1), inputs)


def _only(name: str, module: nn.Module, shape: Shape, before: tuple[Step, ...] = ()) -> Path:
    return Path(before, Step(name, module, shape, outputs_of(name, module, shape)), ())


def _dense(module: SkipMLP | FICNN) -> list[Place]:
    first = _only("first", module.first, (module.first.in_features,))
    places = [Place({0: first})]
    for i, part in enumerate(module.hidden):
        sources = {}
        if len(module.skips) > 0:
            sources[0] = _only(f"skips.{i}", module.skips[i], first.main.inputs)
        sources[i + 1] = _only(f"hidden.{i}", part, (cast(nn.Linear, part).in_features,))
        places.append(Place(sources))
    return places


def _convolutional(module: ConvICNN) -> list[Place]:
    image = module.input_shape
    places = [Place({0: _only("first", module.first, image)})]
    for i, part in enumerate(module.hidden):
        before = places[-1].sources[len(places) - 1].main.outputs
        sources = {0: _only(f"skips.{i}", module.skips[i], image)} if len(module.skips) > 0 else {}
        places.append(Place({**sources, i + 1: _only(f"hidden.{i}", part, before)}))

    def read(name: str, layer: nn.Module, shape: Shape) -> Path:
        """Read what a layer sees of an image: all of it, or its mean."""
        looks = [nn.AdaptiveAvgPool2d(1)] if module.head == "mean" else []
        shapes = [shape]
        modules: list[nn.Module] = [*looks, nn.Flatten()]
        for part in modules:
            shapes.append(outputs_of(name, part, shapes[-1]))
        steps = [Step(name, part, *ends) for part, ends in zip(modules, pairwise(shapes), strict=True)]
        return _only(name, layer, shapes[-1], tuple(steps))

    sources = {} if module.last_skip is None else {0: read("last_skip", module.last_skip, image)}
    z = places[-1].sources[len(places) - 1].main.outputs
    return [*places, Place({**sources, len(places): read("last", module.last, z)})]


class Flattened(nn.Sequential):
    """A module that takes inputs of a shape as one that takes vectors; it shares all parameters.

    Parameters
    ----------
    module : torch.nn.Module
    shape : tuple of int
    """

    def __init__(self, module: nn.Module, shape: Shape) -> None:
        super().__init__(nn.Unflatten(1, shape), module)


def flattened(module: nn.Module, shape: Shape) -> nn.Module:
    """Make a module that takes vectors of one that takes inputs of a shape; it shares all parameters."""
    return module if len(shape) == 1 else Flattened(module, shape)


def input_shape_of(module: nn.Module, data: Shape | None) -> Shape:
    """Tell the shape of one input, from the module where it is known, or else from the data.

    Parameters
    ----------
    module : torch.nn.Module
    data : tuple of int, optional
        Shape of one input in the data.

    Raises
    ------
    ArgumentError
        If neither tells it.
    """
    known = getattr(module, "input_shape", None)
    if isinstance(known, tuple):
        return known
    try:
        return (places_of(module).inputs,)
    except NetworkError:
        weighted = (m for m in module.modules() if next(m.parameters(recurse=False), None) is not None)
        first = next(weighted, None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    if data is None:
        raise ArgumentError("the module does not tell the shape of its input: pass data or input_shape=(...)")
    return data
