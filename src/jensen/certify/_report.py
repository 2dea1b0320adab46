"""A verdict for a person to read, in a terminal or as plain text."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jensen.certify._render import certificate_size, to_float
from jensen.certify._verdict import NeuronReport, Verdict, Witness
from jensen.network import Box, Domain, ReLUNetwork, WholeSpace
from jensen.program import Program

HEADLINES = {
    "convex": "CONVEX",
    "convex_float": "CONVEX (in floating point, no certificate)",
    "convex_rules": "CONVEX (by rules, no certificate)",
    "not_convex": "NOT CONVEX",
    "unknown": "UNKNOWN",
}
_STYLES = {
    "convex": "bold green",
    "convex_float": "bold cyan",
    "convex_rules": "bold cyan",
    "not_convex": "bold red",
    "unknown": "bold yellow",
}
_SHOWN_COORDINATES = 6
_SHOWN_NEURONS = 8


def report(verdict: Verdict) -> RenderableType:
    """Lay out a verdict for `rich`.

    Parameters
    ----------
    verdict : Verdict

    Returns
    -------
    RenderableType
        Headline, facts, witness or proof, neurons by layer, and stages.
    """
    parts: list[RenderableType] = [_headline(verdict), Text(), _facts(verdict)]
    if verdict.witness is not None:
        parts += [Text(), *_witness(verdict.witness)]
    if verdict.kind == "unknown" and verdict.program is None:
        parts += [Text(), _established(verdict)]
    if verdict.neurons:
        parts += [Text(), Text("Neurons", style="bold"), _indent(_layers(verdict))]
        parts += _notable("Violated", [n for n in verdict.neurons if n.status == "violated"])
        if verdict.kind == "unknown":
            parts += _notable("Open", verdict.open_neurons)
    if verdict.stages:
        parts += [Text(), Text("Stages", style="bold"), _indent(_stages(verdict))]
    return Group(*parts)


def report_text(verdict: Verdict, width: int = 100) -> str:
    """Write a verdict as plain text, without colour codes or box drawing.

    Parameters
    ----------
    verdict : Verdict
    width : int, default 100
        Columns to wrap at.

    Returns
    -------
    str
        Lines without trailing blanks, ending in a newline.
    """
    return as_text(report(verdict), width)


def as_text(laid_out: RenderableType, width: int = 100) -> str:
    """Write what is laid out for `rich` as plain text, as `report_text` does."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, markup=False)
    with console.capture() as capture:
        console.print(laid_out)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def describe_domain(domain: Domain, d: int) -> str:
    """Put a domain into words.

    Parameters
    ----------
    domain : Domain
    d : int
        Number of inputs of the network.

    Returns
    -------
    str
        For instance "the box [-1, 1]^10".
    """
    if isinstance(domain, WholeSpace):
        return f"the whole space R{_power(d)}"
    if isinstance(domain, Box):
        return _describe_box(*domain.bounds(d), d)
    rows = len(domain.inequalities(d)[0])
    return f"a polytope in R{_power(d)} with {count(rows, 'inequality', 'inequalities')}"


def describe_network(network: ReLUNetwork) -> str:
    """Put a network's size into words: "2 inputs, hidden layers 8-8, 105 weights"."""
    hidden = "-".join(str(w) for w in network.widths)
    layers = f"hidden layers {hidden}" if network.depth > 1 else f"hidden layer {hidden}"
    inputs, weights = count(network.input_size, "input"), count(network.n_weights, "weight")
    return f"{inputs}, {layers if network.depth else 'affine'}, {weights}"


def describe_program(program: Program) -> str:
    """Put a program's size into words: "2 inputs of 3 and 2 entries, 25 operators, 105 weights"."""
    sizes = " and ".join(f"{leaf.size:,}" for leaf in program.inputs)
    inputs = count(len(program.inputs), "input")
    entries = f"of {sizes} {'entry' if sizes == '1' else 'entries'}"
    operators, weights = count(len(program.nodes), "operator"), count(program.n_weights, "weight")
    return f"{inputs} {entries}, {operators}, {weights}"


def describe_notes(program: Program) -> str:
    """Tell which weights torch computed, and rounded, before anything was judged."""
    first, *others = program.notes
    return first + (f", and {len(others)} more" if others else "")


def describe_arguments(program: Program | None, arguments: Sequence[int]) -> str:
    """Name the inputs in which convexity is asked, where there are others: " of argument y (number 1)"."""
    if program is None or len(arguments) == len(program.inputs):
        return ""
    names = ", ".join(f"{program.inputs[i].label} (number {i})" for i in arguments)
    return f" of {'argument' if len(arguments) == 1 else 'arguments'} {names}, for all values of the others"


def describe_question(domain: Domain, wrt: Sequence[int] | None, d: int) -> str:
    """Put into words on what and in what convexity is asked: "on the box [0, 1]^3, in inputs 0-1"."""
    words = f"on {describe_domain(domain, d)}"
    if wrt is None:
        return words
    return f"{words}, in {'input' if len(wrt) == 1 else 'inputs'} {describe_inputs(wrt)}"


def describe_lowering(error: float) -> str:
    """Put into words how far the network is off the model that it was lowered from."""
    if error == 0:
        return "lowered without rounding: the verdict is about the model itself"
    return f"lowering rounds: the lowered network is up to {error:.2g} off the model on samples"


def describe_certificate(verdict: Verdict) -> str:
    """Put into words how a certificate of convexity came about, or why there is none."""
    proving = next((stage for stage in verdict.stages if stage.name == "prove"), None)
    if verdict.certificate is None:
        if proving is None:
            return "none was made"
        return f"none: {proving.details.get('left out', 'an exact proof takes longer than the search did')}"
    size = certificate_size(verdict.certificate)
    if size["trees"]:
        trees, leaves = count(size["trees"], "case tree"), count(size["leaves"], "leaf", "leaves")
        return f"{trees}, {leaves}, replayed exactly"
    return "signs of weights alone" if proving is None else "signs of weights and exact bounds alone"


def describe_inputs(inputs: Sequence[int]) -> str:
    """Write input indices with runs shortened, as `--wrt` reads them: "0, 2, 5-7"."""
    runs: list[list[int]] = []
    for i in sorted(inputs):
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def number(value: float | Fraction | None, digits: int = 4) -> str:
    """Round a number for display to significant digits; "-" where there is none."""
    if value is None:
        return "-"
    rounded = to_float(value) if isinstance(value, Fraction) else float(value)
    return "inf" if rounded == math.inf else f"{rounded:.{digits}g}"


def count(n: int, one: str, many: str | None = None) -> str:
    """Write a number of things: "1 leaf", "1,024 neurons"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def facts(rows: Sequence[tuple[str, str]]) -> RenderableType:
    """Lay out names and what they stand for, one a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in rows:
        table.add_row(name, words)
    return _indent(table)


def _describe_box(lo: np.ndarray, hi: np.ndarray, d: int) -> str:
    if (lo == lo[0]).all() and (hi == hi[0]).all():
        return f"the box {_interval(lo[0], hi[0])}{_power(d)}"
    if d <= 4:
        return "the box " + " x ".join(_interval(a, b) for a, b in zip(lo, hi, strict=True))
    fixed = int((lo == hi).sum())
    note = f" ({count(fixed, 'variable')} fixed)" if fixed else ""
    return f"a box of {d} different sides within {_interval(lo.min(), hi.max())}{note}"


def _power(d: int) -> str:
    return "" if d == 1 else f"^{d}"


def _interval(low: float, high: float) -> str:
    left = "(-inf" if low == -math.inf else f"[{low:.6g}"
    right = "inf)" if high == math.inf else f"{high:.6g}]"
    return f"{left}, {right}"


def _indent(renderable: RenderableType) -> Padding:
    return Padding(renderable, (0, 0, 0, 2))


def _headline(verdict: Verdict) -> Text:
    words = " " + describe_question(verdict.domain, verdict.wrt, verdict.input_size)
    words += describe_arguments(verdict.program, verdict.arguments)
    if verdict.kind == "unknown" and verdict.reason:
        words += f": {verdict.reason}"
    return Text.assemble((HEADLINES[verdict.kind], _STYLES[verdict.kind]), words)


def _facts(verdict: Verdict) -> RenderableType:
    if verdict.program is not None:
        return _program_facts(verdict, verdict.program)
    rows = [("network", describe_network(verdict.network))]
    if verdict.lowering_error is not None:
        rows.append(("model", describe_lowering(verdict.lowering_error)))
    rows.append(("margin", _margin(verdict)))
    if verdict.kind in ("convex", "convex_float"):
        rows.append(("certificate", describe_certificate(verdict)))
    rows.append(("time", f"{number(verdict.seconds)} s"))
    return facts(rows)


def _program_facts(verdict: Verdict, program: Program) -> RenderableType:
    rows = [("program", describe_program(program)), ("judged as", "the real function of its operators")]
    if program.notes:
        rows.append(("weights", describe_notes(program)))
    if verdict.kind == "convex":
        rows.append(("certificate", "rules on signs and curvature, replayed by the verifier's own"))
    elif verdict.kind == "convex_rules":
        rows.append(("certificate", f"none: {verdict.reason}"))
    elif verdict.kind == "not_convex":
        rows.append(("proof", "enclosures of the values at three points, by interval arithmetic"))
    rows.append(("time", f"{number(verdict.seconds)} s"))
    return facts(rows)


def _margin(verdict: Verdict) -> str:
    margin = verdict.margin
    if verdict.kind == "not_convex":
        return f"{number(margin)}, the smallest jump of slope found"
    if verdict.kind == "unknown":
        return "none proved" if margin == -math.inf else f"{number(margin)} is proved so far"
    if margin == math.inf:
        return "no neuron switches on the domain"
    return f"{number(margin)}, no jump of slope is smaller"


def _witness(witness: Witness) -> list[RenderableType]:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    digits = _telling_digits(witness)
    t = str(witness.t) if witness.t.denominator < 1000 else number(witness.t)
    table.add_row("x", _point(witness.x), f"f(x) = {number(witness.fx, digits)}")
    table.add_row("y", _point(witness.y), f"f(y) = {number(witness.fy, digits)}")
    table.add_row("m", _point(witness.middle), f"f(m) = {number(witness.fm, digits)}")
    chord = witness.fm - witness.violation
    lines: list[RenderableType] = [
        Text("Jensen's inequality fails at three points (rounded here, exact in --json)", style="bold"),
        _indent(table),
        _indent(Text(f"m = t x + (1 - t) y with t = {t}")),
        _indent(
            Text.assemble(
                "f(m) exceeds the chord's value ",
                f"{number(chord, digits)} by ",
                (number(witness.violation), "bold red"),
            )
        ),
    ]
    if witness.neurons:
        names = [f"neuron {index} of layer {layer}" for layer, index in witness.neurons]
        verb = "switches" if len(names) == 1 else "switch"
        lines.append(_indent(Text(f"f bends downwards where {_listed(names)} {verb}")))
    return lines


def _telling_digits(witness: Witness) -> int:
    """Return how many digits it takes to tell f at the middle from the chord, as far as float64 goes."""
    ratio = to_float(abs(witness.fm) / witness.violation)
    return 4 if ratio <= 100.0 else 16 if ratio >= 1e14 else math.ceil(math.log10(ratio)) + 2


def _point(point: Sequence[Fraction]) -> str:
    shown = ", ".join(number(v) for v in point[:_SHOWN_COORDINATES])
    rest = f", ... {len(point) - _SHOWN_COORDINATES} more" if len(point) > _SHOWN_COORDINATES else ""
    return f"({shown}{rest})"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN_NEURONS:
        return ", ".join(names)
    return ", ".join(names[:_SHOWN_NEURONS]) + f" and {len(names) - _SHOWN_NEURONS:,} more"


def _established(verdict: Verdict) -> Text:
    total, left = len(verdict.neurons), len(verdict.open_neurons)
    if not total:
        return Text("Nothing was established.")
    known = f"{total - left:,} of {count(total, 'neuron')} proved to bend f upwards only, {left:,} open"
    worst = min((n.worst_jump for n in verdict.neurons if n.worst_jump is not None), default=None)
    seen = "" if worst is None else f"; the smallest jump seen at a frontier is {number(worst)}"
    return Text(f"Established: {known}{seen}.")


def _layers(verdict: Verdict) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("layer", "neurons", "proved", "violated", "open", "lowest bound", "worst jump seen"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in sorted({n.layer for n in verdict.neurons}):
        members = [n for n in verdict.neurons if n.layer == layer]
        status = Counter(n.status for n in members)
        jumps = [n.worst_jump for n in members if n.worst_jump is not None]
        lowest = min(n.lower_bound for n in members)
        table.add_row(
            str(layer),
            f"{len(members):,}",
            f"{status['proved']:,}",
            f"{status['violated']:,}",
            f"{status['open']:,}",
            "none" if lowest == -math.inf else "never switches" if lowest == math.inf else number(lowest),
            number(min(jumps)) if jumps else "-",
        )
    return table


def _notable(title: str, neurons: Sequence[NeuronReport]) -> list[RenderableType]:
    """Name the neurons that decide or hinder the verdict, the worst first."""
    if not neurons:
        return []
    worst = sorted(neurons, key=lambda n: n.worst_jump if n.worst_jump is not None else n.lower_bound)
    names = [
        f"layer {n.layer} neuron {n.index}" + ("" if n.worst_jump is None else f" ({number(n.worst_jump)})")
        for n in worst
    ]
    return [_indent(Text(f"{title}: {_listed(names)}"))]


def _stages(verdict: Verdict) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("stage", no_wrap=True)
    for heading in ("settled", "left", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in verdict.stages:
        table.add_row(stage.name, f"{stage.settled:,}", f"{stage.left:,}", f"{stage.seconds:.3f}")
    return table
