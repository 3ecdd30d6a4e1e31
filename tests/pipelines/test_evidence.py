"""What tests showed is read from reports that pytest really wrote, and what is not in them is missed."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlops.errors import ConfigError, InputError
from pipelines.evidence import Finding, find, named_tests, read_reports
from tests.pipelines.reports import REPORTS, write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"))


def found(tree: Path, *selectors: str, without: tuple[str, ...] = ()) -> Finding:
    return find(tree, selectors, read_reports(tree / REPORTS), without=without)


def test_parameters_and_classes_are_counted_by_the_day_of_their_report(tree: Path) -> None:
    finding = found(tree, "tests/test_good.py")
    assert finding.whole
    assert finding.passed == 4
    assert finding.oldest is not None
    assert abs((datetime.now(UTC).date() - finding.oldest).days) <= 1


@pytest.mark.parametrize(
    ("selector", "passed"),
    [
        ("tests/test_good.py::test_numbers", 3),
        ("tests/test_good.py::TestThings", 1),
        ("tests/test_good.py::TestThings::test_inside", 1),
        ("tests/deep/test_services.py::test_service", 1),
    ],
)
def test_a_part_of_a_file_can_be_named(tree: Path, selector: str, passed: int) -> None:
    assert found(tree, selector) == Finding(passed=passed, oldest=found(tree, selector).oldest)


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("test_wrong", "failed"),
        ("test_wrong_at_the_end", "failed"),
        ("test_one_of_two_is_wrong", "failed"),
        ("test_of_another_day", "skipped"),
        ("test_known_to_be_wrong", "skipped"),
    ],
)
def test_what_did_not_pass_is_named(tree: Path, test: str, kind: str) -> None:
    node = f"tests/test_bad.py::{test}"
    finding = found(tree, node)
    assert getattr(finding, kind) == (node,)
    assert not finding.whole


def test_one_test_that_did_not_pass_spoils_the_file(tree: Path) -> None:
    assert not found(tree, "tests/test_good.py", "tests/test_bad.py").whole


def test_a_deselected_test_is_missed_and_excused_only_by_its_mark(tree: Path) -> None:
    node = "tests/deep/test_services.py::test_in_a_container"
    assert found(tree, "tests/deep").absent == (node,)
    assert found(tree, "tests/deep", without=("services",)).absent == (node,)
    excused = found(tree, "tests/deep", without=("containers",))
    assert (excused.absent, excused.not_here, excused.whole) == ((), (node,), False)


def test_a_test_that_was_added_since_is_missed(tree: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(tree, newer)
    with (newer / "tests" / "test_good.py").open("a") as file:
        file.write("\n\ndef test_new():\n    pass\n")
    assert found(newer, "tests/test_good.py").absent == ("tests/test_good.py::test_new",)


def test_what_is_in_no_tier_is_no_evidence(tree: Path) -> None:
    assert [test.node for test in named_tests(tree, "tests/test_good.py") if "hours" in test.node] == []
    with pytest.raises(ConfigError, match="names no test of either tier"):
        named_tests(tree, "tests/test_good.py::test_for_hours")


@pytest.mark.parametrize(
    "selector", ["tests/test_gone.py", "tests/test_good.py::test_gone", "tests/none", "tests"]
)
def test_a_name_of_nothing_is_refused(tmp_path: Path, selector: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_good.py").write_text("def helper():\n    pass\n")
    with pytest.raises(ConfigError, match=f"{selector}: names no test"):
        named_tests(tmp_path, selector)


def test_without_reports_everything_is_missed(tree: Path, tmp_path: Path) -> None:
    assert read_reports(tmp_path / "none") == {}
    finding = find(tree, ["tests/test_good.py::TestThings"], {})
    assert finding == Finding(absent=("tests/test_good.py::TestThings::test_inside",))


@pytest.mark.parametrize(("first", "then", "whole"), [("<failure/>", "", True), ("", "<failure/>", False)])
@pytest.mark.parametrize("names", [("a.xml", "b.xml"), ("b.xml", "a.xml")])
def test_of_two_reports_the_later_counts_whatever_their_names(
    tree: Path, tmp_path: Path, first: str, then: str, whole: bool, names: tuple[str, str]
) -> None:
    _report(tmp_path / names[0], first, "2026-01-01T23:30:00-05:00")
    _report(tmp_path / names[1], then, "2026-01-02T05:00:00+00:00")
    finding = find(tree, ["tests/test_good.py::TestThings"], read_reports(tmp_path))
    assert (finding.whole, finding.oldest) == (whole, date(2026, 1, 2))


def test_a_test_told_of_twice_in_a_report_is_as_bad_as_the_worse(tree: Path, tmp_path: Path) -> None:
    case = '<testcase classname="tests.test_good.TestThings" name="test_inside"'
    _report(tmp_path / "a.xml", f'</testcase>{case}><error message="at the end"/></testcase>{case}>')
    assert find(tree, ["tests/test_good.py::TestThings"], read_reports(tmp_path)).failed


@pytest.mark.parametrize(
    "text", ["", "<testsuites><testsuite", "<testsuite/>", '<testsuite timestamp="yesterday"/>', "\x00\xff"]
)
def test_a_file_that_is_no_report_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cut.xml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"cut\.xml: no (XML|report of pytest).*run those tests again"):
        read_reports(tmp_path)


def _report(path: Path, child: str, time: str = "2026-01-01T00:00:00+00:00") -> None:
    case = f'<testcase classname="tests.test_good.TestThings" name="test_inside">{child}</testcase>'
    path.write_text(f'<testsuites><testsuite timestamp="{time}">{case}</testsuite></testsuites>')


def test_a_test_file_that_is_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_cut.py").write_text("def test_one():\n    (\n")
    with pytest.raises(InputError, match=r"test_cut\.py:2: is no Python"):
        named_tests(tmp_path, "test_cut.py")
