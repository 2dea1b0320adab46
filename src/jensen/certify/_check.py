"""The function `check`: one question in, one verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, cast

from jensen.certify._arguments import check_choices, check_seconds, check_wrt
from jensen.certify._by_rules import Asked, check_program, is_no_network, read_refused
from jensen.certify._choice import Method
from jensen.certify._journal import Journal
from jensen.certify._pipeline import Pipeline
from jensen.certify._progress import Callback, Clock
from jensen.certify._verdict import Verdict
from jensen.errors import ArgumentError, ModelFileError, NetworkError, UnsupportedOperatorError
from jensen.network import Domain, ReLUNetwork, WholeSpace, as_network


def check(
    model: Any,
    domain: Domain | None = None,
    wrt: Sequence[int] | None = None,
    time_limit: float | None = None,
    *,
    output: int | None = None,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    method: Method = "auto",
    exact: bool | None = None,
    resume: str | PathLike[str] | None = None,
    progress: Callback | None = None,
    argument: int | Sequence[int] | None = None,
) -> Verdict:
    """Decide whether a neural network is convex on a domain.

    The stages for ReLU networks, cheapest first: signs of the weights (decides every ICNN), sampling for a
    violation, sound bounds, branch and bound over the signs of undecided neurons, enumeration of all
    frontiers. With enough time the check always decides. Other torch models, smooth ones and those with
    several inputs, are judged by rules on signs and curvature (`jensen.curvature`), which decide every
    architecture of `jensen.nn` that is convex by construction; then a violation is looked for, and proved by
    interval arithmetic. What is neither remains "unknown".

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, ReLUNetwork, path or list of arrays
    domain : Domain, optional
        The whole space by default.
    wrt : sequence of int, optional
        Inputs in which convexity is asked, the others being held at any value; all by default.
    time_limit : float, optional
        Seconds after which the answer is "unknown", with what was established.
    output : int, optional
        Which output of a model with several.
    input_shape : sequence of int, optional
        Shape of one input without the batch dimension, where the model does not tell it.
    n_jobs : int, optional
        Processes for branch and bound, as in joblib: None is 1 unless a `joblib.parallel_config` says
        otherwise, -1 all cores.
    seed : int, default 0
        Seed of the sampling; the verdict does not depend on it, the witness does.
    method : {"auto", "branch", "enumerate"}
        Which complete stage to use once the cheap ones have not decided.
    exact : bool, optional
        Whether "convex" must come with a certificate, replayed in rational arithmetic. True: nothing else
        counts, however long it takes. False: none is made, and the kind is "convex_float": proved, but
        with rounding errors bounded instead of replayed. By default a certificate is made unless that would
        take longer than the search (and 5 seconds); branch and bound makes it on the way.
    resume : path, optional
        A file that takes down every proved case as it comes, so that the same call goes on where an earlier
        one was interrupted or killed. The search is then branch and bound.
    progress : callable, optional
        Called with a `Progress` now and then.
    argument : int or sequence of int, optional
        Of a model with several inputs: those in which convexity is asked, the others being held at any value;
        domain and `wrt` then speak of their entries, one input after the other. By default all, or those that
        a module of `jensen.nn` is convex in. `input_shape` is a list of shapes, one for each input, where
        the model does not tell them.

    Returns
    -------
    Verdict
        An interrupt (Ctrl-C) gives a verdict of kind "unknown" with what was established.

    Raises
    ------
    NetworkError, UnsupportedOperatorError, ModelFileError
        If the model cannot be read.
    ArgumentError
        If another argument makes no sense.
    DomainError
        If the domain is empty or does not fit the model, or `wrt` names inputs that it does not have.

    JournalError
        If the file to resume from belongs to another check, is in use, or cannot be written.

    Notes
    -----
    f is convex iff, across every frontier, the slope does not decrease; for a frontier on which neuron v
    alone switches that is (1 - a_v) g_v >= 0 with g_v = df/dh_v and a_v the slope of v's activation below
    zero (Gagneux, Massias, Soubies and Gribonval, "Convexity in ReLU Neural Networks: beyond ICNNs?").

    Examples
    --------
    >>> import jensen
    >>> net = jensen.from_arrays([[[1.0], [-1.0]], [[1.0, 1.0]]])
    >>> jensen.check(net).kind
    'convex'
    """
    check_choices(domain, method, n_jobs, seed, exact, resume, progress)
    clock = Clock(check_seconds(time_limit))
    asked = Asked(
        domain or WholeSpace(), wrt, output, argument, input_shape, exact, seed, clock.left, progress
    )
    if is_no_network(model, input_shape) or argument is not None:
        from jensen.program import read_program

        _refuse_journal(resume)
        return check_program(model, read_program(model, input_shape), asked)
    try:
        lowered = as_network(model, output=output, input_shape=cast(Sequence[int] | None, input_shape))
    except (UnsupportedOperatorError, NetworkError, ModelFileError) as refusal:
        program = read_refused(model, input_shape, refusal)
        _refuse_journal(resume)
        smooth = refusal if isinstance(refusal, UnsupportedOperatorError) else None
        return check_program(model, program, asked, smooth)
    network, where = lowered.network, domain or WholeSpace()
    chosen = check_wrt(wrt, network.input_size)
    deviation = None if isinstance(model, ReLUNetwork) else lowered.deviation
    pipeline = Pipeline(network, where, chosen, clock, n_jobs, seed, exact, progress)
    if resume is None:
        return pipeline.decide(method, deviation)
    pipeline.journal = Journal(resume, network, where, chosen)
    try:
        return pipeline.decide("branch", deviation)
    finally:
        pipeline.journal.close()


def _refuse_journal(resume: str | PathLike[str] | None) -> None:
    if resume is not None:
        raise ArgumentError("rules take no time that could be resumed: leave out resume for this model")
