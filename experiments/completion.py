"""Faces completed by minimising an energy that is convex in the missing half (Olivetti faces, 64 x 64).

After the image completion experiment of Amos, Xu and Kolter, "Input Convex Neural Networks" (ICML 2017). One
half x of a face is given; the other is the minimiser, over y in the unit box, of

    f(x, y) = sum_m w_m (PICNN_m(c_m(x), y) + |y - g_m(x)|^2 / 2) + w_0 |y - r(x)|^2 / 2

with convolutional networks for g_m and the code c_m, and ridge regression for r. Its minimiser is a proximal
map of the PICNNs in y, which `jensen.minimize.prox` computes and differentiates through: each member m is
trained end to end by the squared error of its own minimiser; then the energies are added up, which is convex
again. `jensen.check` proves every PICNN convex in y.

The published code trains on the first 350 images and tests on the last 50: five people that training has not
seen. It gives the **right** half and completes the left one; only so does ridge regression reach the 861.4
that we compare with. That is the default here; ``--given left`` is the other way round. All settings were
chosen on people held out of the 350 (``--validate`` repeats that), and the 50 are used at the end only.
Errors are mean squared errors of pixels between 0 and 255.

The data is olivettifaces.mat, 4096 x 400, an image a column::

    python -m experiments.completion PATH --picture FILE

Five minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor, nn
from torch.nn import functional

import jensen
from jensen.errors import ArgumentError
from jensen.minimize import prox
from jensen.nn import PICNN

PUBLISHED = {
    "sum-product network": 942.0,
    "ICNN, gradient steps": 872.0,
    "ICNN, bundle entropy": 833.0,
    "dilated CNN": 800.0,
    "FCN": 795.4,
}
TRAINING = 350
PEOPLE = 10
"""Images of each person; they stand together."""
SIDE, HALF = 64, 32
ALPHA = 30.0
"""Of the ridge regression in the energy, chosen on people held out of the training images."""

Progress = Callable[[str], None]


def load(path: Path) -> Tensor:
    """Read the faces.

    Parameters
    ----------
    path : Path
        olivettifaces.mat, or the folder that holds it.

    Returns
    -------
    (400, 64, 64) tensor
        Rows from the top, columns from the left, values in [0, 1].

    Raises
    ------
    ArgumentError
        If there is no such file, or it holds something else.
    """
    file = path / "olivettifaces.mat" if path.is_dir() else path
    if not file.is_file():
        raise ArgumentError(
            f"there is no {file}: the experiment needs the Olivetti faces of AT&T Laboratories Cambridge as "
            "the MATLAB file olivettifaces.mat, 64 x 64 pixels each; nothing is downloaded: pass its path"
        )
    try:
        faces = loadmat(file).get("faces")
    except (MatReadError, ValueError, NotImplementedError) as error:
        raise ArgumentError(f"{file} cannot be read as a MATLAB 5 file: {error}") from error
    if not isinstance(faces, np.ndarray) or faces.shape != (SIDE * SIDE, 400):
        found = "none" if faces is None else f"{getattr(faces, 'shape', faces)}"
        raise ArgumentError(f"{file} must hold a variable 'faces' of shape (4096, 400), found {found}")
    return torch.from_numpy(faces.T.reshape(400, SIDE, SIDE).transpose(0, 2, 1).astype(np.float32) / 255)


def halves(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Take faces apart: the right half, mirrored so that it lies on the left one, and the left half."""
    return faces[:, :, HALF:].flip(2), faces[:, :, :HALF]


def error(found: Tensor, wanted: Tensor) -> float:
    """Mean squared error on the scale of 0 to 255."""
    return float((found - wanted).square().mean()) * 255**2


def ridge(faces: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
    """Fit y = W x + b with the penalty alpha |W|^2, b free; by the dual, as there are few images."""
    x, y = (half.flatten(1).double() for half in halves(faces))
    middle, mean = x.mean(0), y.mean(0)
    x -= middle
    gram = x @ x.T + alpha * torch.eye(len(x), dtype=x.dtype)
    weight = x.T @ torch.linalg.solve(gram, y - mean)
    return lambda given: ((given.flatten(1) - middle) @ weight + mean).to(given).view_as(given)


def augment(faces: Tensor, random: torch.Generator) -> Tensor:
    """Mirror, move, turn and stretch faces a little, and change their light, also from side to side."""
    n = len(faces)

    def normal(deviation: float) -> Tensor:
        return torch.randn(n, generator=random) * deviation

    angle, across, up = normal(0.05), normal(0.04).exp(), normal(0.04).exp()
    mirror = torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0)
    rows = (
        torch.stack([across * angle.cos() * mirror, -angle.sin(), normal(0.05)], 1),
        torch.stack([angle.sin() * mirror, up * angle.cos(), normal(0.05)], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), [n, 1, SIDE, SIDE], align_corners=False)
    moved = functional.grid_sample(faces[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    slope = torch.linspace(-1, 1, SIDE)
    light = normal(0.1)[:, None, None] + normal(0.12)[:, None, None] * slope
    light = light + normal(0.06)[:, None, None] * slope[:, None]
    return (moved * light.exp() + normal(0.03)[:, None, None]).clamp(0, 1)


def _block(planes: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(planes, out, 3, stride, 1), nn.GroupNorm(4, out), nn.ReLU())


class Predictor(nn.Module):
    """An hourglass: from the given half x to a first guess g(x) of the other and a code c(x).

    Parameters
    ----------
    mean : (64, 32) tensor
        The mean of mirrored and plain faces, which guesses begin with.
    planes, code : int
    """

    mean: Tensor

    def __init__(self, mean: Tensor, planes: int = 16, code: int = 128) -> None:
        super().__init__()
        w = planes
        self.register_buffer("mean", mean)
        self.down = nn.ModuleList([_block(2, w), *(_block(i * w, (i + 1) * w, 2) for i in (1, 2, 3))])
        self.encode = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * w * 32, code), nn.ReLU())
        self.decode = nn.Sequential(nn.Dropout(0.2), nn.Linear(code, 4 * w * 32))
        self.up = nn.ModuleList(_block((i + 1) * w, i * w) for i in (3, 2, 1))
        self.last = nn.Conv2d(w, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, 64, 32) halves to guesses of the same shape and codes (batch, code)."""
        across = torch.linspace(-1, 1, HALF).expand_as(x)
        h, scales = torch.stack([(x - self.mean) * 5, across], 1), []
        for layer in self.down:
            h = layer(h)
            scales.append(h)
        code = self.encode(h)
        h = h + self.decode(code).view_as(h)
        for layer, finer in zip(self.up, scales[-2::-1], strict=True):
            h = functional.interpolate(layer(h), scale_factor=2.0) + finer
        return self.mean + 0.2 * self.last(h)[:, 0], code


class Member(nn.Module):
    """PICNN(c(x), y) + |y - g(x)|^2 / 2, convex in y.

    Parameters
    ----------
    mean : (64, 32) tensor
    planes, code, width : int
        The first two for the predictor; the number of ReLUs of the PICNN.
    """

    def __init__(self, mean: Tensor, planes: int = 16, code: int = 128, width: int = 32) -> None:
        super().__init__()
        self.predictor = Predictor(mean, planes, code)
        self.convex = PICNN(code, SIDE * HALF, (width,))

    def forward(self, x: Tensor) -> Tensor:
        """Minimise over y in the unit box, with gradients; (batch, 64, 32)."""
        guess, code = self.predictor(x)
        # Enough for pixels: |y - y*|^2 is at most twice the gap, summed over 2048 of them.
        nearest = prox(self.convex, domain=jensen.Box(0.0, 1.0), tolerance=1e-4, max_iterations=30)
        return nearest(guess.flatten(1), code).view_as(guess)


class Energy(nn.Module):
    """The weighted sum of members and ridge regression; weights sum to 1.

    Parameters
    ----------
    members : sequence of Member
    linear : callable
        Ridge regression, of weight `share`.
    share : float
    """

    def __init__(
        self, members: Sequence[Member], linear: Callable[[Tensor], Tensor], share: float = 0.5
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.linear, self.share = linear, share

    def _parts(self) -> Iterator[Member]:
        return (member for member in self.members if isinstance(member, Member))

    def convex_part(self, codes: Tensor, y: Tensor) -> Tensor:
        """Evaluate the PICNNs' share, (batch,), at codes (batch, members, code) and flat halves y."""
        values = [member.convex(code, y) for member, code in zip(self._parts(), codes.unbind(1), strict=True)]
        return (1 - self.share) * torch.stack(values).mean(0)

    @torch.no_grad()
    def guess(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the minimiser of the quadratic part alone, and the codes."""
        pairs = [member.predictor(x) for member in self._parts()]
        guesses, codes = (torch.stack(part, 1) for part in zip(*pairs, strict=True))
        return self.share * self.linear(x) + (1 - self.share) * guesses.mean(1), codes

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Minimise over y in the unit box, in double precision; (batch, 64, 32)."""
        self.double()
        guess, codes = self.guess(x.double())
        # A nonnegative sum of PICNNs, of which `verdicts` proves each convex in y; it has kinks.
        nearest = prox(
            self.convex_part, domain=jensen.Box(0.0, 1.0), tolerance=1e-6, smooth=False, assume_convex=True
        )
        return nearest(guess.flatten(1), codes).view_as(guess).to(x)

    def verdicts(self) -> list[str]:
        """Say for each PICNN whether it is convex in y, for all codes."""
        return [jensen.check(member.convex).kind for member in self._parts()]


def train(faces: Tensor, steps: int, seed: int, progress: Progress, **sizes: int) -> Member:
    """Fit one member by the squared error of its minimiser, on faces changed at random.

    `steps` are Adam's, on 32 of the (n, 64, 64) faces each; `progress` is told how far it is. The result has
    the moving average of the weights.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    member = Member(torch.cat([faces, faces.flip(2)]).mean(0)[:, :HALF], **sizes)
    average = copy.deepcopy(member)
    optimiser = torch.optim.AdamW(member.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1.0, 10 * (i + 1) / steps) * (1 + math.cos(math.pi * i / steps)) / 2
    )
    seen = 0.0
    for step in range(steps):
        x, y = halves(augment(faces[torch.randint(len(faces), (32,), generator=random)], random))
        optimiser.zero_grad()
        loss = (member(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), member.parameters(), strict=True):
                kept.lerp_(new, max(0.02, 1 / (1 + step)))
        seen += float(loss.detach()) * 255**2
        if (step + 1) % 50 == 0:
            progress(f"member {seed}, step {step + 1} of {steps}: training error {seen / 50:.0f}")
            seen = 0.0
    return average.eval()


def fit(faces: Tensor, members: int, steps: int, progress: Progress, **sizes: int) -> Energy:
    """Fit an energy: ridge regression and members."""
    trained = [train(faces, steps, seed, progress, **sizes) for seed in range(members)]
    return Energy(trained, ridge(faces, ALPHA)).eval()


def completions(training: Tensor, x: Tensor, energy: Energy) -> dict[str, Tensor]:
    """Complete given halves in all ways; the last is that of the energy, and those in between its parts."""
    plain = training.mean(0)[:, :HALF].expand_as(x)
    found = {"mean of the training images": plain, "mirror image of the given half": x}
    for alpha in (100.0, ALPHA):
        found[f"ridge regression, alpha = {alpha:g}"] = ridge(training, alpha)(x)
    ours, share = energy(x), energy.share
    found["ours, the PICNNs left out after training"] = energy.guess(x.double())[0].clamp(0, 1).to(x)
    energy.share = 0.0
    found["ours, members without ridge regression"] = energy(x)
    energy.share = share
    found["ours"] = ours
    return found


def validate(faces: Tensor, folds: Sequence[int], members: int, steps: int, progress: Progress) -> None:
    """Hold out five people of the training images at a time; print errors for shares of ridge regression."""
    shares = (0.0, 0.3, 0.5, 0.7, 1.0)
    print("| people held out | " + " | ".join(f"share {share:g}" for share in shares) + " | alpha = 100 |")
    print("| --- " * (2 + len(shares)) + "|")
    total = torch.zeros(1 + len(shares))
    for fold in folds:
        out = torch.zeros(len(faces), dtype=torch.bool)
        out[5 * PEOPLE * fold : 5 * PEOPLE * (fold + 1)] = True
        x, y = halves(faces[out])
        energy, row = fit(faces[~out], members, steps, progress), []
        for share in shares:
            energy.share = share
            row.append(error(energy(x), y))
        row.append(error(ridge(faces[~out], 100.0)(x), y))
        total += torch.tensor(row)
        print(f"| {5 * fold + 1}-{5 * fold + 5} | " + " | ".join(f"{e:.1f}" for e in row) + " |", flush=True)
    print("| mean | " + " | ".join(f"{e:.1f}" for e in (total / len(folds)).tolist()) + " |")


def picture(path: Path, faces: Tensor, found: dict[str, Tensor], given: Literal["left", "right"]) -> None:
    """Draw two faces of each person of the test images: what is given, completions, and the truth."""
    from matplotlib.figure import Figure

    chosen = [i for i in range(len(faces)) if i % PEOPLE in (1, 6)][:10]
    x, y = halves(faces)
    ours, linear = found["ours"], found["ridge regression, alpha = 100"]
    rows = {"given": torch.ones_like(y), "ridge regression": linear, "convex energy": ours, "truth": y}
    figure = Figure(figsize=(11.5, 5.2), layout="constrained", facecolor="white")
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    for line, (name, half) in zip(axes, rows.items(), strict=True):
        whole = torch.cat([half, x.flip(2)], 2)
        whole = whole.flip(2) if given == "left" else whole
        for plot, i in zip(line, chosen, strict=True):
            plot.imshow(whole[i].clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
            plot.set(xticks=[], yticks=[])
            plot.spines[:].set_color("#cbd2d9")
            if name in ("ridge regression", "convex energy"):
                plot.set_xlabel(f"{error(half[i], y[i]):.0f}", fontsize=9, color="#52606d", labelpad=2)
        line[0].set_ylabel(name, fontsize=11, color="#1f2933")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and, if asked, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=Path, help="olivettifaces.mat or its folder")
    parser.add_argument("--given", choices=("right", "left"), default="right", help="the half that is known")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of training, for each member")
    parser.add_argument("--picture", type=Path, help="file for completions of test images")
    parser.add_argument(
        "--validate", type=int, nargs="+", choices=range(7), metavar="FOLD",
        help="hold people out of the training images instead: five from person 5 FOLD + 1 on",
    )  # fmt: skip
    options = parser.parse_args(arguments)

    progress = partial(print, file=sys.stderr, flush=True)
    began = time.process_time()
    try:
        faces = load(options.path)
    except ArgumentError as problem:
        parser.exit(2, f"completion: {problem}\n")
    if options.given == "left":
        faces = faces.flip(2)
    training, held_out = faces[:TRAINING], faces[TRAINING:]
    if options.validate:
        validate(training, options.validate, options.members, options.steps, progress)
        return
    energy = fit(training, options.members, options.steps, progress)
    trained = time.process_time() - began
    x, y = halves(held_out)
    found = completions(training, x, energy)
    started = time.process_time()
    energy(x)
    inference = time.process_time() - started
    print(f"| {options.given} half given | mean squared error |\n| --- | --- |")
    for name, value in PUBLISHED.items():
        print(f"| {name}, published | {value:.1f} |")
    for name, guess in found.items():
        print(f"| {name} | {error(guess, y):.1f} |")
    proved = energy.verdicts()
    people = (found["ours"] - y).square().view(-1, PEOPLE, SIDE * HALF).mean((1, 2)) * 255**2
    print(f"\nBy person: {', '.join(f'{e:.0f}' for e in people.tolist())}.")
    print(f"{proved.count('convex')} of {len(proved)} PICNNs proved convex in y.")
    print(f"{trained:.0f} s of processor time for training, {inference:.2f} s for {len(x)} completions.")
    if options.picture is not None:
        picture(options.picture, held_out, found, options.given)


if __name__ == "__main__":
    main()
