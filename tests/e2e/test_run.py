"""A user's own file, as awkward as real ones are, becomes a champion that is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import psutil
import pytest
from pyspark.sql import SparkSession

from mlops.errors import InputError
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.engine import LocalEngine
from pipelines.lifecycle import RunResult
from pipelines.ports import free_port
from pipelines.server import running_server
from pipelines.view import View
from tests.e2e.trees_alone import TREES_ALONE
from tests.e2e.two_candidates import TWO_CANDIDATES
from training.results import Evaluation
from usecases.fraud.simulator import simulate
from usecases.fraud.world import World

pytestmark = pytest.mark.timeout(600)

MLOPS = Path(sys.executable).with_name("mlops")


def _mlops(
    *words: object, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MLOPS, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def payments() -> pd.DataFrame:
    """58 days of payments with 600 cards."""
    return simulate(World(customers=600, days=58, seed=3)).to_pandas()


@pytest.fixture(scope="module")
def awkward(payments: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file a day, rows in no order, ids as text, timestamps in nanoseconds, Parquet and CSV side by side."""
    folder = tmp_path_factory.mktemp("payments")
    rows = payments.sample(frac=1, random_state=0)
    rows["TX_DATETIME"] = rows["TX_DATETIME"].astype("datetime64[ns]")
    for column in ("TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID"):
        rows[column] = rows[column].astype(str)
    for number, (day, part) in enumerate(rows.groupby(rows["TX_DATETIME"].dt.date)):
        if number % 10:
            part.to_parquet(folder / f"{day}.parquet", index=False)
        else:
            part.to_csv(folder / f"{day}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def killed(awkward: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[psutil.Process]]:
    """The home of a run that was killed while it trained, and what it had started that did not end with it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    line = [str(MLOPS), "run", "--events", str(awkward), "--out", "mine", "--json"]
    with subprocess.Popen(
        line,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=os.environ | TWO_CANDIDATES,
    ) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if said.strip().endswith("features"):
                break
        while not list(folder.glob("mine/mlartifacts/*")):  # the first candidate is on record, and not done
            assert process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    return folder / "mine", psutil.wait_procs(children, timeout=60)[1]


@pytest.fixture(scope="module")
def ran(killed: tuple[Path, list[psutil.Process]], awkward: Path) -> tuple[Path, RunResult]:
    """The home that `mlops run` wrote when it was repeated, called from another folder, and what it printed."""
    home, _ = killed
    line = ("run", "--events", awkward, "--out", "mine", "--json")
    done = _mlops(*line, cwd=home.parent, env=TWO_CANDIDATES)
    assert done.returncode == 0, done.stderr
    return home, _result(done.stdout)


def test_a_run_that_is_killed_while_it_trains_leaves_no_process(
    killed: tuple[Path, list[psutil.Process]],
) -> None:
    assert killed[1] == []


def test_every_row_is_accounted_for(ran: tuple[Path, RunResult], payments: pd.DataFrame) -> None:
    rows = ran[1].validated
    assert (rows.rows_in, rows.good) == (len(payments), len(payments))
    assert (rows.quarantined, rows.duplicates) == (0, 0)


def test_candidates_compete_and_the_best_admitted_one_is_promoted(ran: tuple[Path, RunResult]) -> None:
    home, result = ran
    assert len(result.candidates) == 2
    admitted = [c for c in result.candidates if result.release.verdicts[c.name].admitted]
    assert result.release.candidate == max(admitted, key=lambda c: c.figures.rank).name
    status = _mlops("--home", home, "status", "--json", cwd=home)
    told = json.loads(status.stdout)
    assert told["champion"] == result.release.version == told["deployment"]["champion"]["version"]
    assert told["differences"] == []


def test_the_champion_is_served_with_the_history_of_the_file(
    ran: tuple[Path, RunResult], payments: pd.DataFrame
) -> None:
    home, _ = ran
    last = payments.iloc[-1]
    event = {
        "transaction_id": int(payments["TRANSACTION_ID"].max()) + 1,
        "event_time": (last["TX_DATETIME"] + pd.Timedelta(minutes=1)).isoformat(),
        "customer_id": str(last["CUSTOMER_ID"]),
        "terminal_id": int(last["TERMINAL_ID"]),
        "amount": 12.34,
    }
    with running_server(Settings(home=home), port=free_port()) as url:
        answer = _post(f"{url}/v1/score?features=true", event)
    month = payments[
        (payments["CUSTOMER_ID"] == last["CUSTOMER_ID"])
        & (payments["TX_DATETIME"] > pd.Timestamp(event["event_time"]) - pd.Timedelta(days=30))
    ]
    assert answer["features"]["customer_id_count_30d"] == len(month) + 1
    assert answer["decision"] in ("approve", "review", "decline")
    assert 0 <= answer["score"] <= 1


def test_a_taken_port_is_one_line_and_exit_code_2(ran: tuple[Path, RunResult]) -> None:
    home, _ = ran
    with running_server(Settings(home=home), port=free_port()) as url:
        port = url.rpartition(":")[2]
        refused = _mlops("--home", home, "serve", "--no-keys", "--port", port, cwd=home)
    assert refused.returncode == 2
    assert f"port {port} is taken" in refused.stderr and "Traceback" not in refused.stderr


def test_running_again_gives_the_figures_of_the_run_that_was_killed_and_repeated(
    ran: tuple[Path, RunResult], awkward: Path
) -> None:
    home, first = ran
    line = ("run", "--events", awkward, "--out", home, "--json")
    done = _mlops(*line, cwd=home, env=TWO_CANDIDATES)
    # The same model again is not better than itself, so the gate refuses it and the champion stays.
    assert done.returncode == 1, done.stderr
    again = _result(done.stdout)
    assert _figures(again) == _figures(first)
    assert "the gate admitted no candidate" in done.stderr


def test_labels_of_one_class_only_are_refused_by_training_too(payments: pd.DataFrame, tmp_path: Path) -> None:
    # By force, as validation expects frauds.
    line = ("run", "--force", "--events", _with_frauds(payments, 0, tmp_path), "--out", tmp_path / "home")
    done = _mlops(*line, cwd=tmp_path, env=TREES_ALONE)
    assert done.returncode == 2, done.stderr
    assert "one class" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_too_few_frauds_are_refused_by_training_too(
    payments: pd.DataFrame, tmp_path: Path, spark: SparkSession
) -> None:
    settings = Settings(home=tmp_path / "home", usecase=TREES_ALONE["MLOPS_USECASE"])
    with pytest.raises(InputError, match="too few to train on"):
        lifecycle.run(LocalEngine(View("")), settings, _with_frauds(payments, 9, tmp_path), force=True)


def _with_frauds(payments: pd.DataFrame, frauds: int, folder: Path) -> Path:
    """A file of three weeks with so many frauds."""
    rows = payments[payments["TX_TIME_DAYS"] < 22].copy()
    rows["TX_FRAUD"] = 0
    rows.loc[rows.index[np.linspace(0, len(rows) - 1, frauds, dtype=int)], "TX_FRAUD"] = 1
    rows.to_csv(folder / "payments.csv", index=False)
    return folder / "payments.csv"


def _figures(result: RunResult) -> list[tuple[str, Evaluation]]:
    return [(c.name, c.figures) for c in result.candidates]


def _result(text: str) -> RunResult:
    return msgspec.json.decode(text, type=RunResult, dec_hook=lambda type_, value: type_(value))


def _post(url: str, body: object) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
