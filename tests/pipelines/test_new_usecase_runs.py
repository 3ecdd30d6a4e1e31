"""What `mlops new-usecase` writes runs as it is: from the file to a champion that answers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.new_usecase import NewUseCase, Roles, new_usecase
from pipelines.ports import free_port
from pipelines.replay import Recording
from pipelines.server import running_server
from pipelines.workers import workers

pytestmark = pytest.mark.timeout(240)
Run = Callable[..., tuple[NewUseCase, Settings]]


def payments(path: Path) -> Path:
    """A CSV file with semicolons, decimal commas, German times, blanks, a key, and labels in words."""
    rng = np.random.default_rng(2)
    rows = 900
    day = np.sort(rng.integers(0, 40, rows))
    amount = rng.integers(100, 200_000, rows) / 100
    cash = rng.random(rows) < 0.4
    lost = rng.random(rows) < 1 / (1 + np.exp(4 - amount / 500 - 2 * cash))
    times = pd.Timestamp("2024-02-01") + pd.to_timedelta(day * 1440 + rng.integers(0, 1440, rows), unit="min")
    table = pd.DataFrame(
        {
            "Tag": times.strftime("%d.%m.%Y %H:%M"),
            "Kunde Nr.": rng.integers(0, 60, rows),
            "Betrag": [f"{x:,.2f}".translate(str.maketrans(",.", ".,")) for x in amount],
            "Art": np.where(cash, "bar", np.where(rng.random(rows) < 0.1, "", "Karte")),
            "Alter": np.where(rng.random(rows) < 0.1, "n/a", rng.integers(18, 90, rows).astype(str)),
            "Verlust": np.where(lost, "ja", "nein"),
        }
    )
    table.to_csv(path, sep=";", index=False)
    return path


def progressions(path: Path) -> Path:
    """A public table as Parquet, with a category, blanks and a date."""
    from sklearn.datasets import load_diabetes

    table = load_diabetes(as_frame=True, scaled=False).frame
    number = np.arange(len(table))
    table["sex"] = pd.Categorical(np.where(table["sex"] == 1, "female", "male"))
    table["bp"] = table["bp"].where(number % 7 != 3)
    table["Admitted on"] = pd.to_datetime("2003-01-01") + pd.to_timedelta(number % 300, unit="D")
    table.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def into(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that use cases are written into and can be imported from."""
    folder = tmp_path_factory.mktemp("into")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def pool(into: Path) -> Iterator[Executor]:
    with workers(1) as pool:
        yield pool


@pytest.fixture
def run(spark: SparkSession, pool: Executor, into: Path, tmp_path: Path) -> Run:
    """Write a use case and take it from its file to a champion, step by step."""

    def steps(name: str, source: Path, **roles: Any) -> tuple[NewUseCase, Settings]:
        written = new_usecase(name, str(source), Roles(**roles), into=into)
        settings = Settings(
            home=tmp_path / "home", usecase=written.package, spark_master="local[2]", spark_memory="1g"
        )
        validated = lifecycle.validate_events(settings, source)
        assert (validated.good, validated.quarantined, validated.duplicates) == (written.rows, 0, 0)
        lifecycle.compute_features(settings)
        first_day = lifecycle.default_training_day(settings)
        trained = lifecycle.train(settings, first_day, pool=pool)
        assert [(t.figures.train_events, t.figures.events) for t in trained] == [
            (written.train, written.test)
        ] * 2
        assert all(t.onnx_max_abs_diff < 5e-6 for t in trained)  # boosted trees among them
        outcome = lifecycle.release(settings, trained, pool=pool)
        assert outcome.version is not None, [v.refusals for v in outcome.verdicts.values()]
        lifecycle.fill_store(settings, outcome.version)
        lifecycle.promote(settings, outcome.version)
        return written, settings

    return steps


def answers(settings: Settings, written: NewUseCase, source: Path) -> tuple[dict[str, Any], list[Any]]:
    """What a server says of the example, with its features, and of the first ten events of the file."""
    use_case = load_use_case(written.package)
    events = Recording([source], use_case.events, use_case.label).table.slice(0, 10).to_pylist()
    for event in events:
        del event[use_case.events.id], event[use_case.label.column]
    with running_server(settings, port=free_port()) as url:
        one = _post(f"{url}/v1/score?features=true", written.example)
        return one, _post(f"{url}/v1/score", events)


def _post(url: str, body: object) -> Any:
    request = urllib.request.Request(url, msgspec.json.encode(body))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_a_table_with_times_and_a_key_runs_to_a_served_classifier(run: Run, tmp_path: Path) -> None:
    source = payments(tmp_path / "payments.csv")
    written, settings = run("losses", source, target="Verlust", time="Tag", keys=("Kunde Nr.",))
    one, ten = answers(settings, written, source)
    assert one["features"]["betrag"] == written.example["betrag"]
    assert one["features"]["kunde_nr_count_7d"] > 1
    assert 0 <= one["score"] <= 1
    assert len({answer["event_id"] for answer in ten}) == 10
    assert all(0 <= answer["score"] <= 1 for answer in ten)


def test_a_regression_runs_to_a_served_model(run: Run, tmp_path: Path) -> None:
    source = progressions(tmp_path / "diabetes.parquet")
    written, settings = run("progression", source, target="target")
    assert written.task == "regression"
    one, ten = answers(settings, written, source)
    assert 0 < one["prediction"] < 500
    assert len([answer["prediction"] for answer in ten]) == 10


def test_the_command_says_what_to_do_next_and_it_fits(tmp_path: Path) -> None:
    source = payments(tmp_path / "pay ments.csv")
    command = [Path(sys.executable).with_name("mlops"), "new-usecase", "losses", "--from", source]
    done = subprocess.run(
        [*command, "--target", "Verlust", "--positive", "nein", "--into", tmp_path / "mine"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    grep = next(line for line in lines if line.startswith("grep"))
    found = subprocess.run(grep, shell=True, capture_output=True, text=True, check=True).stdout
    assert f"must decide in {found.count('Decide:')} places" in done.stdout
    variable, program, *words = shlex.split(next(line for line in lines if " run --events " in line))
    assert Path(program).resolve() == command[0]
    assert words == [
        *("--usecase", "losses", "run"), *("--events", str(source)), *("--out", "runs/losses"),
    ]  # fmt: skip
    name, _, path = variable.partition("=")
    loads = "from mlops.contract import load_use_case; print(load_use_case('losses').task)"
    loaded = subprocess.run(
        [sys.executable, "-c", loads], env={**os.environ, name: path}, capture_output=True, text=True, cwd="/"
    )
    assert loaded.stdout == "classification\n", loaded.stderr
    example = shlex.split(next(line for line in lines if line.startswith("curl")))[-1]
    assert json.loads(example)["kunde_nr"] >= 0
