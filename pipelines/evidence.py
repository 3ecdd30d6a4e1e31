"""What tests have shown, from pytest's JUnit reports: which of those that are named passed, failed, or did not run.

A report tells only of tests that were chosen. Which ones there are is read from the test files themselves, so that one
that was deselected, renamed or deleted is missed instead of forgotten. Tests that a file makes while it is imported
(Hypothesis' state machines) are not seen in it. Of a test's parameters those that ran are counted.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import msgspec

from mlops.errors import ConfigError, InputError

__all__ = ["Case", "Finding", "Named", "Report", "find", "named_tests", "read_reports"]

Outcome = Literal["passed", "failed", "skipped"]
_OUTCOMES: Mapping[str, Outcome] = {"failure": "failed", "error": "failed", "skipped": "skipped"}
_IN_NO_TIER = "prove"  # tests of so many minutes that neither tier has them

Key = tuple[str, str]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a test, with one set of parameters. An expected failure counts as skipped: it did not pass."""

    outcome: Outcome
    day: date


Report = Mapping[Key, Mapping[str, Case]]
"""By dotted module (and class) and function: cases by their whole name."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A test as it stands in its file, with its own marks and those of its class and module."""

    node: str
    key: Key
    marks: frozenset[str]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What reports say of some tests. Node ids each; `oldest` is the first day on which one of them ran.

    `apart` is how many more tests the same places hold that are in no tier: no report of a tier tells of them.
    """

    passed: int = 0
    apart: int = 0
    oldest: date | None = None
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    not_here: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every test ran and passed."""
        return self.passed > 0 and not (self.failed or self.skipped or self.absent or self.not_here)


def read_reports(folder: Path) -> Report:
    """What the `*.xml` of a folder say together; where two tell of the same case, the later one counts.

    Raises:
        InputError: one of them is no JUnit report.
    """
    found: dict[Key, dict[str, Case]] = {}
    reports = [_read(path) for path in sorted(folder.glob("*.xml"))]
    for _, cases in sorted(reports, key=lambda report: report[0]):
        for (key, name), case in cases.items():
            found.setdefault(key, {})[name] = case
    return found


def _read(path: Path) -> tuple[datetime, dict[tuple[Key, str], Case]]:
    """When a report was begun, and its cases: a test that has several entries is as bad as the worst of them."""
    cases: dict[tuple[Key, str], Case] = {}
    begun = datetime.max.replace(tzinfo=UTC)
    try:
        for suite in ElementTree.parse(path).iter("testsuite"):
            at = datetime.fromisoformat(suite.attrib["timestamp"]).astimezone(UTC)
            begun = min(begun, at)
            for entry in suite.iter("testcase"):
                name = entry.attrib["name"]
                place = (entry.attrib["classname"], name.partition("[")[0]), name
                outcomes: list[Outcome] = [_OUTCOMES[child.tag] for child in entry if child.tag in _OUTCOMES]
                if place in cases:
                    outcomes.append(cases[place].outcome)
                cases[place] = Case(outcome=min(outcomes, default="passed", key=_badness), day=at.date())
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"no XML: {error}", where=path, todo="run those tests again") from None
    except (KeyError, ValueError) as error:
        raise InputError(f"no report of pytest: {error}", where=path, todo="run those tests again") from None
    return begun, cases


def _badness(outcome: Outcome) -> int:
    return ("failed", "skipped", "passed").index(outcome)


def named_tests(root: Path, selector: str) -> tuple[Named, ...]:
    """The tests of both tiers that `selector` names: a folder, a file, or `file::[Class::]function`, from `root`.

    Raises:
        ConfigError: there is no such test.
        InputError: a file cannot be parsed.
    """
    tests = tuple(test for test in _all_tests(root, selector) if _IN_NO_TIER not in test.marks)
    if not tests:
        raise ConfigError("names no test of either tier", where=selector)
    return tests


def _all_tests(root: Path, selector: str) -> Iterator[Named]:
    place, *inner = selector.split("::")
    path = root / place
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        for test in _tests_in(file, file.relative_to(root).as_posix()):
            if test.node.split("::")[1:][: len(inner)] == inner:
                yield test


def _tests_in(file: Path, place: str) -> Iterator[Named]:
    """Every test function of a file, also those in classes, as pytest would collect them."""
    try:
        tree = ast.parse(file.read_bytes(), place)
    except SyntaxError as error:
        raise InputError(f"is no Python: {error.msg}", where=f"{place}:{error.lineno}") from None
    module = place.removesuffix(".py").replace("/", ".")
    yield from _within(tree.body, place, module, _module_marks(tree))


def _within(body: Sequence[ast.stmt], node: str, dotted: str, marks: frozenset[str]) -> Iterator[Named]:
    for item in body:
        if isinstance(item, ast.ClassDef) and item.name.startswith("Test"):
            own = marks | _marks(item.decorator_list)
            yield from _within(item.body, f"{node}::{item.name}", f"{dotted}.{item.name}", own)
        elif isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and item.name.startswith("test"):
            own = marks | _marks(item.decorator_list)
            yield Named(node=f"{node}::{item.name}", key=(dotted, item.name), marks=own)


def _module_marks(tree: ast.Module) -> frozenset[str]:
    """The names in `pytestmark = pytest.mark.name` or a list of such."""
    values = [
        item.value
        for item in tree.body
        if isinstance(item, ast.Assign) and [ast.unparse(target) for target in item.targets] == ["pytestmark"]
    ]
    return frozenset().union(
        *(_marks(value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]) for value in values)
    )


def _marks(expressions: Iterable[ast.expr]) -> frozenset[str]:
    texts = (ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in expressions)
    return frozenset(text.removeprefix("pytest.mark.") for text in texts if text.startswith("pytest.mark."))


def find(root: Path, selectors: Iterable[str], report: Report, *, without: Collection[str] = ()) -> Finding:
    """What `report` says of the tests that `selectors` name.

    Args:
        without: marks of tests that cannot run on this machine; those are told apart from the ones that did not run.

    Raises:
        ConfigError: a selector names no test.
    """
    selectors = list(selectors)
    tests = {test.key: test for selector in selectors for test in named_tests(root, selector)}
    every = {test.key for selector in selectors for test in _all_tests(root, selector)}
    cases = {key: tuple(report.get(key, {}).values()) for key in tests}

    def nodes(*keys: Key) -> tuple[str, ...]:
        return tuple(tests[key].node for key in keys)

    missing = [key for key in tests if not cases[key]]
    excused = [key for key in missing if tests[key].marks & set(without)]
    return Finding(
        passed=sum(case.outcome == "passed" for ran in cases.values() for case in ran),
        apart=len(every - tests.keys()),
        oldest=min((case.day for ran in cases.values() for case in ran), default=None),
        failed=nodes(*(key for key in tests if any(case.outcome == "failed" for case in cases[key]))),
        skipped=nodes(*(key for key in tests if any(case.outcome == "skipped" for case in cases[key]))),
        absent=nodes(*(key for key in missing if key not in excused)),
        not_here=nodes(*excused),
    )
