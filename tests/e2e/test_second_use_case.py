"""Use cases without times, keys, windows and delays go through everything: a classification and a regression."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.engine import LocalEngine
from pipelines.export import export_source
from pipelines.ports import free_port
from pipelines.replay import Recording, replay
from pipelines.retrain import compute_live_features, due_request, retrain
from pipelines.server import running_server
from pipelines.view import View
from pipelines.watching import collect_logs, compare_served, monitor_served, write_reports
from pipelines.workers import workers
from training import registry

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
TOMORROW = datetime.now(UTC).date() + timedelta(days=1)

# What is measured in other units from some day on, as if an instrument had been replaced.
CHANGED = {
    "usecases.breast_cancer": ("mean_", "error_", "worst_"),
    "tests.e2e.diabetes": ("bmi", "bp", "s5"),
}
ANSWER = {"usecases.breast_cancer": "score", "tests.e2e.diabetes": "prediction"}


@pytest.fixture(scope="module")
def pool(spark: SparkSession) -> Iterator[Executor]:
    with workers(1) as pool:
        yield pool


def test_the_second_use_case_is_under_100_lines() -> None:
    files = [p for p in (ROOT / "usecases" / "breast_cancer").iterdir() if p.is_file()]
    assert sum(len(path.read_text().splitlines()) for path in files) < 100


@pytest.mark.parametrize("package", list(CHANGED))
def test_it_runs_from_a_public_table_to_a_retrained_model_that_takes_over(
    package: str, pool: Executor, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", usecase=package, spark_master="local[2]", spark_memory="1g")
    archive, usual, changed = _deliveries(settings, tmp_path)
    use_case, engine = load_use_case(package), LocalEngine(View(""))

    ran = lifecycle.run(engine, settings, archive)
    assert (ran.validated.good, ran.validated.quarantined) == (len(_read(archive)), 0)
    assert ran.release.version is not None, [v.refusals for v in ran.release.verdicts.values()]

    def send(source: Path, url: str) -> None:
        sent = replay(Recording([source], use_case.events, use_case.label), url, singles=3)
        assert (sent.failed, sent.events) == (0, len(_read(source)))

    with running_server(settings, port=free_port()) as url:
        send(usual, url)
        answer = _post(f"{url}/v1/score", _event(settings, usual))
        assert set(answer) == {"event_id", "decision_id", ANSWER[package], "model", "version"}
        calm = monitor_served(settings, as_of=TOMORROW)
        assert calm.alerts == () and calm.drift is not None and calm.reference_figure is not None

        send(changed, url)
        found = monitor_served(settings, as_of=TOMORROW)
        assert "performance" in {alert.rule for alert in found.alerts}, found
        assert len(write_reports(settings)) == 1

        request = due_request(settings, TOMORROW)
        assert request is not None
        collect_logs(settings)
        compute_live_features(settings, date.fromisoformat(request.train_from))
        agreed = compare_served(settings)
        assert (agreed.differences, agreed.max_abs_diff) == (0, 0.0), agreed

        again = retrain(engine, settings, request, pool=pool)
        assert again.release.version is not None, [v.refusals for v in again.release.verdicts.values()]
        lifecycle.fill_store(settings, again.release.version)
        lifecycle.promote(settings, again.release.version)
        assert _answers_from(url, again.release.version)
    assert registry.status(settings).differences == ()
    assert due_request(settings, TOMORROW) is None


def test_what_ships_no_table_and_no_simulator_says_so_in_one_line(tmp_path: Path) -> None:
    for usecase, command, said in (
        (
            "usecases.fraud",
            "export-source",
            "mlops: usecases.fraud: ships no table; its events are simulated",
        ),
        ("usecases.breast_cancer", "simulate", "mlops: usecases.breast_cancer: has no simulator"),
    ):
        done = subprocess.run(
            [Path(sys.executable).with_name("mlops"), "--usecase", usecase, command, tmp_path / "out"],
            capture_output=True,
            text=True,
            env=dict(os.environ),
            timeout=60,
        )
        assert done.returncode == 2
        assert said in done.stderr


def _deliveries(settings: Settings, folder: Path) -> tuple[Path, Path, Path]:
    """Files of what is trained on, of what is served as usual, and of what is served after the change."""
    assert export_source(settings, folder / "raw").rows > 400
    (source,) = (folder / "raw").iterdir()
    table = _read(source).sample(frac=1, random_state=0)
    rows = len(table) * 2 // 3, len(table) * 5 // 6
    parts = [table[: rows[0]], table[rows[0] : rows[1]], table[rows[1] :].copy()]
    measures = [c for c in table.columns if c.startswith(CHANGED[settings.usecase])]
    parts[2][measures] *= 4
    paths = tuple(folder / f"{name}{source.suffix}" for name in ("archive", "usual", "changed"))
    for path, part in zip(paths, parts, strict=True):
        part.to_csv(path, sep=";", index=False) if path.suffix == ".csv" else part.to_parquet(
            path, index=False
        )
    return paths[0], paths[1], paths[2]


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep=";") if path.suffix == ".csv" else pd.read_parquet(path)


def _event(settings: Settings, source: Path) -> dict[str, Any]:
    """A row as a client sends it that knows of no ids and no label."""
    use_case = load_use_case(settings.usecase)
    row = Recording([source], use_case.events, use_case.label).table.slice(0, 1).to_pylist()[0]
    del row[use_case.events.id], row[use_case.label.column]
    return json.loads(msgspec.json.encode(row))


def _answers_from(url: str, version: str) -> bool:
    for _ in range(100):
        with urllib.request.urlopen(f"{url}/v1/model", timeout=10) as answer:
            if json.load(answer)["version"] == version:
                return True
        time.sleep(0.1)
    return False


def _post(url: str, body: object) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
        return json.load(answer)
