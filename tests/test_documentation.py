"""The examples in the docstrings of the public names run, and the pages name what exists."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
PAGE = (HOME / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = re.findall(r"auto(?:class|function):: (quasar_mass[\w.]+)", PAGE)


def target(name: str) -> object:
    """The object that a dotted name stands for."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_public_names_run(name):
    documented = target(name)
    assert documented.__doc__, f"{name} has no docstring"
    module = importlib.import_module(documented.__module__)
    for test in doctest.DocTestFinder(recurse=True).find(documented, name, module=module):
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test)
        assert result.failed == 0, f"{test.name}: {result.failed} of {result.attempted} examples failed"


def test_public_names_are_documented():
    import quasar_mass

    for name in quasar_mass.__all__:
        assert getattr(quasar_mass, name).__doc__
        assert name in PAGE
