"""What `make doctor` makes of an installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import doctor


@pytest.mark.parametrize(("backend", "fits"), [("cpu", False), ("cu130", True)])
def test_torch_for_gpus_is_as_it_should_be_only_where_setup_was_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, fits: bool
) -> None:
    torch = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    (tmp_path / ".venv" / ".ready-0123").write_text(f"{backend}\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (found,) = (finding for finding in doctor.doctor() if finding.name == "torch")
    assert (found.ok, found.found) == (fits, "2.13.0+cu130, GPU build")
    assert bool(found.advice) is not fits


@pytest.mark.parametrize(("needed", "code", "word"), [(False, 0, "without"), (True, 1, "missing")])
def test_only_what_is_needed_fails_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], needed: bool, code: int, word: str
) -> None:
    found = [doctor.Finding("java", True, "17"), doctor.Finding("it", False, "none", "get it", needed)]
    monkeypatch.setattr(doctor, "doctor", lambda: found)
    assert doctor.main([]) == code
    assert capsys.readouterr().out.splitlines()[1] == f"{word}  it         none  -> get it"


def test_a_browser_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (found,) = (finding for finding in doctor.doctor() if finding.name == "chromium")
    assert (found.ok, found.needed) == (False, False)
