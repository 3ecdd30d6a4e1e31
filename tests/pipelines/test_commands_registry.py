"""Who answers is changed, and told, by commands that name who did it and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlops.deployment import read_deployment
from tests.command import exit_code
from tests.training import example
from tests.training.registered import House, Models
from training import tracking


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content; making them takes longer than a test."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking.client(example.settings(folder))
    return folder / "mlflow.db"


@pytest.fixture
def house(tmp_path: Path, empty_database: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> House:
    """A home with a champion, one before it, and a challenger."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    house = House(example.settings(tmp_path), models)
    for name, value in {
        "MLOPS_HOME": str(tmp_path),
        "MLOPS_USECASE": house.settings.usecase,
        "MLOPS_SIGNING_KEY": house.settings.signing_key,
        "MLOPS_USER": "ci",
    }.items():
        monkeypatch.setenv(name, value)
    house.promote(house.register(0))
    house.promote(house.register(1))
    house.register(2)
    return house


def mlops(*arguments: str) -> int:
    return exit_code(*arguments)


def test_rolling_back_and_rejecting_say_who_and_why(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert mlops("rollback", "--why", "false alarms doubled") == 0
    held = read_deployment(house.settings.pointer)
    assert held is not None and held.champion.version == "1"
    assert mlops("reject", "2", "--by", "ana", "--why", "so many") == 0
    assert mlops("rollback") == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "version 1 answers now, 2 before",
        "version 2 is rejected, by ana: so many",
    ]
    assert "version 2, the champion before this one, was rejected by ana" in captured.err
    assert "Traceback" not in captured.err

    assert mlops("history", "1") == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("version 1 → champion (roll back) by ci  false alarms doubled")
    )
    assert mlops("history", "--json") == 0
    steps = json.loads(capsys.readouterr().out)
    assert {step["by"] for step in steps} == {"tester", "ci", "ana"}
    assert steps[-1]["version"] == "2" and steps[-1]["action"] == "reject"


def test_rejecting_the_champion_or_an_unknown_version_is_refused_in_one_line(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mlops("reject", "2") == 2
    assert mlops("reject", "9") == 2
    assert mlops("history", "9") == 2
    champion, *unknown = capsys.readouterr().err.splitlines()
    assert "version 2: it is the champion; promote another, or go back with `mlops rollback`" in champion
    assert len(unknown) == 2 and all("no version '9' of model 'machines'" in line for line in unknown)


def test_the_status_tells_in_words(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert mlops("status") == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"champion version 2", "challenger version 3", "stage archived version 1"} <= set(told)
    assert "differs nowhere" in told


def test_the_status_says_what_rolling_back_would_do(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def told() -> str:
        assert mlops("status") == 0
        return " ".join(capsys.readouterr().out.split())

    assert "mlops rollback goes back to version 1, trees" in told()
    assert mlops("reject", "1", "--by", "ana") == 0
    assert "mlops rollback refused: version 1, the champion before this one, was rejected by ana" in told()
    assert mlops("rollback") == 2


@pytest.mark.parametrize("version", ["99", "abc", "1"])
def test_what_may_not_be_promoted_is_refused_before_the_store_is_filled(
    house: House, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    assert mlops("promote", version) == 2
    shown = capsys.readouterr()
    assert "backfill" not in shown.err and not (house.settings.home / "store").exists()
    assert ("or go back to the champion before" in shown.err) == (version == "1")


def test_nobody_is_sent_back_to_a_champion_that_cannot_come_back(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mlops("reject", "1") == 0
    assert mlops("promote", "1") == 2
    assert capsys.readouterr().err.endswith("; train again\n")
