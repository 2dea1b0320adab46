"""The landscape of two-layer ReLU networks, seen.

After Mercklé, Iutzeler and Redko, "The hidden convex optimization landscape of two-layer ReLU networks"
(ICLR blog posts, 2024). Prints figures beside the published ones and draws the pictures of docs/landscape.md:

    python -m experiments.landscape --pictures docs/images

`--show` chooses parts: surface, patterns, counts, convex, neurons, bound. docs/landscape.md says which
settings are published and which are chosen here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from experiments.landscape import _alignment, _counting, _shifting, _surface
from jensen.fit._arrangement import count_gates, count_gates_bound
from jensen.plot import (
    plot_activation_patterns,
    plot_convex_versus_descent,
    plot_pattern_bound,
    plot_pattern_counts,
    plot_regimes,
    save_animation,
    save_figure,
)
from jensen.plot._convex_versus_descent import overtaken
from jensen.plot._regimes import fitting_starts

SCALES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print figures and, if asked, draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--seeds", type=int, default=10, help="runs of descent for counts and convex")
    parser.add_argument("--every", type=int, default=1, help="steps between convex programmes of the picture")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures, such as docs/images")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.every < 1:
        parser.error("--seeds and --every must be at least 1")
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    for name in options.show:
        print(f"\n## {name}\n")
        PARTS[name](options)


def surface(options: argparse.Namespace) -> None:
    """Losses that descent ends with, from random starts."""
    found = _surface.endings(400)
    print("| loss at the end | published values | share of 400 random starts |\n| --- | --- | --- |")
    names = {0.0: "0", 1.0: "y_1^2 = 1", 4.0: "y_2^2 = 4"}
    for value, count in sorted(found.items()):
        print(f"| {value:g} | {names.get(value, '')} | {count / 4:.0f} % |")
    if options.pictures:
        save_figure(_surface.picture(), options.pictures / "landscape_surface.png")


def patterns(options: argparse.Namespace) -> None:
    """Patterns of four points on a line."""
    found = _counting.number(_counting.on_a_line(4))
    print(f"four points and a bias: {found} distinct patterns, formula {count_gates(4, 2)}; published: 10")
    if options.pictures:
        save_figure(plot_activation_patterns(), options.pictures / "landscape_patterns.png")


def counts(options: argparse.Namespace) -> None:
    """Distinct patterns during descent."""
    runs = np.array([_shifting.run(seed).counts() for seed in range(options.seeds)])
    print("| seed | step 0 | step 100 | step 200 | step 300 |\n| --- | --- | --- | --- | --- |")
    for seed, row in enumerate(runs):
        print(f"| {seed} | {row[0]} | {row[100]} | {row[200]} | {row[300]} |")
    middle = np.median(runs, axis=0)
    print(f"| median | {middle[0]:g} | {middle[100]:g} | {middle[200]:g} | {middle[300]:g} |")
    print("| published | 20 | | | 5 |")
    print("\n| scale of the first weights | patterns at step 300, median (least, most) |\n| --- | --- |")
    for scale in SCALES:
        ends = [_shifting.run(seed, scale).counts()[-1] for seed in range(options.seeds)]
        print(f"| {scale:g} | {median(ends):g} ({min(ends)}, {max(ends)}) |")
    if options.pictures:
        save_figure(plot_pattern_counts(runs, published=(300, 5)), options.pictures / "landscape_counts.png")


def convex(options: argparse.Namespace) -> None:
    """Convex optimum with the patterns of a step, beside descent."""
    print(
        "| seed | loss, step 0 | convex optimum, step 0 | overtaken at | loss, step 300 | with both signs |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for seed in range(options.seeds):
        run = _shifting.run(seed)
        losses, first, both = run.losses, run.optimum(0), run.optimum(0, both=True)
        line = [f"{losses[0]:.3f}", f"{first:.3f}", overtaken(losses, first), f"{losses[-1]:.4f}"]
        line += [f"{both:.3f}, at {overtaken(losses, both)}"]
        print(f"| {seed} | {' | '.join(map(str, line))} |", flush=True)
    print("| published | 1 | 0.1 | 175 | | |")
    if options.pictures:
        run = _shifting.run(0)
        steps = range(0, _shifting.STEPS + 1, options.every)
        figure = plot_convex_versus_descent(run.losses, steps, [run.optimum(step) for step in steps])
        save_figure(figure, options.pictures / "landscape_convex.png")


def neurons(options: argparse.Namespace) -> None:
    """Alignment and fitting, from small and large weights."""
    expected = _alignment.directions()
    words = ", ".join(f"{point:.3f}" for point in expected)
    print(f"activation points that theory expects: {words}; published: -1.3")
    for size in ("small", "large"):
        run = _alignment.train(size)
        print(f"{size}: {_alignment.changed(run)} of {_alignment.NEURONS} neurons end with another pattern")
        if size == "small":
            for step in _alignment.SETTINGS[size].stills:
                mean, spread = _alignment.centre(run, step)
                print(
                    f"  step {step}: loss {run.losses[step]:.2g}, activation points {mean:.3f} ± {spread:.3f}"
                )
            print(f"  fitting starts at step {fitting_starts(run.losses)}")
        if options.pictures:
            folder = options.pictures
            save_figure(_alignment.stills(size, run), folder / f"landscape_{size}.png", dpi=120)
            save_animation(_alignment.animation(size, run), folder / f"landscape_{size}.gif")
            if size == "small":
                save_figure(plot_regimes(run.losses), folder / "landscape_regimes.png")


def bound(options: argparse.Namespace) -> None:
    """Numbers of patterns and the bound."""
    found = _counting.rows()
    print("| points | rank | enumerated | formula | bound | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for n, rank, true, formula, limit in found:
        print(f"| {n} | {rank} | {true} | {formula} | {limit:.4g} | {limit / formula:.3g} |")
    formula, limit = count_gates(100, 10), count_gates_bound(100, 10)
    print(f"| 100 | 10 | | {formula:.3g} | {limit:.3g} (published: 1e25) | {limit / formula:.3g} |")
    if options.pictures:
        counted = {(n, rank): true for n, rank, true, _, _ in found}
        save_figure(plot_pattern_bound(counted=counted), options.pictures / "landscape_bound.png")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    part.__name__: part for part in (surface, patterns, counts, convex, neurons, bound)
}

if __name__ == "__main__":
    main()
