"""How many random networks are convex, and how many are ICNNs: exact counts.

After Gagneux, Massias, Soubies and Gribonval, "Convexity in ReLU neural networks: beyond ICNNs?" (figure 3)
and "How to improve expressivity of convex ReLU neural networks?" (figure 6). No verdict rests on sampling:

1. signs and interval bounds, rounded outwards, prove a network convex (ICNNs among others);
2. random lines propose three points that violate Jensen's inequality; it counts if it exceeds a rigorous
   bound on all rounding errors;
3. of what is left, all frontiers are enumerated by `jensen.geometry.scan`, which falls back on exact
   arithmetic where floats cannot tell a sign, or `jensen.check` is asked.

Run `python -m experiments.count_convex --figure widths` (or depth, dimension, all). Finished blocks are kept
in a file; the same command goes on where an interrupted one was.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.counting._decide import decide_block
from experiments.counting._draws import BLOCK, INITS, Cell
from experiments.counting._figures import FIGURES, Domain, Figure, picture, table
from experiments.counting._journal import Journal, Key


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print tables in Markdown, draw pictures."""
    options = parse(arguments)
    chosen = [FIGURES[name] for name in FIGURES if options.figure in (name, "all")]
    journal = Journal(options.journal)
    begin = perf_counter()
    try:
        for figure in chosen:
            cells = figure.cells(options.init)
            try:
                compute(journal, cells, options)
            except KeyboardInterrupt:
                print("interrupted; the same command goes on from here", file=sys.stderr)
                return 130
            show(figure, journal, options)
    finally:
        journal.close()
    print(f"\n{perf_counter() - begin:.0f} s in this run, {options.jobs} processes")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", choices=[*FIGURES, "all"], default="all")
    parser.add_argument("--draws", type=int, default=10_000, help="networks per architecture")
    parser.add_argument(
        "--domain", choices=["whole", "box", "both"], default="both", help="what is shown; both are decided"
    )
    parser.add_argument("--box", type=float, default=100.0, help="the box is [-BOX, BOX]^d")
    parser.add_argument("--init", choices=INITS, default="normal", help="how networks are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--journal", type=Path, default=Path("build/counts.jsonl"), help="finished blocks")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures, such as docs/images")
    options = parser.parse_args(arguments)
    if options.draws < 1 or options.draws % BLOCK:
        parser.error(f"--draws must be a multiple of {BLOCK}")
    if not 0 < options.box <= 1e6:
        parser.error("--box must be positive and at most 1e6")
    return options


def keys(cell: Cell, options: argparse.Namespace) -> list[Key]:
    """Name the blocks of a cell."""
    return [(cell.name, block, options.seed, options.box) for block in range(options.draws // BLOCK)]


def compute(journal: Journal, cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Decide the blocks that the journal does not hold yet."""
    named = {cell.name: cell for cell in cells}
    todo = [key for cell in cells for key in keys(cell, options) if key not in journal.blocks]
    # The largest architectures last: their blocks vary most in length.
    todo.sort(key=lambda key: named[key[0]].n_weights)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("blocks", total=len(todo))
        running = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
            delayed(decide_block)(named[name], block, seed, side) for name, block, seed, side in todo
        )
        for block in running:
            journal.add(block)
            bar.advance(task)


def show(figure: Figure, journal: Journal, options: argparse.Namespace) -> None:
    """Print one figure's tables and draw its picture."""
    cells = figure.cells(options.init)
    blocks = {cell: journal.of(keys(cell, options)) for cell in cells}
    counts = {cell: Counter("".join(block.verdicts for block in found)) for cell, found in blocks.items()}
    domains: list[Domain] = ["whole", "box", "affine", "icnn"]
    hidden = {"whole": "box", "box": "whole"}.get(options.domain)
    shown = [name for name in domains if name != hidden]
    titles = {
        "whole": "Convex on the whole space",
        "box": f"Convex on [-{options.box:g}, {options.box:g}]^d",
        "affine": "Affine on the whole space, and no ICNN",
        "icnn": "ICNNs",
    }
    print(f"\n## {figure.name}: {options.draws} draws per cell, {options.init}, seed {options.seed}")
    for domain in shown:
        print(f"\n{titles[domain]}:\n\n{table(figure, options.init, counts, domain)}")
    flat = [block for found in blocks.values() for block in found]
    total = Counter[str]()
    for count in counts.values():
        total.update(count)
    print(
        f"\n{len(flat) * BLOCK} networks: {sum(b.by_bounds for b in flat)} proved convex by bounds, "
        f"{sum(b.by_lines for b in flat)} not convex by lines, {sum(b.by_frontiers for b in flat)} by all "
        f"frontiers; {total['b']} convex on the box only; {sum(b.seconds for b in flat):.0f} s of one core."
    )
    if options.pictures is not None:
        suffix = "" if options.init == "normal" else f"_{options.init.replace('-', '_')}"
        path = options.pictures / f"count_{figure.name}{suffix}.png"
        picture(figure, options.init, counts, shown, options.draws, path)


if __name__ == "__main__":
    sys.exit(main())
