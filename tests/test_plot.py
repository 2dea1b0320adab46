"""Pictures: the planar subdivision against the network itself, and figures that hold what they should."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from scipy import sparse

import jensen
from jensen.certify import Verdict, Witness
from jensen.errors import DomainError
from jensen.network import Box, FloatArray, Layer, Polytope, ReLUNetwork, WholeSpace, from_arrays
from jensen.plot import PlotError, Slice, plot_jumps, plot_regions, plot_verdict, plot_witness, save_figure
from jensen.plot._lines import kinks_along, random_segments
from jensen.plot._planar import Planar, subdivide
from jensen.plot._slice import clip_line, clip_polygon
from jensen.plot._window import rectangle, view

SQUARE = rectangle(((-2.0, 2.0), (-2.0, 2.0)))

FLAT = Polytope([[0.1, 1.0, 0.3], [-0.1, -1.0, -0.3], [1.0, 0.0, 0.0]], [1.0, -1.0, 2.0])
"""A half-plane in R^3."""


def random_network(d: int, widths: list[int], seed: int, sign: bool = False) -> ReLUNetwork:
    """He-initialised; with `sign`, nonnegative after the first layer and hence convex."""
    rng = np.random.default_rng(seed)
    sizes = [d, *widths, 1]
    weights = [rng.normal(size=(m, n)) * np.sqrt(2 / n) for n, m in pairwise(sizes)]
    if sign:
        weights[1:] = [np.abs(w) for w in weights[1:]]
    return from_arrays(weights, [0.5 * rng.normal(size=len(w)) for w in weights])


def dented() -> ReLUNetwork:
    """|x| - relu(y): three frontiers' lines, x = 0 with jump 2 and y = 0 with jump -1."""
    return from_arrays([[[1, 0], [-1, 0], [0, 1]], [[1, 1, -1]]])


def cut(network: ReLUNetwork, polygon: FloatArray = SQUARE) -> Planar:
    planar = subdivide(network, polygon)
    assert planar is not None
    return planar


def area(points: FloatArray) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


# Planar subdivision


def test_subdivision_of_a_known_network() -> None:
    planar = cut(dented())
    assert len(planar.polygons) == 4
    assert sorted(planar.jumps) == [-1, -1, 2, 2]
    for (p, q), jump in zip(planar.segments, planar.jumps, strict=True):
        axis = 0 if jump == 2 else 1
        assert p[axis] == q[axis] == 0


def test_coincident_kinks_that_cancel_are_no_frontier() -> None:
    # relu(x) - relu(-x) = x is linear: its kinks at x = 0 cancel.
    planar = cut(from_arrays([[[1, 0], [-1, 0], [0, 1]], [[1, -1, 1]]]))
    assert planar.jumps.tolist() == [1, 1]


@settings(max_examples=30, deadline=None)
@example(widths=[4, 7, 7], seed=0, integral=True)  # a kink along the edges that another one has just cut
@given(
    widths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    integral=st.booleans(),
)
def test_subdivision_is_a_partition_into_affine_pieces(widths: list[int], seed: int, integral: bool) -> None:
    network = random_network(2, widths, seed)
    if integral:  # small integers make many neurons coincide
        rng = np.random.default_rng(seed)
        sizes = [2, *widths, 1]
        network = from_arrays(
            [rng.integers(-2, 3, size=(m, n)) for n, m in pairwise(sizes)],
            [rng.integers(-1, 2, size=m) for m in sizes[1:]],
        )
    planar = cut(network)
    assert sum(area(planar.vertices[p]) for p in planar.polygons) == pytest.approx(16.0)
    rng = np.random.default_rng(0)
    for polygon, gradient in zip(planar.polygons, planar.gradients, strict=True):
        corners = planar.vertices[polygon]
        shares = rng.dirichlet(np.ones(len(corners)), size=4)
        inside = shares @ corners
        expected = planar.values[polygon[0]] + (inside - corners[0]) @ gradient
        np.testing.assert_allclose(network(inside), expected, atol=1e-6)
    # The jump across a frontier is the second difference of f over a short step.
    for (p, q), jump in zip(planar.segments, planar.jumps, strict=True):
        length = np.linalg.norm(q - p)
        if length < 1e-2:
            continue
        middle, normal = (p + q) / 2, np.array([q[1] - p[1], p[0] - q[0]]) / length
        step = 1e-7
        before, here, after = network(middle + np.array([[-step], [0.0], [step]]) * normal)
        assert (before - 2 * here + after) / step == pytest.approx(jump, abs=1e-4)


def test_subdivision_respects_its_budget() -> None:
    network = random_network(2, [20, 20], 0)
    assert subdivide(network, SQUARE, budget=50) is None
    window, _, planar = view(network, np.zeros((0, 2)), np.zeros(0), np.zeros((1, 2)))
    assert len(planar.polygons) > 100
    assert window[0][0] < 0 < window[0][1]


def test_clipping() -> None:
    polygon = clip_polygon(SQUARE, np.array([[1.0, 1.0]]), np.array([0.0]))
    assert area(polygon) == 8
    assert len(clip_polygon(SQUARE, np.array([[1.0, 0.0]]), np.array([-3.0]))) == 0
    assert clip_line(Box(-1, [1, 3]), np.zeros(2), np.array([1.0, 1.0])) == (-1, 1)
    assert clip_line(Polytope([[0, 1]], [-1]), np.zeros(2), np.array([1.0, 0.0])) == (np.inf, -np.inf)


# Slices


def test_a_restricted_network_is_the_network_on_the_plane() -> None:
    rng = np.random.default_rng(1)
    layers = [
        Layer({0: sparse.csr_array(rng.normal(size=(6, 5)))}, rng.normal(size=6)),
        Layer({0: rng.normal(size=(4, 5)), 1: rng.normal(size=(4, 6))}, rng.normal(size=4), 0.1),
    ]
    network = ReLUNetwork(5, layers, {0: rng.normal(size=5), 2: rng.normal(size=4)}, 0.3)
    plane = Slice(rng.normal(size=5), rng.normal(size=(2, 5)))
    places = rng.normal(size=(50, 2))
    points = plane.origin + places @ plane.directions
    np.testing.assert_allclose(plane.restrict(network)(places), network(points), atol=1e-12)
    np.testing.assert_allclose(plane.project(points), places, atol=1e-12)
    rows, right = plane.half_planes(Box(-1, 1))
    assert ((places @ rows.T <= right).all(axis=1) == (np.abs(points) <= 1).all(axis=1)).all()


@pytest.mark.parametrize(
    ("origin", "directions"),
    [([0, 0, 0], [[1, 0]]), ([0, 0], [[1, 1], [2, 2]]), ([np.nan, 0], [[1, 0], [0, 1]])],
)
def test_bad_slices(origin: Any, directions: Any) -> None:
    with pytest.raises(PlotError):
        Slice(origin, directions)


# Kinks along lines


def test_kinks_along_a_line_are_exact() -> None:
    network = ReLUNetwork(1, [Layer({0: [[1.0], [1.0]]}, [0.0, -1.0], [0.0, 0.5])], {1: [1.0, -3.0]})
    kinks = kinks_along(network, np.array([[-5.0]]), np.array([[5.0]]))
    assert sorted(zip(kinks.layers, kinks.neurons, kinks.jumps, strict=True)) == [(1, 0, 1.0), (1, 1, -1.5)]


def test_kinks_match_second_differences() -> None:
    network = random_network(4, [8, 8], 3)
    start, end = np.full(4, -3.0), np.array([3.0, 2.0, 3.0, 4.0])
    kinks = kinks_along(network, start[None], end[None])
    fine = network(start + np.linspace(0, 1, 200_001)[:, None] * (end - start))
    bends = np.diff(fine, 2)
    # The sum of all changes of slope is the last slope minus the first.
    z = network.preactivations(np.stack([start, end]))
    slopes = np.stack([np.diff(fine[:2]), np.diff(fine[-2:])])
    assert bends.sum() == pytest.approx(float((slopes[1] - slopes[0])[0]))
    # First-layer neurons switch exactly where their two ends differ in sign.
    first = {int(n) for n, layer in zip(kinks.neurons, kinks.layers, strict=True) if layer == 1}
    assert first == set(np.flatnonzero(z[0][0] * z[0][1] < 0).tolist())


@pytest.mark.parametrize(
    "domain",
    [
        WholeSpace(),
        Box(-1, [1, np.inf, 2]),
        Box([0, 1, 0], [1, 1, 1]),
        Polytope(np.eye(3), np.full(3, -5.0)),
        FLAT,
    ],
)
def test_random_segments_stay_in_the_domain(domain: jensen.Domain) -> None:
    starts, ends = random_segments(domain, 3, 20, np.random.default_rng(0), wrt=[0, 2])
    lo, hi = domain.bounds(3)
    A, b = domain.inequalities(3)
    for points in (starts, ends):
        assert ((points >= lo - 1e-9) & (points <= hi + 1e-9)).all()
        assert (points @ A.T <= b + 1e-9).all()
    assert (starts[:, 1] == ends[:, 1]).all()
    assert (starts[:, 0] != ends[:, 0]).all()


def test_empty_domains_have_no_picture() -> None:
    with pytest.raises(DomainError, match="empty"):
        random_segments(Polytope([[1.0], [-1.0]], [-1.0, -1.0]), 1, 1, np.random.default_rng(0))
    with pytest.raises(PlotError, match="fixes every input"):
        random_segments(Box([0, 0], [0, 1]), 2, 1, np.random.default_rng(0), wrt=[0])


# Figures


def collections(axes: Axes, kind: type[Any]) -> list[Any]:
    return [artist for artist in axes.collections if isinstance(artist, kind)]


def frontiers(axes: Axes) -> LineCollection:
    found = [artist for artist in collections(axes, LineCollection) if artist.get_array() is not None]
    assert len(found) == 1
    lines = found[0]
    assert isinstance(lines, LineCollection)
    return lines


def texts(figure: Figure) -> str:
    return "\n".join(
        text.get_text()
        for axes in figure.axes
        for text in (*axes.texts, axes.title, *[getattr(axes, "_left_title")])  # noqa: B009
    )


def test_regions_picture_of_a_known_network() -> None:
    witness = Witness.evaluate(dented(), [0, -1], [0, 1])
    figure = plot_regions(dented(), window=((-2, 2), (-2, 2)), witness=witness)
    axes = figure.axes[0]
    assert len(collections(axes, PolyCollection)[0].get_paths()) == 4
    lines = frontiers(axes)
    assert sorted(np.asarray(lines.get_array())) == [-1, -1, 2, 2]
    # Red below zero, blue above, and the largest bend downwards wider than nothing.
    colours = lines.to_rgba(np.array([-1.0, 2.0]))
    assert colours[0, 0] > colours[0, 2]
    assert colours[1, 2] > colours[1, 0]
    assert {text.get_text() for text in axes.texts} == {"x", "m", "y"}
    assert "2 of 4 frontiers bend downwards" in axes.get_title(loc="left")
    assert axes.get_xlabel() == "$x_{0}$"


def test_bounded_domains_are_shown_whole() -> None:
    figure = plot_regions(random_network(2, [6], 0), Box([-1, 0], [3, 2]))
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert (left, right) == pytest.approx((-1, 3), abs=0.1)
    assert (bottom, top) == pytest.approx((0, 2), abs=0.1)


def test_far_bends_are_found_on_the_whole_space() -> None:
    """Two kinks that meet 500 away from the origin are in the picture."""
    network = from_arrays([[[1, 0], [0, 1]], [[1, 1]]], [[-500, -300], [0]])
    axes = plot_regions(network).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 500 < right
    assert bottom < 300 < top
    assert len(collections(axes, PolyCollection)[0].get_paths()) == 4


def test_a_domain_that_cuts_the_window() -> None:
    axes = plot_regions(dented(), Polytope([[1, 1]], [0]), window=((-1, 1), (-1, 1))).axes[0]
    assert len(collections(axes, PolyCollection)[0].get_paths()) == 3


@pytest.mark.parametrize("network", [from_arrays([[[1.0, 2.0]]]), from_arrays([[[0, 0]], [[1]]])])
def test_networks_without_frontiers(network: ReLUNetwork) -> None:
    figure = plot_regions(network)
    figure.draw_without_rendering()
    assert "1 regions, 0 of 0" in figure.axes[0].get_title(loc="left")
    plot_jumps(network).draw_without_rendering()


def test_what_cannot_be_drawn() -> None:
    network = random_network(3, [4], 0)
    with pytest.raises(PlotError, match="slice"):
        plot_regions(network)
    with pytest.raises(PlotError, match="window"):
        plot_regions(network, slice=Slice.of_inputs(3), window=((1, 0), (0, 1)))
    with pytest.raises(PlotError, match="does not meet"):
        plot_regions(
            network, Box(5, 6), slice=Slice.of_inputs(3, origin=[0, 0, 5.5]), window=((0, 1), (0, 1))
        )
    with pytest.raises(PlotError, match="lies in"):
        plot_regions(network, slice=Slice.of_inputs(4))


def test_witness_picture_marks_the_violation() -> None:
    verdict = jensen.check(dented())
    assert verdict.witness is not None
    axes = plot_witness(verdict).axes[0]
    diamond = next(line for line in axes.lines if line.get_marker() == "D")
    assert np.asarray(diamond.get_ydata())[0] == pytest.approx(float(verdict.witness.fm))
    assert "exceeds the chord" in axes.get_title(loc="left")


def test_tiny_violations_are_drawn_exactly_and_relative_to_the_chord() -> None:
    """A violation of 1e-13 beside values of 1e3 drowns in float64, and must be seen."""
    network = from_arrays([[[1.0], [1.0], [-1.0]], [[-1.0, 1000.0, -1000.0]]], [[0.0, 0.0, 0.0], [1000.0]])
    witness = Witness.evaluate(network, [Fraction(-1, 10**13)], [Fraction(1, 10**13)])
    verdict = Verdict("not_convex", network, WholeSpace(), None, witness, -1.0, (), ())
    axes = plot_witness(verdict).axes[0]
    assert axes.get_ylabel() == "f minus chord"
    curve = np.asarray(axes.lines[0].get_ydata())
    assert curve.max() == pytest.approx(float(witness.violation))


def test_convex_verdicts_show_a_segment() -> None:
    verdict = jensen.check(random_network(3, [5, 5], 0, sign=True))
    axes = plot_witness(verdict, segment=([0, 0, 0], [1, 2, 2])).axes[0]
    assert np.asarray(axes.lines[0].get_xdata())[-1] == pytest.approx(3.0)
    plot_witness(verdict)
    with pytest.raises(PlotError, match="3 finite numbers"):
        plot_witness(verdict, segment=([0, 0], [1, 1]))
    with pytest.raises(PlotError, match="the same"):
        plot_witness(verdict, segment=([0, 0, 0], [0, 0, 0]))


def test_jumps_picture_counts_negative_shares() -> None:
    figure = plot_jumps(dented(), Box(-1, 1))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer 1"]
    assert "negative" in axes.get_title(loc="left")
    convex = plot_jumps(random_network(2, [6, 6], 0, sign=True), verdict=None)
    assert "0.0 % negative" in convex.axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("network", "domain", "wrt", "panels"),
    [
        (dented(), None, None, 5),
        (dented(), Box(-1, 1), (0,), 5),
        (random_network(2, [8, 8], 1, sign=True), None, None, 5),
        (random_network(10, [12, 12], 2), Box(-1, 1), None, 5),
        (random_network(6, [8, 8], 3, sign=True), Polytope(np.eye(6), np.ones(6)), (1, 2, 4), 5),
        (random_network(1, [6], 4), None, None, 3),
        (random_network(2, [6], 4), Box([0, 1], [1, 1]), None, 3),
        (random_network(3, [6], 4), FLAT, None, 5),
        (from_arrays([[[1.0, 1.0]]]), None, None, 5),
    ],
)
def test_verdict_pictures(network: ReLUNetwork, domain: Any, wrt: Any, panels: int, tmp_path: Path) -> None:
    verdict = jensen.check(network, domain, wrt)
    file = tmp_path / "verdict.png"
    figure = plot_verdict(verdict, file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == panels
    assert {"convex": "CONVEX", "not_convex": "NOT CONVEX"}[verdict.kind] in texts(figure).split("\n")


def test_picture_of_a_proof_in_floating_point() -> None:
    verdict = jensen.check(random_network(2, [6], 0, sign=True), exact=False)
    assert verdict.kind == "convex_float"
    figure = plot_verdict(verdict)
    assert "CONVEX (in floating point, no certificate)" in texts(figure).split("\n")


# Files


def test_files_are_written_whole_and_repeatably(tmp_path: Path) -> None:
    for suffix, magic in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")):
        files = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for file in files:
            save_figure(plot_regions(dented(), Box(-1, 1)), file)
        assert files[0].read_bytes().startswith(magic)
        assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    figure = plot_regions(dented(), Box(-1, 1))
    with pytest.raises(PlotError, match=r"\.png, \.svg, \.pdf"):
        save_figure(figure, tmp_path / "picture.bmp")
    with pytest.raises(PlotError, match="cannot write"):
        save_figure(figure, tmp_path / "missing" / "picture.png")
    with pytest.raises(PlotError, match="suffix"):
        plot_verdict(jensen.check(dented()), tmp_path / "picture")


def test_no_pyplot_state() -> None:
    probe = (
        "import sys, jensen; from jensen.plot import plot_verdict;"
        "plot_verdict(jensen.check(jensen.from_arrays([[[1.0, 2.0]], [[1.0]]])));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
