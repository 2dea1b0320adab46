"""The classifiers as users see them."""

from __future__ import annotations

from typing import Any

from jensen.fit._classification import Classification
from jensen.fit._gated_estimators import GatedNeurons
from jensen.fit._losses import Loss
from jensen.fit._relu_estimators import ReLUNeurons


class ConvexReLUClassifier(ReLUNeurons, Classification):
    """Classification by two-layer ReLU networks, trained to the global optimum.

    The network sum_i relu(x . w_i + b_i) a_i minimises

        sum_j omega_j loss(o_j, y_j) + lambda sum_i |(w_i, b_i)| |a_i|

    over weights and number of neurons, with sample weights omega of sum 1. It is training with weight
    decay (lambda / 2) sum_i (|(w_i, b_i)|^2 + a_i^2), and has the optimum of a convex programme (Pilanci
    and Ergen, "Neural networks are convex regularizers", ICML 2020), which `lower_bound_` proves.

    More than two classes are as many problems, of each class against the rest, with neurons of their own.
    `objective_` is the sum of theirs. Scale features first (`StandardScaler`): regularisation treats them
    alike.

    Parameters
    ----------
    regularisation : float, default 0.05
        lambda, or a part of the critical lambda: see `relative`.
    relative : bool, default True
        Take `regularisation` as a part of the critical lambda, at which the network is zero, so that one
        value does for many data. (With all patterns it is found by local searches.) False takes it as
        lambda itself.
    loss : str or Loss, default "logistic"
        "logistic", "hinge", or "squared" and "huber" for targets of -1 and 1.
    fit_intercept : bool, default True
        Give hidden neurons a bias, which is regularised as the other weights are. The output has none.
    patterns : "all", int, array or callable, default "all"
        "all" trains over all activation patterns, by column generation: to the optimum over networks of
        every width. A number draws that many Gaussian directions and takes their patterns only, as an
        array (P, d) of directions does (d + 1 with a bias, last). So does a function from the data, a
        column of ones added by `fit_intercept`, to a bool array (P, n): `functools.partial(data_gates,
        count=100)`.
    tolerance : float, default 1e-3
        Relative gap at which to stop.
    certify : bool or "auto", default "auto"
        With all patterns: whether to prove a lower bound that is within the tolerance, which takes long
        for more than a few features. "auto" does for up to 6 samples, or 6 columns, that of ones included,
        with at most a million patterns: n up to 500,000, 1,000, 145, 60 and 37 for d = 1 to 5. Otherwise
        training ends when a local search finds no missing neuron, `lower_bound_` is a bound, but crude, and
        `status_` "uncertified".
    max_iter : int, default 1000
        Newton steps for a number or array of patterns. Column generation ends by itself, or at the time
        limit.
    time_limit : float, optional
        Seconds for `fit`, shared by the outputs; the best network so far is kept, with a warning.
    random_state : int, RandomState or None, default None
        Seeds where training starts, or the directions.
    verbose : bool, default False
        Show on the terminal how training goes; nothing in a pipe.

    Attributes
    ----------
    hidden_weights_ : (n_neurons, d) array
    hidden_biases_ : (n_neurons,) array
    output_weights_ : (n_neurons,) array, or (n_neurons, k) for k > 2 classes
        Of every row one entry is not zero.
    offset_ : float or (k,) array
        Added to outputs: zero.
    regularisation_ : float or (k,) array
        lambda.
    objective_ : float
        Sum over outputs.
    lower_bound_ : float
        Of the optimum, over networks of every width, rigorous; with given patterns over networks with
        these, in float64.
    gap_ : float
        objective_ - lower_bound_, relative to objective_.
    n_neurons_ : int
    n_iter_ : int
        Rounds of column generation, or Newton steps, over all outputs; at least 1.
    status_ : str
        "optimal", "uncertified", "time_limit", "iteration_limit", "stalled", "inaccurate" or
        "interrupted": the worst of the outputs'.
    classes_ : (n_classes,) array
    n_features_in_ : int
    feature_names_in_ : (d,) array
        Where X has names of columns that are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from jensen.fit import ConvexReLUClassifier
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> model = ConvexReLUClassifier(regularisation=0.01, random_state=0).fit(X, abs(X[:, 0]) > 0.5)
    >>> model.status_, model.gap_ <= 1e-3, model.score(X, abs(X[:, 0]) > 0.5) > 0.9
    ('optimal', True, True)
    """

    def __init__(
        self,
        regularisation: float = 0.05,
        *,
        relative: bool = True,
        loss: str | Loss = "logistic",
        fit_intercept: bool = True,
        patterns: Any = "all",
        tolerance: float = 1e-3,
        certify: bool | str = "auto",
        max_iter: int = 1000,
        time_limit: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.regularisation = regularisation
        self.relative = relative
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.patterns = patterns
        self.tolerance = tolerance
        self.certify = certify
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.random_state = random_state
        self.verbose = verbose


class GatedReLUClassifier(GatedNeurons, Classification):
    """Classification by gated ReLU networks, trained to the global optimum.

    The network sum_i 1[x . g_i + c_i > 0] (x . w_i + b_i) a_i has fixed gates (g, c). It minimises

        sum_j omega_j loss(o_j, y_j) + lambda sum_i |(w_i, b_i)| |a_i|

    with sample weights omega of sum 1: a group lasso (Mishkin, Sahiner and Pilanci, "Fast convex
    optimization for two-layer ReLU networks", ICML 2022).

    More than two classes are as many problems, of each class against the rest, with neurons of their own.
    `objective_` is the sum of theirs. Scale features first (`StandardScaler`): regularisation treats them
    alike.

    Parameters
    ----------
    regularisation : float, default 0.05
        lambda, or a part of the critical lambda: see `relative`.
    relative : bool, default True
        Take `regularisation` as a part of the critical lambda, at which the network is zero, so that one
        value does for many data. False takes it as lambda itself.
    loss : str or Loss, default "logistic"
        "logistic", "hinge", or "squared" and "huber" for targets of -1 and 1.
    fit_intercept : bool, default True
        Give hidden neurons a bias, which is regularised as the other weights are. The output has none.
    patterns : int or array, default 100
        Number of Gaussian directions that gates are made of; or directions (P, d), or (P, d + 1) with a
        bias, last.
    tolerance : float, default 1e-3
        Relative duality gap at which to stop.
    max_iter : int, default 1000
        Newton steps.
    time_limit : float, optional
        Seconds for `fit`, shared by the outputs; the best network so far is kept, with a warning.
    random_state : int, RandomState or None, default None
        Draws the directions.
    verbose : bool, default False
        Show on the terminal how training goes; nothing in a pipe.

    Attributes
    ----------
    hidden_weights_ : (n_neurons, d) array
    hidden_biases_ : (n_neurons,) array
    gate_weights_ : (n_neurons, d) array
    gate_biases_ : (n_neurons,) array
    output_weights_ : (n_neurons,) array, or (n_neurons, k) for k > 2 classes
        Of every row one entry is not zero.
    offset_ : float or (k,) array
        Added to outputs: zero.
    regularisation_ : float or (k,) array
        lambda.
    objective_ : float
        Sum over outputs.
    lower_bound_ : float
        Of the optimum over networks with these gates, in float64.
    gap_ : float
        objective_ - lower_bound_, relative to objective_.
    n_neurons_ : int
    n_iter_ : int
        Newton steps, over all outputs; at least 1.
    status_ : str
        "optimal", "time_limit", "iteration_limit", "inaccurate" or "interrupted": the worst of the
        outputs'.
    classes_ : (n_classes,) array
    n_features_in_ : int
    feature_names_in_ : (d,) array
        Where X has names of columns that are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from jensen.fit import GatedReLUClassifier
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> model = GatedReLUClassifier(regularisation=0.01, random_state=0).fit(X, abs(X[:, 0]) > 0.5)
    >>> model.status_, model.gap_ <= 1e-3, model.score(X, abs(X[:, 0]) > 0.5) > 0.9
    ('optimal', True, True)
    """

    def __init__(
        self,
        regularisation: float = 0.05,
        *,
        relative: bool = True,
        loss: str | Loss = "logistic",
        fit_intercept: bool = True,
        patterns: Any = 100,
        tolerance: float = 1e-3,
        max_iter: int = 1000,
        time_limit: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.regularisation = regularisation
        self.relative = relative
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.patterns = patterns
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.random_state = random_state
        self.verbose = verbose
