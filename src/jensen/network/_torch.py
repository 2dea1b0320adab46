"""Import from PyTorch: a module or an exported program, through `torch.export`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind

from jensen.errors import JensenError, NetworkError
from jensen.network._hidden import refuse_hidden_writes
from jensen.network._lowered import Lowered
from jensen.network._numbers import as_output, as_shape
from jensen.network._traced import Traced
from jensen.network.lowering._aten import is_smooth, packet
from jensen.network.lowering._aten_table import HANDLERS
from jensen.network.lowering._program import REBINDING, Node, Program, Ref, lower
from jensen.network.lowering._tensor import SENTINEL_BATCH

TRACING_ERRORS = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError,
    MemoryError,
)  # fmt: skip
"""What torch and a model's own code raise where a model does not fit its input."""


def from_torch(
    module: torch.nn.Module | ExportedProgram,
    input_shape: Sequence[int] | None = None,
    output: int | None = None,
) -> Lowered:
    """Lower a PyTorch model to a `ReLUNetwork`.

    Parameters
    ----------
    module : torch.nn.Module or torch.export.ExportedProgram
        With one input whose first axis is the batch. A module is read with the semantics of eval mode
        (batch normalisation uses its running statistics, dropout does nothing); the module itself, its
        mode and its gradients are left as they are. Weights that the model computes from parameters
        (`torch.nn.utils.parametrize`) are folded in the model's own dtype.
    input_shape : sequence of int, optional
        Shape of one input, without the batch. By default the `in_features` of the first layer, if that is
        a `torch.nn.Linear`.
    output : int, optional
        Which entry of the flattened output of one input, where there are several.

    Returns
    -------
    Lowered

    Raises
    ------
    NetworkError
        If the input's shape is not known, the model has several inputs or outputs, or mixes the batch.
    UnsupportedOperatorError
        If an operator is not piecewise linear or not known; it names the operator and its place.
    """
    input_shape, output = as_shape(input_shape), as_output(output)
    if isinstance(module, ExportedProgram):
        exported = module
    else:
        shape = _input_shape(module) if input_shape is None else input_shape
        exported = export_on(module, (SENTINEL_BATCH, *shape))
        input_shape = shape
    try:
        return lower(_program(simplified(exported), input_shape), output)
    except JensenError:
        raise
    except TRACING_ERRORS as error:
        raise NetworkError(f"the model cannot be lowered: {type(error).__name__}: {error}") from error


def _input_shape(module: torch.nn.Module) -> tuple[int, ...]:
    own = known_shape(module)
    if own is not None:
        return own
    raise NetworkError(
        "the shape of the model's input cannot be told from its first layer; pass input_shape, the shape "
        "of one input without the batch, for instance input_shape=(3, 32, 32)"
    )


def known_shape(module: torch.nn.Module) -> tuple[int, ...] | None:
    """Shape of one input as far as a module tells: its `in_features`, `input_shape` or first linear layer."""
    own = getattr(module, "in_features", None)
    if isinstance(own, int):
        return (own,)
    shape = getattr(module, "input_shape", None)
    if isinstance(shape, tuple) and shape and all(type(n) is int and n > 0 for n in shape):
        return shape
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            return (layer.in_features,)
        if layer is not module and next(layer.parameters(recurse=False), None) is not None:
            break
    return None


def export_on(module: torch.nn.Module, *shapes: tuple[int, ...]) -> ExportedProgram:
    """Export a module on inputs of these shapes, the batch included.

    Raises
    ------
    NetworkError
        If torch cannot trace it.
    """
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype = torch.get_default_dtype() if first is None else first.dtype
    device = torch.device("cpu") if first is None else first.device
    return export_eval(module, tuple(torch.zeros(shape, dtype=dtype, device=device) for shape in shapes))


def export_eval(
    module: torch.nn.Module, samples: tuple[Any, ...], note: str = " (the first axis is the batch)"
) -> ExportedProgram:
    """Export a structural copy of a module in eval mode; parameters are shared with it, not copied.

    Raises
    ------
    NetworkError
        If torch cannot trace it.
    """
    shared: dict[int, Any] = {}
    for part in module.modules():
        for value in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(value, torch.Tensor):
                shared[id(value)] = value
    twin = copy.deepcopy(module, shared).eval()
    with torch.no_grad():
        try:
            with _without_deprecations():
                return export(twin, samples)
        except TRACING_ERRORS as error:
            shapes = " and ".join(str(tuple(s.shape)) for s in samples if isinstance(s, torch.Tensor))
            raise NetworkError(
                f"torch.export cannot trace the model on an input of shape {shapes}{note}: {error}"
            ) from error


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Keep back what torch warns of itself while it traces."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*treespec.*", category=FutureWarning)
        yield


def _decomposed(exported: ExportedProgram, table: Mapping[Any, Any]) -> ExportedProgram:
    with _without_deprecations():
        found: ExportedProgram = exported.run_decompositions(dict(table))
        return found


def _lowerable(operator: str) -> bool:
    return packet(operator) in HANDLERS or is_smooth(operator)


def simplified(
    exported: ExportedProgram,
    known: Callable[[str], bool] = _lowerable,
    parameters: Collection[str] = (),
) -> ExportedProgram:
    """Remove in-place operators, and decompose those that read an input and are not known.

    Parameters
    ----------
    exported : ExportedProgram
    known : callable
        Whether an operator can stay as it is.
    parameters : collection of str
        Placeholders of parameters that count as inputs.

    Raises
    ------
    UnsupportedOperatorError
        If torch would lose an in-place write.
    """
    refuse_hidden_writes(exported)
    targets = [n.target for n in exported.graph.nodes if n.op == "call_function"]
    overloads = [t for t in targets if isinstance(t, torch._ops.OpOverload)]
    if any(t._schema.is_mutable and packet(str(t)) not in REBINDING for t in overloads):
        exported = _decomposed(exported, {})
    unknown = {t for t in _reading_input(exported, parameters) if not known(str(t))}
    if not unknown:
        return exported
    decompositions: Mapping[Any, Any] = torch.export.default_decompositions()
    table = {t: decompositions[t] for t in unknown if t in decompositions}
    return _decomposed(exported, table) if table else exported


def _reading_input(exported: ExportedProgram, parameters: Collection[str]) -> set[torch._ops.OpOverload]:
    """Operators that depend on an input; those that compute weights are evaluated, never decomposed."""
    inputs = {*exported.graph_signature.user_inputs, *parameters}
    reached: set[torch.fx.Node] = set()
    found: set[torch._ops.OpOverload] = set()
    for node in exported.graph.nodes:
        if node.name in inputs or not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
            if isinstance(node.target, torch._ops.OpOverload):
                found.add(node.target)
    return found


def _program(exported: ExportedProgram, sample_shape: Sequence[int] | None) -> Program:
    program = traced(exported)
    (name, sizes), *others = program.inputs.items() or [("", None)]
    if sizes is None or others:
        count = len(program.inputs)
        raise NetworkError(f"the model takes {count} inputs; only models of one tensor can be lowered")
    shape, batched = batch_axis(sizes, sample_shape)
    return Program(program.constants, name, shape, batched, program.nodes, program.outputs, program.trusted)


def traced(exported: ExportedProgram) -> Traced:
    """Read an exported program.

    Raises
    ------
    NetworkError
        If a weight holds no real numbers, or an operator has side effects.
    """
    signature = exported.graph_signature
    constants: dict[str, torch.Tensor] = {}
    parameters: dict[str, str] = {}
    inputs: list[str] = []
    for spec in signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(spec.arg.name)
            continue
        if (target := spec.target) is None:
            raise NetworkError(
                "the model calls an operator with side effects (such as a check of its own that raises an "
                "error, as in torch.linalg.inv), which is no function that can be judged; leave it out"
            )
        source = exported.state_dict if target in exported.state_dict else exported.constants
        constants[spec.arg.name] = _weights(target, source[target])
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            parameters[spec.arg.name] = target
    # A constant among the outputs, such as None, has no name.
    outputs = [
        spec.arg.name
        for spec in signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and spec.arg.name
    ]
    graph = exported.graph_module.graph
    for node in graph.nodes:
        if node.op == "get_attr" and isinstance(
            value := getattr(exported.graph_module, str(node.target)), torch.Tensor
        ):
            constants[node.name] = value.detach().cpu()
    values = {n.name: n.meta.get("val") for n in graph.nodes if n.op == "placeholder"}
    shapes = {
        name: tuple(n if isinstance(n, int) else None for n in value.shape)
        if isinstance(value := values.get(name), torch.Tensor)
        else None
        for name in inputs
    }
    nodes = [_node(n) for n in graph.nodes if n.op == "call_function"]
    return Traced(constants, parameters, shapes, nodes, outputs, trusted=True)


def _weights(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Detach a parameter or buffer; it must hold real numbers."""
    if tensor.is_meta:
        raise NetworkError(f"{name!r} lies on the meta device and holds no numbers; load the model's weights")
    if tensor.is_complex():
        raise NetworkError(f"{name!r} holds complex numbers ({tensor.dtype}); only real ones can be lowered")
    return tensor.detach().cpu()


def batch_axis(sizes: Sequence[Any], sample_shape: Sequence[int] | None) -> tuple[tuple[int, ...], bool]:
    """Decide whether axis 0 of an exported input is the batch, and fix its size where it is symbolic.

    An input of rank 1, and one whose first axis has size 1, is a single sample.

    Raises
    ------
    NetworkError
        If another axis is symbolic, or the shape is not the one that the user names.
    """
    fixed = [n if isinstance(n, int) else None for n in sizes]
    if any(n is None for n in fixed[1:]):
        raise NetworkError(f"only the batch axis of the input may be dynamic, got {list(sizes)}")
    features = tuple(n for n in fixed[1:] if n is not None)
    if sample_shape is not None and tuple(sample_shape) not in (features, tuple(fixed)):
        raise NetworkError(
            f"the model was exported for inputs of shape {features}, not {tuple(sample_shape)}"
        )
    first = SENTINEL_BATCH if fixed[0] is None else fixed[0] if fixed else 1
    single = (
        fixed[:1] == [1]
        or (len(fixed) <= 1 and fixed[:1] != [None])
        or tuple(sample_shape or ()) == tuple(fixed)
    )
    return (first, *features), not single


def _node(node: torch.fx.Node) -> Node:
    target = node.target
    value = node.meta.get("val")
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else ""
    if isinstance(target, torch._ops.OpOverload):
        names = [a.name for a in target._schema.arguments]
        name = str(target)
    else:
        names = ["a", "b"]
        name = f"{getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"
    args = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return Node(node.name, name, {k: _argument(v) for k, v in args.items()}, _place(node), dtype)


def _argument(value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, (list, tuple)):
        return [_argument(v) for v in value]
    return value


def _place(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((entry[0] for entry in reversed(list(stack.values())) if entry[0]), "")
    path = path.removeprefix("L['self'].")
    if not path and (trace := node.meta.get("stack_trace")):
        path = str(trace).strip().splitlines()[-1].strip()
    return f"node {node.name} ({path})" if path else f"node {node.name}"
