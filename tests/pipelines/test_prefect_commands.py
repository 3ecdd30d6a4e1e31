"""What `mlops prefect` says before it has anything to do with a server, and what Prefect's own commands tell nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.quiet import SWITCHES
from mlops.settings import Settings
from pipelines import prefect_pool, prefect_server
from pipelines.cli import main
from pipelines.event_places import is_missing, told
from pipelines.flows import home_resource
from pipelines.prefect_pool import owner_of

ROOT = Path(__file__).resolve().parents[2]


def test_events_that_are_not_there_are_refused_before_a_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prefect_server, "running", None)  # what would start it
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path / "home"), "prefect", "run", "--events", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"mlops: {tmp_path / 'nowhere'}: no such file or folder\n"
    assert not (tmp_path / "home").exists()


def test_a_password_in_the_events_address_is_refused_before_a_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prefect_server, "running", None)  # what would start it
    monkeypatch.setattr(prefect_pool, "get_client", None)  # what would ask one
    for words in ("run", "deploy"):
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "--home",
                    str(tmp_path / "home"),
                    "prefect",
                    words,
                    "--events",
                    "https://ann:secret@host/raw",
                ]
            )
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("mlops: --events: holds a password, which Prefect would keep and show; give")
        assert "secret" not in said


def test_a_path_is_told_as_a_process_in_another_folder_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    assert told("events") == told((tmp_path / "events").as_uri()) == str(tmp_path / "events")
    assert told("s3://raw-events") == "s3://raw-events"
    assert [is_missing(each) for each in ("events", "other", "file:///nowhere", "s3://raw-events")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_pool_s_description_names_its_home_and_may_say_more() -> None:
    mine = home_resource(Settings(home=Path("/homes/one")))
    assert owner_of(mine) == owner_of(f"For payments.\n{mine}") == mine
    assert owner_of("For payments, of nobody's home.") is owner_of("") is None


def test_from_this_folder_prefect_s_own_commands_report_to_nobody() -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in SWITCHES and not name.startswith("PREFECT_")
    }
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "config", "view", "--show-defaults"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "PREFECT_SERVER_ANALYTICS_ENABLED='False'" in done.stdout.replace("\n", "")
