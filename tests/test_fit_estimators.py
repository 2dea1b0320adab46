"""The estimators of jensen.fit: scikit-learn's checks, invariances, and what their attributes say."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

import jensen
from jensen.errors import ArgumentError, JensenError
from jensen.fit import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    GatedReLUClassifier,
    GatedReLURegressor,
    Huber,
    Squared,
    data_gates,
    fit_network,
    make_problem,
)
from jensen.fit._offset import best_constant

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

PAGE = Path(__file__).parents[1] / "docs" / "fit.md"
GATED = [GatedReLURegressor, GatedReLUClassifier]
CONVEX = [ConvexReLURegressor, ConvexReLUClassifier]


def data(n: int = 24, d: int = 2, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, np.abs(x[:, 0]) + 0.3 * x[:, -1] + 0.1 * rng.standard_normal(n)


def small(kind: Any, **more: Any) -> Any:
    return kind(**{"random_state": 0, **({"patterns": 12} if kind in GATED else {}), **more})


def targets_for(kind: Any, y: Any) -> Any:
    return np.where(y > np.median(y), "up", "down") if "Classifier" in kind.__name__ else y


@parametrize_with_checks([kind() for kind in GATED])  # type: ignore[untyped-decorator]
def test_gated_estimators_obey_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([kind() for kind in CONVEX])  # type: ignore[untyped-decorator]
def test_convex_estimators_obey_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", [*CONVEX, *GATED])
def test_whole_weights_are_repeated_rows(kind: Any) -> None:
    x, y = data()
    target = targets_for(kind, y)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, len(y))
    one = small(kind).fit(x, target, sample_weight=weights)
    order = rng.permutation(weights.sum())
    again = small(kind).fit(x.repeat(weights, 0)[order], target.repeat(weights)[order])
    np.testing.assert_array_equal(one.hidden_weights_, again.hidden_weights_)
    assert one.objective_ == again.objective_
    np.testing.assert_array_equal(one.predict(x), again.predict(x))
    scaled = small(kind).fit(x, target, sample_weight=0.25 * weights)
    assert scaled.objective_ == one.objective_


@pytest.mark.parametrize("loss", ["squared", Huber(0.3)])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", [ConvexReLURegressor, GatedReLURegressor])
def test_attributes_of_regressors_are_what_they_say(kind: Any, intercept: bool, loss: Any) -> None:
    x, y = data()
    weights = np.random.default_rng(2).uniform(0.5, 2, len(y))
    model = small(kind, loss=loss, fit_intercept=intercept, tolerance=1e-6).fit(x, y, weights)
    assert model.status_ == "optimal"
    assert 0 <= model.gap_ <= 1e-6
    fitted = model.predict(x)
    share = weights / weights.sum()
    value = share @ (Squared() if loss == "squared" else loss).value(fitted, y)
    norms = np.hypot(np.linalg.norm(model.hidden_weights_, axis=1), model.hidden_biases_)
    value += model.regularisation_ * norms @ np.abs(model.output_weights_)
    assert value == pytest.approx(model.objective_, rel=1e-9)
    assert model.n_neurons_ == len(model.output_weights_) > 0
    np.testing.assert_allclose(norms, np.abs(model.output_weights_), rtol=1e-9)
    if intercept:
        assert model.offset_ == best_constant(y, weights, Squared() if loss == "squared" else loss)
        if loss == "squared":
            assert model.offset_ == pytest.approx(np.average(y, weights=weights))
    else:
        assert model.offset_ == 0
        assert not model.hidden_biases_.any()


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared", "huber"])
def test_convex_estimators_solve_the_problem(loss: str) -> None:
    x, y = data(20)
    sign = np.where(y > np.median(y), 1.0, -1.0)
    model = ConvexReLUClassifier(0.02, relative=False, loss=loss, tolerance=1e-5, random_state=3).fit(x, sign)
    problem = make_problem(np.column_stack([x, np.ones(20)]), sign, 0.02, loss)
    truth = fit_network(problem, tolerance=1e-5, seed=1)
    assert model.status_ == truth.status == "optimal"
    assert model.regularisation_ == 0.02
    assert model.lower_bound_ <= truth.objective
    assert truth.lower_bound <= model.objective_
    given = ConvexReLUClassifier(0.02, relative=False, loss=loss, patterns=200, random_state=0).fit(x, sign)
    assert given.objective_ >= truth.lower_bound
    gated = GatedReLUClassifier(0.02, relative=False, loss=loss, patterns=200, random_state=0).fit(x, sign)
    assert gated.lower_bound_ <= given.objective_


@pytest.mark.parametrize("width", [0.1, 1.0, 20.0])
def test_best_constant_of_the_huber_loss(width: float) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        y, weights, loss = rng.standard_normal(7), rng.uniform(size=7), Huber(width)
        at = best_constant(y, weights, loss)
        slopes = [weights @ loss.slope(np.full(7, at + e), y) for e in (-1e-9, 1e-9)]
        assert slopes[0] <= 1e-9
        assert slopes[1] >= -1e-9
    assert best_constant(np.array([0.0, 10.0]), np.ones(2), Huber(1.0)) == 5.0
    assert best_constant(np.array([3.0]), np.ones(1), Huber(1.0)) == 3.0


def test_several_outputs_are_several_problems() -> None:
    x, y = data()
    both = np.column_stack([y, 100 * x[:, 1] ** 2])
    model = small(ConvexReLURegressor).fit(x, both)
    apart = [small(ConvexReLURegressor).fit(x, column) for column in both.T]
    assert model.objective_ == sum(one.objective_ for one in apart)
    assert model.lower_bound_ == sum(one.lower_bound_ for one in apart)
    np.testing.assert_array_equal(model.regularisation_, [one.regularisation_ for one in apart])
    np.testing.assert_allclose(
        model.predict(x), np.column_stack([one.predict(x) for one in apart]), rtol=1e-10
    )
    assert ((model.output_weights_ != 0).sum(1) == 1).all()
    column = small(ConvexReLURegressor).fit(x, y[:, None])
    assert column.predict(x).shape == (24, 1)
    np.testing.assert_array_equal(column.predict(x)[:, 0], apart[0].predict(x))


@pytest.mark.parametrize("kind", [ConvexReLUClassifier, GatedReLUClassifier])
def test_three_classes(kind: Any) -> None:
    x, _ = data(40)
    label = np.array(["red", "green", "blue"])[np.digitize(x[:, 0], [-0.5, 0.5])]
    model = small(kind).fit(x, label)
    assert model.classes_.tolist() == ["blue", "green", "red"]
    assert model.decision_function(x).shape == (40, 3)
    assert model.score(x, label) > 0.9
    shares = model.predict_proba(x)
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(model.classes_[shares.argmax(1)], model.predict(x))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        assert np.isfinite(model.predict_proba(1e4 * x)).all()
    assert not hasattr(small(kind, loss="hinge"), "predict_proba")


@pytest.mark.filterwarnings("ignore:training could not")
def test_lambda_relative_to_the_critical_one() -> None:
    x, y = data()
    for kind in (*CONVEX, *GATED):
        zero = small(kind, regularisation=1.001).fit(x, targets_for(kind, y))
        assert zero.n_neurons_ == 0
        assert np.unique(zero.predict(x)).size == 1
        some = small(kind, regularisation=0.9, tolerance=1e-6).fit(x, targets_for(kind, y))
        assert some.n_neurons_ > 0
    one, big = (small(ConvexReLURegressor).fit(x, scale * y) for scale in (1.0, 1024.0))
    assert big.objective_ == pytest.approx(1024**2 * one.objective_, rel=1e-3)
    assert big.regularisation_ == pytest.approx(1024 * one.regularisation_)


@pytest.mark.parametrize("kind", [*CONVEX, *GATED])
def test_targets_and_data_without_signal(kind: Any) -> None:
    x, y = data(10)
    if "Regressor" in kind.__name__:
        model = small(kind).fit(x, np.full(10, 0.1))
        np.testing.assert_allclose(model.predict(x), 0.1, rtol=1e-12)
        assert small(kind).fit(x[:1], [3.0]).predict(x).tolist() == [3.0] * 10
    model = small(kind).fit(np.zeros((10, 2)), targets_for(kind, y))
    assert len(model.predict(x)) == 10


@pytest.mark.parametrize("intercept", [True, False])
def test_relu_networks_as_modules(intercept: bool) -> None:
    x, y = data()
    model = small(ConvexReLURegressor, fit_intercept=intercept).fit(x, np.column_stack([y, -y]))
    net = model.to_torch()
    inputs = torch.tensor(x)
    np.testing.assert_allclose(net(inputs).detach().numpy(), model.predict(x), rtol=1e-10)
    again = torch.export.export(net, (inputs,)).module()
    torch.testing.assert_close(again(inputs), net(inputs))
    logits = small(ConvexReLUClassifier, fit_intercept=intercept).fit(x, y > 1)
    truth = logits.decision_function(x)
    np.testing.assert_allclose(logits.to_torch()(inputs).detach().numpy()[:, 0], truth, rtol=1e-9, atol=1e-12)


def test_fitted_networks_are_checked_and_minimised() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    model = ConvexReLURegressor(0.01, random_state=0).fit(x, (x[:, 0] - 0.25) ** 2)
    net = model.to_torch()
    verdict = jensen.check(net, jensen.Box(-1, 1))
    assert verdict.kind == "convex"
    found = jensen.minimize.argmin(net, jensen.Box(-1, 1), verdict=verdict)
    grid = np.linspace(-1, 1, 2001)[:, None]
    assert found.value == pytest.approx(model.predict(grid).min(), abs=1e-3)
    assert found.value <= model.predict(grid).min() + 1e-12


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("intercept", [True, False])
def test_gated_networks_as_modules(kind: Any, intercept: bool) -> None:
    x, y = data()
    model = small(kind, fit_intercept=intercept).fit(x, targets_for(kind, y))
    truth = model.predict(x) if "Regressor" in kind.__name__ else model.decision_function(x)
    net, inputs = model.to_torch(), torch.tensor(x)
    np.testing.assert_allclose(net(inputs).detach().numpy()[:, 0], truth, rtol=1e-9, atol=1e-12)
    again = torch.export.export(net, (inputs,)).module()
    torch.testing.assert_close(again(inputs), net(inputs))
    verdict = jensen.check(net, time_limit=20)  # gates jump, which enclosures of the three values prove
    assert verdict.kind == "not_convex"
    assert verdict.witness is not None
    ends = [[float(v) for v in point] for point in (verdict.witness.x, verdict.witness.y)]
    fx, fy, fm = net(torch.tensor([*ends, np.mean(ends, axis=0).tolist()]).double())[:, 0].tolist()
    assert fm > (fx + fy) / 2
    relu = model.to_relu(x)
    np.testing.assert_allclose(relu(inputs).detach().numpy()[:, 0], truth, rtol=1e-6, atol=1e-9)
    assert jensen.as_network(relu).network.input_size == 2


def test_gated_networks_with_several_outputs() -> None:
    x, y = data()
    model = small(GatedReLURegressor).fit(x, np.column_stack([y, -2 * y]))
    inputs = torch.tensor(x)
    for net in (model.to_torch(), model.to_relu(x)):
        np.testing.assert_allclose(net(inputs).detach().numpy(), model.predict(x), rtol=1e-6, atol=1e-9)


def test_choices_of_patterns() -> None:
    x, y = data()
    directions = np.random.default_rng(0).standard_normal((30, 3))
    best = small(ConvexReLURegressor).fit(x, y)
    same = {"regularisation": best.regularisation_, "relative": False}
    for patterns in (30, directions, directions[:, :2], partial(data_gates, count=30)):
        model = small(ConvexReLURegressor, patterns=patterns, **same).fit(x, y)
        assert model.status_ == "optimal"
        assert model.objective_ >= best.lower_bound_
        assert clone(model).fit(x, y).objective_ == model.objective_
    gated = small(GatedReLURegressor, patterns=directions, **same).fit(x, y)
    cones = small(ConvexReLURegressor, patterns=directions, **same).fit(x, y)
    assert gated.lower_bound_ <= cones.objective_
    # Directions whose gates are empty leave no neurons.
    for kind in (ConvexReLURegressor, GatedReLURegressor):
        none = kind(patterns=[[-1.0]], fit_intercept=False).fit([[1.0], [2.0]], [1.0, 2.0])
        assert none.n_neurons_ == 0
        assert none.objective_ == none.lower_bound_ == 1.25


@pytest.mark.parametrize("kind", [ConvexReLURegressor, GatedReLUClassifier])
def test_pipelines_grids_and_files(kind: Any, tmp_path: Path) -> None:
    x, y = data(40)
    x, y = 100 * x + 7, targets_for(kind, y)
    pipeline = make_pipeline(StandardScaler(), small(kind))
    name = kind.__name__.lower()
    grid = GridSearchCV(pipeline, {f"{name}__regularisation": [0.3, 0.05]}, cv=3, n_jobs=2).fit(x, y)
    assert grid.best_score_ > 0.6
    joblib.dump(grid.best_estimator_, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib").predict(x), grid.predict(x))
    assert clone(grid.best_estimator_[-1]).get_params() == grid.best_estimator_[-1].get_params()


@pytest.mark.parametrize("kind", [*CONVEX, *GATED])
def test_paths_are_warm_grid_searches(kind: Any) -> None:
    x, y = data(30)
    y = targets_for(kind, y)
    values = [0.02, 0.3, 0.1]
    model = small(kind, tolerance=1e-6)
    before = dict(vars(model))
    found = model.path(x, y, regularisation=values, cv=3, n_jobs=2)
    assert vars(model) == before
    assert found.regularisation.tolist() == [0.3, 0.1, 0.02]
    grid = GridSearchCV(model, {"regularisation": found.regularisation}, cv=3).fit(x, y)
    np.testing.assert_allclose(found.mean_scores, grid.cv_results_["mean_test_score"], atol=2e-3)
    assert found.scores.shape == (3, 3)
    assert found.best_regularisation == found.best.regularisation == found.regularisation[found.best_index]
    again = clone(found.best).fit(x, y)
    assert again.objective_ == pytest.approx(found.objective[found.best_index], rel=1e-5)
    assert found.lambdas[found.best_index] == again.regularisation_
    assert (found.gap <= 1e-5).all()
    assert (np.diff(found.objective) < 0).all()
    assert found.best.predict(x).shape == (30,)


def test_default_paths() -> None:
    x, y = data(30)
    part = small(GatedReLURegressor).path(x, y, cv=3)
    assert part.regularisation.tolist() == np.geomspace(0.5, 0.01, 8).tolist()
    whole = small(GatedReLURegressor, relative=False).path(x, y, cv=3, sample_weight=np.ones(30))
    np.testing.assert_allclose(whole.lambdas, part.lambdas)
    assert part.best_index > 0
    several = small(GatedReLURegressor).path(x, np.column_stack([y, y]), cv=3)
    assert several.lambdas.shape == (8, 2)
    np.testing.assert_allclose(several.mean_scores, part.mean_scores)


@pytest.mark.parametrize(
    "wrong",
    [
        {"regularisation": 0},
        {"regularisation": "much"},
        {"relative": "yes"},
        {"loss": "multinomial"},
        {"loss": "cubic"},
        {"tolerance": 1.0},
        {"tolerance": -1e-3},
        {"max_iter": 0},
        {"max_iter": 2.5},
        {"time_limit": -1},
        {"patterns": "some"},
        {"patterns": 0},
        {"patterns": np.zeros((3, 7))},
        {"fit_intercept": None},
    ],
)
@pytest.mark.parametrize("kind", [*CONVEX, *GATED])
def test_wrong_parameters(kind: Any, wrong: dict[str, Any]) -> None:
    x, y = data(10)
    with pytest.raises(ArgumentError):
        small(kind, **wrong).fit(x, targets_for(kind, y))


def test_other_errors() -> None:
    x, y = data(10)
    with pytest.raises(ArgumentError, match="certify"):
        small(ConvexReLURegressor, certify="maybe").fit(x, y)
    with pytest.raises(ArgumentError, match="directions"):
        small(GatedReLURegressor, patterns=partial(data_gates, count=3)).fit(x, y)
    with pytest.raises(ArgumentError, match="bool array"):
        small(ConvexReLURegressor, patterns=lambda x: x).fit(x, y)
    with pytest.raises(ArgumentError, match="loss"):
        small(GatedReLURegressor, loss="logistic").fit(x, y)
    with pytest.raises(ArgumentError, match="one class"):
        small(GatedReLUClassifier).fit(x, np.arange(10) > 8, sample_weight=np.arange(10) < 9)
    for weights in (np.ones(9), -np.ones(10), np.full(10, np.nan), np.zeros(10)):
        with pytest.raises(ArgumentError, match="weight"):
            small(GatedReLURegressor).fit(x, y, sample_weight=weights)
    for values in ([], [0.1, -1], 0.1):
        with pytest.raises(ArgumentError, match="regularisation"):
            small(GatedReLURegressor).path(x, y, regularisation=values)
    for method in ("to_torch", "to_relu"):
        with pytest.raises(NotFittedError):
            getattr(GatedReLURegressor(), method)(*([x] if method == "to_relu" else []))


def test_ctrl_c_keeps_the_best_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    x, y = data()
    monkeypatch.setattr("jensen.fit._generation.search_price", interrupt)
    model = small(ConvexReLURegressor)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(x, y)
    assert model.status_ == "interrupted"
    assert model.score(x, y) > 0.5
    assert model.lower_bound_ <= model.objective_
    # With outputs left that were not begun there is no network to keep.
    with pytest.raises(KeyboardInterrupt):
        small(ConvexReLURegressor).fit(x, np.column_stack([y, y]))
    with pytest.raises(KeyboardInterrupt):
        small(ConvexReLURegressor).path(x, y)


def test_limits_and_silence(capfd: pytest.CaptureFixture[str]) -> None:
    x, y = data(100, 6)
    model = small(ConvexReLURegressor, regularisation=1e-3, time_limit=0.2, verbose=True)
    with pytest.warns(ConvergenceWarning, match="time"):
        model.fit(x, y)
    assert model.status_ == "time_limit"
    assert 0 <= model.lower_bound_ < model.objective_
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        small(GatedReLURegressor, max_iter=1, tolerance=1e-9, verbose=True).fit(x, y)
    with pytest.warns(ConvergenceWarning, match="iteration_limit"):
        small(GatedReLURegressor, max_iter=1, tolerance=1e-9, verbose=True).path(x, y)
    assert capfd.readouterr() == ("", "")


def test_certificates_where_they_are_cheap() -> None:
    x, y = data(30)
    assert small(ConvexReLURegressor).fit(x, y).status_ == "optimal"
    quick = small(ConvexReLURegressor, certify=False).fit(x, y)
    assert quick.status_ == "uncertified"
    assert quick.gap_ > 0.1
    for n, d in ((60, 6), (11, 10)):
        assert small(ConvexReLURegressor, regularisation=0.3).fit(*data(n, d)).status_ == "uncertified"


def test_the_room_opens_without_heavy_packages() -> None:
    code = (
        "import sys, jensen.fit; assert not {'sklearn', 'torch', 'numba'} & set(sys.modules)\n"
        "sys.modules['sklearn'] = None\n"
        "jensen.fit.make_problem, jensen.fit.solve_gated\n"
        "jensen.fit.ConvexReLURegressor"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "JensenError: the estimators of jensen.fit need the package scikit-learn" in done.stderr
    assert issubclass(ArgumentError, JensenError)
    assert set(dir(jensen.fit)) == {name for name in jensen.fit.__all__ if getattr(jensen.fit, name)}


def test_all_code_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


@pytest.mark.parametrize("kind", [*CONVEX, *GATED])
def test_examples_in_docstrings(kind: Any) -> None:
    import doctest

    module = sys.modules[kind.__module__]
    finder = doctest.DocTestFinder(recurse=False)
    for subject in (kind, kind.path):
        (example,) = finder.find(subject, module=False, globs=vars(module).copy())
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0
