"""`make evidence` writes what ran, and its check finds a page that is stale or says more than ran."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.docs.loading import load
from tests.pipelines.reports import REPORTS, write_tree

GOOD, BAD, SERVICES = "tests/test_good.py", "tests/test_bad.py", "tests/deep/test_services.py"
SERVICE, CONTAINER = f"{SERVICES}::test_service", f"{SERVICES}::test_in_a_container"


evidence = load("qualifications")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("ran"))


@pytest.fixture
def tree(ran: Path, tmp_path: Path) -> Path:
    """A tree with the reports of its tests, two rows and their page, which is current."""
    root = tmp_path / "tree"
    shutil.copytree(ran, root)
    (root / "docs").mkdir()
    rows(root, ("Numbers", GOOD, "ran"), ("Services", SERVICE, "rendered"), ("Moon", "", ""))
    assert evidence.main([], root=root) == 0
    return root


def rows(root: Path, *given: tuple[str, str, str]) -> None:
    lines = ["- area: All", "  asks:"]
    for ask, tests, at_most in given:
        lines += [f"    - ask: {ask}"]
        if tests:
            lines += ["      where: [tests]", "      command: make test", f"      tests: [{tests}]"]
            lines += [f"      at_most: {at_most}"]
    (root / "docs" / "qualifications.yaml").write_text("\n".join(lines))


def page(root: Path) -> str:
    text: str = (root / "docs" / "qualifications.md").read_text()
    return text


def check(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], list[str]]:
    """The exit code, the lines on stdout, those on stderr."""
    capsys.readouterr()
    code = evidence.main(["--check", *words], root=root)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def row(root: Path, ask: str) -> str:
    return next(line for line in page(root).splitlines() if line.startswith(f"| {ask} |"))


def aged(root: Path, days: int) -> None:
    record = [
        {**entry, "day": str(datetime.now(UTC).date() - timedelta(days))}
        for entry in evidence.msgspec.json.decode((root / "docs" / "evidence.json").read_bytes())
    ]
    (root / "docs" / "evidence.json").write_bytes(evidence.msgspec.json.encode(record))
    (root / "docs" / "qualifications.md").write_text(
        evidence.render(evidence.read(root), evidence.recorded(root))
    )


def test_the_page_has_level_day_and_number_of_what_ran(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = next(shown.day for shown in evidence.recorded(tree))
    shown = f"**ran** {day}, 4 tests (1 more only in `make prove`): [test_good](../{GOOD})"
    assert row(tree, "Numbers").endswith(f"| `make test` | {shown} |")
    assert f"**rendered** {day}, 1 test: [test_services]" in row(tree, "Services")
    assert row(tree, "Moon") == "| Moon |  |  | not yet |"
    assert "Of 3 rows: 1 ran, 1 rendered, 1 not yet." in page(tree)
    assert check(tree, capsys) == (0, [], [])


def test_an_old_page_is_current_while_its_tests_run(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(tree, 1000)
    assert check(tree, capsys) == (0, [], [])


def test_a_day_that_is_still_to_come_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(tree, -2)
    code, _, wrong = check(tree, capsys)
    assert code == 1 and len(wrong) == 2 and all("which is still to come" in line for line in wrong)


def test_a_number_of_tests_that_did_not_run_is_refused(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = evidence.recorded(tree)
    more = [msgspec.structs.replace(shown, passed=shown.passed + 1) for shown in record]
    (tree / "docs" / "evidence.json").write_bytes(msgspec.json.encode(more))
    (tree / "docs" / "qualifications.md").write_text(evidence.render(evidence.read(tree), more))
    code, _, wrong = check(tree, capsys)
    assert code == 1 and "Services: the page says 2 tests, but it was 1 test; run make evidence" in wrong[1]


def test_tests_that_only_make_prove_runs_are_told_of_and_not_counted(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "4 tests (1 more only in `make prove`): [test_good]" in row(tree, "Numbers")
    good = tree / GOOD
    good.write_text(f"{good.read_text()}\n\n@pytest.mark.prove\ndef test_for_days():\n    pass\n")
    code, _, wrong = check(tree, capsys)
    assert code == 1 and "but it was 4 tests (2 more only in `make prove`); run make evidence" in wrong[0]


def test_a_row_whose_tests_did_not_pass_is_not_yet(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(tree, ("Numbers", f"{GOOD}, {BAD}", "ran"))
    assert evidence.main([], root=tree) == 0
    assert row(tree, "Numbers").endswith("| not yet |")
    assert check(tree, capsys) == (0, [], [])


@pytest.mark.parametrize(
    ("test", "word"),
    [
        (f"{BAD}::test_wrong", "failed"),
        (f"{BAD}::test_of_another_day", "was skipped"),
        (CONTAINER, "did not run"),
    ],
)
def test_a_page_that_claims_more_than_ran_is_found(
    tree: Path, capsys: pytest.CaptureFixture[str], test: str, word: str
) -> None:
    claimed = (tree / "docs" / "evidence.json").read_text().replace(SERVICE, test)
    (tree / "docs" / "evidence.json").write_text(claimed)
    rows(tree, ("Numbers", GOOD, "ran"), ("Services", test, "rendered"), ("Moon", "", ""))
    (tree / "docs" / "qualifications.md").write_text(
        evidence.render(evidence.read(tree), evidence.recorded(tree))
    )
    code, _, wrong = check(tree, capsys)
    assert (code, wrong) == (1, [f"evidence: Services: the page says rendered, but {test} {word}"])


def test_what_is_rendered_does_not_become_more_by_hand(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("evidence.json", "qualifications.md"):
        path = tree / "docs" / name
        path.write_text(path.read_text().replace("rendered", "ran"))
    code, _, wrong = check(tree, capsys)
    assert code == 1
    assert "docs/qualifications.md is stale; run make evidence" in wrong[-1]


def test_a_page_changed_by_hand_is_stale(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "docs" / "qualifications.md").write_text(page(tree).replace("4 tests", "40 tests"))
    assert check(tree, capsys) == (1, [], ["evidence: docs/qualifications.md is stale; run make evidence"])
    (tree / "docs" / "qualifications.md").unlink()
    assert check(tree, capsys)[0] == 1


def test_a_row_that_changed_is_asked_for_again(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(tree, ("Numbers", f"{GOOD}, {SERVICE}", "ran"), ("Services", SERVICE, "rendered"), ("Moon", "", ""))
    code, _, wrong = check(tree, capsys)
    assert code == 1
    assert wrong[0] == (
        "evidence: Numbers: the page says not yet, but its tests ran and passed; run make evidence"
    )
    assert f"no row asks for now ({GOOD})" in wrong[1]
    assert evidence.main([], root=tree) == 0
    assert check(tree, capsys) == (0, [], [])


def test_a_reworded_row_keeps_its_evidence_without_a_run(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = evidence.recorded(tree)
    shutil.rmtree(tree / REPORTS)
    rows(tree, ("Figures", GOOD, "ran"), ("Services", SERVICE, "rendered"))
    assert evidence.main([], root=tree) == 0
    assert evidence.recorded(tree) == before
    assert "4 tests" in row(tree, "Figures")


def test_a_run_of_some_tests_leaves_the_other_rows(tree: Path) -> None:
    aged(tree, 90)
    old = row(tree, "Services")
    (tree / REPORTS / "test-system.xml").unlink()
    assert evidence.main([], root=tree) == 0
    assert row(tree, "Services") == old
    assert str(datetime.now(UTC).date() - timedelta(90)) not in row(tree, "Numbers")


def test_what_cannot_run_here_is_told_and_rests_on_the_last_run_for_some_time(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claimed = (tree / "docs" / "evidence.json").read_text().replace(SERVICE, CONTAINER)
    (tree / "docs" / "evidence.json").write_text(claimed)
    rows(tree, ("Numbers", GOOD, "ran"), ("Services", CONTAINER, "rendered"), ("Moon", "", ""))
    aged(tree, 60)
    day = datetime.now(UTC).date() - timedelta(60)
    told = f"NOT RUN: Services: {CONTAINER} cannot run here; the page says rendered, {day}"
    assert check(tree, capsys, "--without", "containers") == (0, [told], [])
    assert check(tree, capsys)[0] == 1

    aged(tree, 61)
    code, _, wrong = check(tree, capsys, "--without", "containers")
    assert code == 1
    assert "last ran 61 days ago" in wrong[0]
    assert evidence.main(["--without", "containers"], root=tree) == 0
    assert row(tree, "Services").endswith("| not yet |")
    told = f"NOT RUN: Services: {CONTAINER} cannot run here; the page says not yet"
    assert check(tree, capsys, "--without", "containers") == (0, [told], [])


def test_a_row_that_names_no_test_says_which(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / SERVICES).unlink()
    for words in ([], ["--check"]):
        capsys.readouterr()
        assert evidence.main(words, root=tree) == 2
        assert capsys.readouterr().err.splitlines() == [
            f"evidence: docs/qualifications.yaml: Services: {SERVICE} names no test of either tier; "
            "name what shows it now, or take where, command and tests away"
        ]


def test_without_reports_nothing_is_checked(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tree / REPORTS)
    code, _, wrong = check(tree, capsys)
    assert (code, wrong) == (2, [f"evidence: {tree / REPORTS}: no reports of tests; run .ci/run"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docs/qualifications.yaml", "- area: All\n  asks: [{ask: Numbers, evidence: ran}]"),
        ("docs/qualifications.yaml", "- ["),
        ("docs/evidence.json", "{}"),
        ("docs/evidence.json", ""),
        ("runs/tests/test.xml", "<testsuites>"),
    ],
)
def test_a_file_that_is_broken_is_one_line_and_nothing_is_written(
    tree: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tree / name).write_text(text)
    before = page(tree)
    capsys.readouterr()
    assert evidence.main([], root=tree) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"evidence: {tree / name}: ")
    assert page(tree) == before


def test_a_fork_begins_without_a_record(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "docs" / "evidence.json").unlink()
    assert check(tree, capsys)[0] == 1
    assert evidence.main([], root=tree) == 0
    assert check(tree, capsys) == (0, [], [])
