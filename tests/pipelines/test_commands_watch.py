"""`mlops retrain --if-due`, as a schedule calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.results import RetrainRequest
from monitoring.rules import REQUEST, request_retrain
from tests.command import exit_code


def _retrain(capsys: pytest.CaptureFixture[str], home: Path, *more: str) -> tuple[int, str, str]:
    """Exit code, standard output and error."""
    code = exit_code("--home", home, "retrain", "--as-of", "2018-07-20", *more)
    said = capsys.readouterr()
    return code, said.out, said.err


def _ask(home: Path, not_before: str) -> None:
    (home / "monitoring").mkdir(parents=True)
    request_retrain(
        home / "monitoring",
        RetrainRequest(
            reason="precision fell",
            evidence={"average_precision": 0.4},
            requested_on="2018-07-01",
            train_from="2018-06-01",
            not_before=not_before,
        ),
    )


def test_no_request_is_a_plain_line_and_no_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _retrain(capsys, tmp_path, "--if-due") == (0, "no request is due: nothing to do\n", "")
    assert _retrain(capsys, tmp_path, "--if-due", "--json") == (0, "null\n", "")
    code, _, error = _retrain(capsys, tmp_path)
    assert code == 2 and "no request is due" in error


def test_a_home_that_is_not_there_is_no_home_without_a_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, error = _retrain(capsys, tmp_path / "none", "--if-due")
    assert (code, out) == (2, "") and f"{tmp_path / 'none'}: no such home" in error


def test_a_request_whose_day_has_not_come_is_left_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _ask(tmp_path, "2018-07-21")
    before = (tmp_path / "monitoring" / REQUEST).read_bytes()
    assert _retrain(capsys, tmp_path, "--if-due")[0] == 0
    assert (tmp_path / "monitoring" / REQUEST).read_bytes() == before


def test_a_request_that_is_due_is_acted_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing was served in this home, so that acting on it fails, and says so."""
    _ask(tmp_path, "2018-07-20")
    code, out, error = _retrain(capsys, tmp_path, "--if-due")
    assert code == 2 and "is due" not in out and "no logs" in error


def test_a_damaged_request_is_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "monitoring").mkdir()
    (tmp_path / "monitoring" / REQUEST).write_text("neither JSON")
    code, _, error = _retrain(capsys, tmp_path, "--if-due")
    assert code == 2 and REQUEST in error
