"""Where exact counts of convex networks differ from the published criterion, and why, on single networks.

Prints, for several ways to draw networks with two inputs, how often the criterion (see
`experiments.counting._published`) and the exact verdicts disagree, then one network for each reason, with its
certificate or witness. Run `python -m experiments.count_convex_difference --picture FILE`; some seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import jensen
from experiments.counting._decide import AFFINE, BOXED, ICNN, NEITHER, WHOLE, decide_block
from experiments.counting._draws import BLOCK, Cell, draw_block, layers, network
from experiments.counting._published import calls_convex
from jensen.certify import Verdict
from jensen.network import FloatArray

SIDE = 100.0
CELLS = [
    Cell(init, 2, widths)
    for init in ("normal", "uniform", "bias-free")
    for widths in ((2, 2), (2, 4), (3, 3), (2, 2, 2), (3, 3, 3))
]


@dataclass(frozen=True)
class Example:
    """A network on which criterion and exact verdict differ.

    Attributes
    ----------
    title : str
    why : str
    cell : Cell
    flat : (n_weights,) array
    side : float
        Of the criterion's box.
    domain : jensen.Domain or None
        Where the exact verdict was asked.
    """

    title: str
    why: str
    cell: Cell
    flat: FloatArray
    side: float
    domain: jensen.Domain | None = None


def examples() -> list[Example]:
    """One network per reason."""
    never = Cell("uniform", 2, (2, 2))
    outside = Cell("normal", 2, (2, 2))
    lines = Cell("bias-free", 2, (2, 2))
    square = jensen.Box(-10.0, 10.0)
    # relu(1 - relu(1 - x1)), with a neuron relu(x1 + x2) that nothing reads
    corner = np.array([1.0, 1.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 1.0, 1.0, 0.0])
    return [
        Example(
            "rejected, but convex",
            "a neuron of the last layer has a negative output weight, but never switches",
            never,
            pick(never, criterion=False, convex=True),
            SIDE,
        ),
        Example(
            "accepted, but not convex",
            "the violation lies outside the box",
            outside,
            pick(outside, criterion=True, convex=False),
            SIDE,
        ),
        Example(
            "rejected, but convex",
            "the last layer is exactly zero on a whole region, and zero is taken for active",
            lines,
            pick(lines, criterion=False, convex=True),
            SIDE,
        ),
        Example(
            "accepted, but not convex",
            "a kink through two corners of the box makes the subdivision leave out the kinks that follow",
            Cell("normal", 2, (2, 1)),
            corner,
            10.0,
            square,
        ),
    ]


def pick(cell: Cell, *, criterion: bool, convex: bool) -> FloatArray:
    """Find the first draw with these two answers on the whole space, neither affine nor an ICNN."""
    wanted = WHOLE if convex else BOXED + NEITHER
    for block in range(100):
        flats = draw_block(cell, block, 0)
        verdicts = decide_block(cell, block, 0, SIDE).verdicts
        for flat, letter in zip(flats, verdicts, strict=True):
            if letter in wanted and calls_convex(cell, flat, SIDE) == criterion:
                found: FloatArray = flat
                return found
    raise RuntimeError(f"no such network among {100 * BLOCK} draws of {cell.name}")


def agreement(blocks: int) -> str:
    """Compare the criterion with exact verdicts, as a table in Markdown."""
    head = (
        "drawn",
        "widths",
        "convex",
        "of these rejected",
        "convex on the box only",
        "of these accepted",
        "neither, but accepted",
    )
    lines = [head, ("---",) * len(head)]
    for cell in CELLS:
        pairs: Counter[tuple[str, bool]] = Counter()
        for block in range(blocks):
            flats, verdicts = draw_block(cell, block, 0), decide_block(cell, block, 0, SIDE).verdicts
            pairs.update(
                (letter, calls_convex(cell, flat, SIDE)) for flat, letter in zip(flats, verdicts, strict=True)
            )
        convex = {said: sum(pairs[k, said] for k in ICNN + WHOLE + AFFINE) for said in (False, True)}
        numbers = (
            sum(convex.values()),
            convex[False],
            pairs[BOXED, True] + pairs[BOXED, False],
            pairs[BOXED, True],
            pairs[NEITHER, True],
        )
        lines.append((cell.init, "-".join(map(str, cell.widths)), *map(str, numbers)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def describe(example: Example) -> Verdict:
    """Print one example and return its exact verdict."""
    said = calls_convex(example.cell, example.flat, example.side)
    net = network(example.cell, example.flat)
    verdict = jensen.check(net, example.domain, exact=True)
    print(f"\n### {example.title}: {example.why}\n")
    for k, (weight, bias) in enumerate(layers(example.cell, example.flat), start=1):
        name = f"layer {k}" if k <= len(example.cell.widths) else "output "
        print(f"    {name}: W = {rounded(weight)}, b = {rounded(bias)}")
    side = f"[-{example.side:g}, {example.side:g}]^2"
    print(f"\n- published criterion on {side}: {'' if said else 'not '}convex")
    certificate = verdict.certificate
    if certificate is None:
        raise RuntimeError("a verdict that decides comes with a certificate")
    jensen.verify(certificate, net)
    where = "the whole space" if example.domain is None else "the same square"
    print(f"- jensen.check on {where}: {verdict.kind}, margin {verdict.margin:.3g}; certificate replayed")
    witness = verdict.witness
    if witness is not None:
        x, y = ([float(v) for v in p] for p in (witness.x, witness.y))
        print(f"- witness: x = {rounded(x)}, y = {rounded(y)}; f at the middle exceeds the chord by ", end="")
        print(f"{float(witness.violation):.4g}")
    return verdict


def rounded(values: object) -> str:
    """Write an array on one line."""
    return np.array2string(np.asarray(values), precision=4, separator=", ", max_line_width=10**6).replace(
        "\n", ""
    )


def picture(shown: Sequence[tuple[Example, Verdict]], path: Path) -> None:
    """Draw the level sets and kinks of the examples, the box and the witnesses."""
    canvas = Figure(figsize=(2.5 * len(shown), 2.8), layout="constrained")
    for axis, (example, verdict) in zip(canvas.subplots(1, len(shown)), shown, strict=True):
        net = verdict.network
        reach = 3.0
        if verdict.witness is not None:
            ends = np.array([[float(v) for v in p] for p in (verdict.witness.x, verdict.witness.y)])
            reach = max(reach, 1.3 * float(np.abs(ends).max()))
            axis.plot(*ends.T, "o-", color="#c81d25", ms=3, lw=1.2, zorder=3)
        side = np.linspace(-reach, reach, 301)
        grid = np.stack(np.meshgrid(side, side), axis=-1)
        z, f = net.forward(grid.reshape(-1, 2))
        axis.contourf(side, side, f.reshape(301, 301), levels=14, cmap="Blues", alpha=0.7)
        for values in np.concatenate(z, axis=1).T:
            if values.min() < 0 < values.max():
                axis.contour(
                    side, side, values.reshape(301, 301), levels=[0], colors="#1f2933", linewidths=0.8
                )
        if example.side < reach:
            corner, width = (-example.side, -example.side), 2 * example.side
            axis.add_patch(Rectangle(corner, width, width, fill=False, ec="#b7791f", lw=1.2))
        axis.set_title(f"{example.title}\n{'-'.join(map(str, example.cell.widths))}", fontsize=8)
        axis.set_aspect("equal")
        axis.locator_params(nbins=5)
        axis.tick_params(labelsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison and the examples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=4, help=f"blocks of {BLOCK} draws per row of the table")
    parser.add_argument("--picture", type=Path, help="file for the picture of the examples")
    options = parser.parse_args(arguments)
    print(f"{options.blocks * BLOCK} draws per row; box [-{SIDE:g}, {SIDE:g}]^2\n")
    print(agreement(options.blocks))
    shown = [(example, describe(example)) for example in examples()]
    if options.picture is not None:
        picture(shown, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
