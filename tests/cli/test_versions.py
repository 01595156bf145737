"""The oldest versions that are allowed are those that are tested, and the newest are allowed."""

import re
import tomllib
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]


def pins(name: str) -> dict[str, str]:
    """Package to exact version, of a requirements file."""
    lines = (HOME / name).read_text(encoding="utf-8").splitlines()
    return dict(match.groups() for match in (re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines) if match)


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def bounds() -> dict[str, str]:
    """Package to oldest version, of what this one needs, and of its extras but those for tests and SPARCL."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        one for name in ("train", "report", "notebook", "cluster") for one in project["optional-dependencies"][name]
    ]
    named = [one.split(";")[0].split(">=") for one in (*project["dependencies"], *extras)]
    return dict(one for one in named if len(one) == 2)


def test_the_oldest_versions_that_are_tested_are_the_oldest_allowed():
    oldest = pins("requirements-oldest.txt")
    for package, bound in bounds().items():
        tested = number(oldest[package])
        asked = number(bound)
        assert tested[: len(asked)] == asked, f"{package}: {bound} is allowed, {oldest[package]} is tested"
        assert not any(tested[len(asked) :]), f"{package}: the bound leaves out what {oldest[package]} leaves in"


def test_the_newest_versions_are_allowed():
    newest = pins("requirements.txt") | pins("requirements-test.txt")
    for package, bound in bounds().items():
        assert number(newest[package]) >= number(bound), package
