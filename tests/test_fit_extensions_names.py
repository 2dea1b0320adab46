"""Every public name of `jensen.fit` is there and documented."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import jensen.fit
import jensen.fit.ancestors
import jensen.fit.extensions


def _parameters(subject: object) -> list[str]:
    return [
        name
        for name, one in inspect.signature(subject).parameters.items()  # type: ignore[arg-type]
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _documented(text: str) -> set[str]:
    """Names at the head of entries, "one, two : type"."""
    heads = re.findall(r"^(\w+(?:, \w+)*)(?: :|$)", inspect.cleandoc(text), re.MULTILINE)
    return {name for head in heads for name in head.split(", ")}


PAGE = Path(__file__).parent.parent / "docs" / "fit_extensions.md"


@pytest.mark.parametrize("name", jensen.fit.__all__)
def test_a_public_name_resolves_and_has_a_numpydoc_docstring(name: str) -> None:
    subject = getattr(jensen.fit, name)
    assert subject.__name__ == name
    text = subject.__doc__
    assert text
    assert text.strip().split("\n")[0].rstrip().endswith((".", ":"))
    if inspect.isfunction(subject):
        wanted = _parameters(subject)
        assert not wanted or "Parameters\n" in text or len(wanted) <= 3
        if "Parameters\n" in text:
            assert set(wanted) <= _documented(text)
        assert inspect.signature(subject).return_annotation is not inspect.Signature.empty
    elif dataclasses.is_dataclass(subject) and dataclasses.fields(subject):
        assert {field.name for field in dataclasses.fields(subject) if field.init} <= _documented(text) | {
            "name"
        }


def test_all_is_sorted_without_repetition() -> None:
    names = jensen.fit.__all__
    assert len(set(names)) == len(names)
    assert names == sorted(names, key=lambda name: (name[0].islower(), name))


@pytest.mark.parametrize("package", [jensen.fit.extensions, jensen.fit.ancestors])
def test_every_trainer_of_the_extensions_is_public(package: object) -> None:
    """What fits, solves or evaluates under a public name of its file is a public name of the package."""
    trainers = set()
    for info in pkgutil.iter_modules(package.__path__):  # type: ignore[attr-defined]
        module = importlib.import_module(f"{package.__name__}.{info.name}")  # type: ignore[attr-defined]
        trainers |= {
            name
            for name, one in vars(module).items()
            if inspect.isfunction(one)
            and one.__module__ == module.__name__
            and re.match(r"fit_|solve_|evaluate_", name)
            and name != "fit_coefficients"
        }
    assert trainers
    assert trainers <= set(jensen.fit.__all__)


def test_all_code_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})


@pytest.mark.parametrize("name", ["fit_batch_norm_after", "fit_mixture", "fit_parallel_network"])
def test_examples_in_docstrings(name: str) -> None:
    subject = getattr(jensen.fit, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(subject, name, module=False, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
