"""What Prefect's pages show: short figures, each verdict once, in one order, and paths that can be copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.settings import Settings
from pipelines import prefect_artifacts
from pipelines.release import Release
from tests.training.rules.given import drawn, measured
from training.checks import check
from training.gate import Verdict
from training.results import TrainResult


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is sent to a server, by key."""
    sent: dict[str, Any] = {}
    for kind, part in (("markdown", "markdown"), ("table", "table"), ("link", "link")):

        def keep(part: str = part, **said: Any) -> None:
            sent[said["key"]] = said[part]

        monkeypatch.setattr(prefect_artifacts, f"create_{kind}_artifact", keep)
    return sent


@pytest.fixture
def results(tmp_path: Path) -> list[TrainResult]:
    """Two candidates, the worse one first."""
    worse = 100 + 400 * drawn()[1] + np.random.default_rng(2).normal(0, 30, len(drawn()[1]))
    return [
        measured(tmp_path / "worse", worse, name="worse").result,
        measured(tmp_path / "better", name="better").result,
    ]


def test_figures_are_short_and_few_and_the_best_candidate_s_come_first(
    results: list[TrainResult], shown: dict[str, Any], tmp_path: Path
) -> None:
    prefect_artifacts.show_candidates(Settings(home=tmp_path), results)
    rows = shown["candidates"]
    assert [row["candidate"] for row in rows] == ["better", "worse"]
    assert rows[0].keys() == {"candidate", "framework", "RMSE", "90 %", "MAE", "R²", "fit", "run"}
    assert all(len(str(value)) < 20 for row in rows for value in row.values())


def test_a_report_s_path_stands_there_to_be_copied_as_no_browser_follows_a_link_to_a_file(
    results: list[TrainResult], shown: dict[str, Any], tmp_path: Path
) -> None:
    prefect_artifacts.show_candidates(Settings(home=tmp_path), results)
    assert f"\n```\n{tmp_path / 'better' / 'evaluation.html'}\n```\n" in shown["evaluation-better"]
    assert not any("file:" in str(said) for said in shown.values())


def test_a_link_to_mlflow_s_pages_holds_no_password(
    results: list[TrainResult], shown: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_artifacts, "prepare_tracking", lambda *_: "1")
    settings = Settings(home=tmp_path, tracking_uri="https://ml:secret@mlflow.example.com/")
    prefect_artifacts.show_candidates(settings, results)
    assert shown["mlflow-better"].startswith("https://ml@mlflow.example.com/#/experiments/1/runs/")
    assert "secret" not in str(shown)


def test_the_gate_says_each_verdict_once_and_the_best_candidate_s_first(shown: dict[str, Any]) -> None:
    def verdict(name: str, passed: bool) -> Verdict:
        found = check("support", 30.0, 10.0, passed, "30 failures in the test days", "at least 10")
        return Verdict(candidate=name, run_id="", digest="", admitted=passed, checks=(found,), champion=None)

    entered = {name: verdict(name, name == "better") for name in ("worse", "better")}  # the best last
    prefect_artifacts.show_gate(Release(verdicts=entered, candidate="better", version="2"))
    assert shown["gate"].splitlines() == [
        "**the gate admitted better as version 2**",
        "",
        "## better: admitted",
        "",
        "- Passed: 30 failures in the test days; at least 10 is asked for.",
        "",
        "## worse: refused",
        "",
        "- Refused: 30 failures in the test days; at least 10 is asked for.",
    ]
