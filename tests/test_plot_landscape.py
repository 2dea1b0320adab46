"""The landscape of two-layer networks: numbers behind the pictures, and what the pictures refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from experiments.landscape import _alignment, _counting, _shifting, _surface
from experiments.landscape.__main__ import main
from experiments.landscape._descent import count_distinct, descend
from jensen import plot
from jensen.errors import ArgumentError
from jensen.fit._arrangement import count_gates, count_gates_bound
from jensen.plot._activation_patterns import neurons_on_a_line, patterns_of
from jensen.plot._convex_versus_descent import overtaken
from jensen.plot._regimes import fitting_starts
from jensen.plot._two_neurons import TwoNeurons

NUMBER = st.floats(0.1, 3.0)


# Two neurons


def test_the_published_surface() -> None:
    problem = TwoNeurons.checked((-1, 1), (1, 2), (1, 1))
    right, left = problem.critical_lines()
    assert (right.loss, left.loss) == (1.0, 4.0)  # y_1^2, y_2^2
    np.testing.assert_array_equal(right.ends(3.0), [[0, 2], [2, 0]])
    np.testing.assert_array_equal(left.ends(3.0), [[0, -1], [-1, 0]])
    assert sorted(map(tuple, problem.minima())) == [(-1, 2), (2, -1)]
    assert problem.loss(problem.minima()).tolist() == [0, 0]
    assert problem.loss(np.zeros(2)) == 5


@settings(max_examples=50, deadline=None)
@given(
    x=st.lists(NUMBER, min_size=2, max_size=5),
    y=st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    a=st.tuples(NUMBER, NUMBER, st.sampled_from([-1, 1]), st.sampled_from([-1, 1])),
)
def test_critical_lines_and_minima_have_no_slope(x: list[float], y: list[float], a: Any) -> None:
    points = np.array(x) * np.where(np.arange(len(x)) % 2, -1, 1)
    problem = TwoNeurons.checked(points, y[: len(x)], (a[0] * a[2], a[1] * a[3]))
    for line in problem.critical_lines():
        ends = line.ends(2.5)
        if ends is None:
            continue
        assert np.abs(ends).max() <= 2.5
        # On the closed line; its ends are kinks, where the slope of a ReLU counts as 0.
        inner = ends[0] + np.linspace(0.1, 0.9, 5)[:, None] * (ends[1] - ends[0])
        np.testing.assert_allclose(problem.gradient(inner), 0, atol=1e-9)
        np.testing.assert_allclose(problem.loss(inner), line.loss, rtol=1e-9, atol=1e-9)
    for minimum in problem.minima():
        np.testing.assert_allclose(problem.gradient(minimum), 0, atol=1e-9)
        around = minimum + np.random.default_rng(0).normal(size=(50, 2))
        assert problem.loss(minimum) <= problem.loss(around).min() + 1e-9


def test_gradient_of_the_surface() -> None:
    problem = TwoNeurons.checked((-1, 1, 0.5), (1, 2, -1), (1, -0.7))
    points = np.random.default_rng(0).normal(size=(20, 2))
    for axis in np.eye(2):
        steps = (problem.loss(points + 1e-6 * axis) - problem.loss(points - 1e-6 * axis)) / 2e-6
        np.testing.assert_allclose(problem.gradient(points) @ axis, steps, atol=1e-6)


def test_descent_ends_with_one_of_three_losses() -> None:
    assert set(_surface.endings(30)) == {0.0, 1.0, 4.0}


# Patterns and their number


def count_by_subsets(x: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Whitney's theorem: the cells of a central arrangement, from the ranks of all its subsets."""
    n = len(x)
    subsets = (list(chosen) for k in range(n + 1) for chosen in combinations(range(n), k))
    ranks = ((len(s), int(np.linalg.matrix_rank(x[s])) if s else 0) for s in subsets)
    return sum((-1) ** (size - rank) for size, rank in ranks)


def test_four_points_have_ten_neurons_and_eight_patterns() -> None:
    points = np.arange(4.0)
    neurons = neurons_on_a_line(points)
    assert len(neurons) == 10
    patterns = np.unique(patterns_of(neurons, points), axis=0)
    assert len(patterns) == 8 == count_gates(4, 2) == count_by_subsets(_counting.on_a_line(4))
    titles = [axes.get_title() for axes in plot.plot_activation_patterns().axes]
    assert len(titles) == 10
    assert sum("again" in title for title in titles) == 2


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_patterns_on_a_line(n: int) -> None:
    points = np.sort(np.random.default_rng(n).normal(size=n))
    patterns = np.unique(patterns_of(neurons_on_a_line(points), points), axis=0)
    assert len(patterns) == 2 * n == count_gates(n, 2)


@pytest.mark.parametrize(("n", "rank"), [(3, 2), (6, 2), (5, 3), (8, 3), (7, 4)])
def test_numbers_of_patterns(n: int, rank: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, rank))
    assert _counting.number(x) == count_by_subsets(x) == count_gates(n, rank)
    x[0] = -2 * x[1]  # special position
    assert _counting.number(x) == count_by_subsets(x) < count_gates(n, rank)


def test_the_bound_holds_where_it_is_stated() -> None:
    pairs = [(n, rank) for n in range(2, 80) for rank in range(1, n)]
    assert all(count_gates(n, rank) <= count_gates_bound(n, rank) for n, rank in pairs)


# Descent


def test_descent_is_gradient_descent() -> None:
    rng = np.random.default_rng(0)
    x, y, hidden, output = (rng.normal(size=s) for s in ((7, 3), (7,), (5, 3), (5,)))
    run = descend(x, y, hidden, output, rate=0.1, steps=3, decay=0.01)
    w, a = torch.tensor(hidden, requires_grad=True), torch.tensor(output, requires_grad=True)
    optimiser = torch.optim.SGD([w, a], 0.1)
    for step in range(4):
        np.testing.assert_allclose(run.hidden[step], w.detach(), rtol=1e-12)
        np.testing.assert_allclose(run.output[step], a.detach(), rtol=1e-12)
        error = torch.relu(torch.tensor(x) @ w.T) @ a - torch.tensor(y)
        loss = error.square().mean() / 2 + 0.005 * (w.square().sum() + a.square().sum())
        assert run.losses[step] == pytest.approx(loss.item(), rel=1e-12)
        w.grad, a.grad = torch.autograd.grad(loss, [w, a])
        optimiser.step()


def test_patterns_merge_from_small_weights_only() -> None:
    small, large = _shifting.run(0), _shifting.run(0, scale=0.1)
    assert small.counts()[0] == large.counts()[0] == 20
    assert small.counts()[-1] < 10 < large.counts()[-1]
    assert small.losses[0] == pytest.approx(1.0, abs=1e-6)
    assert small.losses[-1] < 0.01
    assert count_distinct(np.eye(2), np.array([[1.0, 1.0], [2.0, 1.0], [1.0, -1.0]])) == 2


def test_the_convex_optimum_is_below_descent() -> None:
    run = _shifting.run(0)
    for step in (0, 150, 300):
        both, own = run.optimum(step, both=True), run.optimum(step)
        assert both <= own * (1 + 1e-6)
        assert own <= run.losses[step] * (1 + 1e-6)


def test_alignment_before_fitting() -> None:
    assert _alignment.directions() == pytest.approx([-4.4 / 3.36])
    run = _alignment.train("small")
    start = fitting_starts(run.losses)
    assert start is not None
    assert start > 500
    mean, spread = _alignment.centre(run, 500)
    assert mean == pytest.approx(-4.4 / 3.36, abs=0.02)
    assert spread < 0.3
    assert _alignment.centre(run, 2500)[0] == pytest.approx(-1.8, abs=0.02)  # the line's zero
    assert run.losses[-1] < 1e-5
    assert _alignment.changed(_alignment.train("large")) < 50


def test_steps_of_interest() -> None:
    assert overtaken([4.0, 3.0, 2.0, 1.0], 2.5) == 2
    assert overtaken([4.0, 3.0], 1.0) is None
    assert fitting_starts([1.0, 1.0, 0.995, 0.5, 0.0]) == 3
    assert fitting_starts([1.0, 2.0]) is None


# Pictures

HIDDEN = np.random.default_rng(0).normal(size=(4, 6, 2))
OUTPUT = np.random.default_rng(1).normal(size=(4, 6))
LINE: dict[str, Any] = {"x": [0.0, 1.0], "y": [1.0, 2.0], "hidden": HIDDEN, "output": OUTPUT}


@pytest.mark.parametrize(
    "draw",
    [
        _surface.picture,
        lambda: plot.plot_loss_surface([-1, 1, 2], [1, -2, 1], [1, -1]),
        lambda: plot.plot_loss_surface(ax=Figure().add_subplot()),
        lambda: plot.plot_activation_patterns([3.0, 1.0]),
        lambda: plot.plot_activation_patterns([3.0]),
        lambda: plot.plot_pattern_counts([[20, 20, 7], [20, 18, 5]], published=(2, 5)),
        lambda: plot.plot_convex_versus_descent([1.0, 0.5, 0.05], [0, 2], [0.1, 0.04]),
        lambda: plot.plot_pattern_bound((2, 3), 50, counted={(4, 2): 8}),
        lambda: plot.plot_regimes([1.0, 0.999, 0.5, 0.1]),
        lambda: plot.plot_neurons(**LINE, expected=[0.5]),
    ],
)
def test_pictures_are_drawn(draw: Callable[[], Figure], tmp_path: Path) -> None:
    figure = draw()
    assert isinstance(figure, Figure)
    plot.save_figure(figure, tmp_path / "picture.png", dpi=40)


def test_pictures_use_given_axes() -> None:
    draws: list[Callable[[Axes], Figure]] = [
        lambda ax: plot.plot_loss_surface(ax=ax),
        lambda ax: plot.plot_pattern_counts([[3, 2]], ax=ax),
        lambda ax: plot.plot_convex_versus_descent([1.0, 0.5], [0], [0.1], ax=ax),
        lambda ax: plot.plot_pattern_bound((2,), 9, ax=ax),
        lambda ax: plot.plot_regimes([1.0, 0.5], ax=ax),
    ]
    for draw in draws:
        figure = Figure()
        axes = figure.add_subplot()
        assert draw(axes) is figure
        assert figure.axes == [axes]
        assert axes.has_data()


def test_animations_are_written(tmp_path: Path) -> None:
    animation = plot.animate_neurons(**LINE, steps=[0, 1, 3, 5], losses=np.linspace(1, 0.1, 6))
    assert isinstance(animation, FuncAnimation)
    file = tmp_path / "neurons.gif"
    plot.save_animation(animation, file, dpi=50, fps=10, hold=3)
    with Image.open(file) as image:
        assert (len(list(ImageSequence.Iterator(image))), image.size) == (4, (320, 210))
    assert [path.name for path in tmp_path.iterdir()] == ["neurons.gif"]
    with pytest.raises(plot.PlotError, match=r"\.gif"):
        plot.save_animation(animation, tmp_path / "neurons.mp4")
    with pytest.raises(plot.PlotError, match="cannot write"):
        plot.save_animation(animation, tmp_path / "nowhere" / "neurons.gif")
    with pytest.raises(ArgumentError, match="colours"):
        plot.save_animation(animation, file, colours=1000)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot.plot_loss_surface([1, 2], [1, 2]), "negative and a positive"),
        (lambda: plot.plot_loss_surface([-1, 1], [1]), "shape"),
        (lambda: plot.plot_loss_surface(output_weights=(0, 1)), "zero"),
        (lambda: plot.plot_loss_surface(paths=[[[np.nan, 1.0]]]), "NaN"),
        (lambda: plot.plot_loss_surface(limit=-1.0), "limit"),
        (lambda: plot.plot_activation_patterns([1.0, 1.0]), "twice"),
        (lambda: plot.plot_activation_patterns([]), "shape"),
        (lambda: plot.plot_activation_patterns(["a"]), "real numbers"),
        (lambda: plot.plot_pattern_counts([20, 10]), "shape"),
        (lambda: plot.plot_pattern_counts([[20, 0]]), "positive integers"),
        (lambda: plot.plot_convex_versus_descent([1.0, 0.0], [0], [0.1]), "positive"),
        (lambda: plot.plot_convex_versus_descent([1.0, 0.5], [1], [0.1]), "increase from 0"),
        (lambda: plot.plot_convex_versus_descent([1.0, 0.5], [0, 1], [0.1]), "shape"),
        (lambda: plot.plot_pattern_bound(()), "at least one"),
        (lambda: plot.plot_pattern_bound((0,)), "rank"),
        (lambda: plot.plot_pattern_bound((10,), 11), "most"),
        (lambda: plot.plot_regimes([1.0, -1.0]), "positive"),
        (lambda: plot.plot_regimes([1.0, 0.5], share=2.0), "share"),
        (lambda: plot.plot_neurons(**{**LINE, "output": OUTPUT[:2]}), "output"),
        (lambda: plot.plot_neurons(**LINE, window=(1.0, 0.0)), "window"),
        (lambda: plot.plot_neurons(**LINE, expected=[np.inf]), "expected"),
        (lambda: plot.animate_neurons(**LINE, steps=[0, 1, 2, 9], losses=[1.0, 0.5]), "steps"),
    ],
)
def test_bad_arguments_are_refused(draw: Callable[[], object], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        draw()


def test_names_are_imported_when_asked_for() -> None:
    code = (
        "import sys, jensen.plot as p; assert 'matplotlib' not in sys.modules; "
        "[getattr(p, n) for n in p.__all__]; assert 'matplotlib.pyplot' not in sys.modules; "
        "assert not hasattr(p, 'nothing') and dir(p) == p.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--show", "patterns", "counts", "--seeds", "1", "--pictures", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "8 distinct patterns" in printed
    assert "| published | 20 | | | 5 |" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"landscape_patterns.png", "landscape_counts.png"}
