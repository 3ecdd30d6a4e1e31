"""A small tree of tests, and the reports of both of its tiers as pytest writes them here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["REPORTS", "write_tree"]

REPORTS = Path("runs", "tests")

CONFIGURATION = """
[pytest]
addopts = --import-mode=importlib --strict-markers -m 'not system and not prove'
markers =
    system
    containers
    prove
"""

GOOD = """
import pytest


@pytest.mark.parametrize("text", ["one", "a[1]", "a::b"])
def test_numbers(text):
    assert text


class TestThings:
    def test_inside(self):
        pass


@pytest.mark.prove
def test_for_hours():
    pass
"""

BAD = """
import pytest


@pytest.fixture
def broken():
    yield
    raise OSError("gone")


def test_wrong():
    assert 1 == 2


def test_wrong_at_the_end(broken):
    pass


@pytest.mark.parametrize("n", [1, 2])
def test_one_of_two_is_wrong(n):
    assert n == 1


@pytest.mark.skip(reason="not today")
def test_of_another_day():
    pass


@pytest.mark.xfail
def test_known_to_be_wrong():
    assert 1 == 2
"""

SERVICES = """
import pytest

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("error")]


def test_service():
    pass


@pytest.mark.containers
def test_in_a_container():
    pass
"""


def write_tree(root: Path) -> Path:
    """Write `root` and run its tests: the first tier on two workers, the other one without containers."""
    (root / "pytest.ini").write_text(CONFIGURATION)
    (root / "tests" / "deep").mkdir(parents=True)
    for name, text in (("test_good", GOOD), ("test_bad", BAD), ("deep/test_services", SERVICES)):
        (root / "tests" / f"{name}.py").write_text(text)
    _run(root, "test", "-p", "xdist", "-n", "2", "--dist", "loadfile")
    _run(root, "test-system", "-m", "system and not containers")
    return root


def _run(root: Path, tier: str, *options: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--junitxml={REPORTS / tier}.xml",
            *options,
        ],
        cwd=root,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        timeout=240,
    )
