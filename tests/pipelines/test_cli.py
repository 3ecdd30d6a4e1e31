"""The command line: what it lists, and that bad input is one clear line and exit code 2."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines import spark as sparks
from pipelines.cli import cli, main
from tests.command import exit_code

ROOT = Path(__file__).resolve().parents[2]
ROW = {
    "TRANSACTION_ID": [1, 2],
    "TX_DATETIME": ["2018-04-01 10:00:00", "2018-04-02 11:00:00"],
    "CUSTOMER_ID": [7, 8],
    "TERMINAL_ID": [1, 1],
    "TX_AMOUNT": [10.0, 20.5],
    "TX_FRAUD": [0, 1],
}


def _main(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    """Exit code and standard error."""
    return exit_code(*argv), capsys.readouterr().err


def _parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table({**ROW, **columns}), path)
    return path


def test_each_step_of_the_lifecycle_is_a_command() -> None:
    steps = [
        "simulate",
        "validate",
        "features",
        "train",
        "promote",
        "serve",
        "replay",
        "monitor",
        "report",
        "status",
    ]
    assert [name for name in cli.commands if name in steps] == steps
    assert {"run", "demo", "doctor"} <= set(cli.commands)


def test_a_screen_of_80_columns_shows_in_a_whole_sentence_what_each_command_does() -> None:
    def shown(group: click.Group) -> Iterator[str]:
        room = 80 - 8 - max(map(len, group.commands))  # as click lays it out
        for command in group.commands.values():
            yield command.get_short_help_str(room)
            if isinstance(command, click.Group):
                yield from shown(command)

    said = list(shown(cli))
    assert len(said) > 40 and not [text for text in said if not text or text.endswith("...")]


def test_it_tells_the_version_that_the_project_has(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    main(["--version"])  # and raises no SystemExit, which some take for a failure whatever its code
    assert capsys.readouterr().out == f"mlops {project['version']}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["validate", "--events", "{tmp}/none.parquet"], "none.parquet"),
        (
            ["replay", "--events", "{tmp}", "--from", "2018-04-01", "--to", "2018-04-02"],
            "neither Parquet nor CSV",
        ),
        (["replay", "--events", "{tmp}", "--from", "yesterday", "--to", "2018-04-02"], "not a date"),
        (["serve"], "no champion to serve"),
        (["monitor", "--as-of", "2018-04-01", "--from", "2018-04-02", "--to", "2018-04-01"], "after"),
        (["monitor", "--as-of", "0001-01-01"], "between 1970 and 2200"),
        (["report"], "no result of monitoring"),
        (["retrain"], "no such home"),
        (["serve", "--port", "70000"], "70000"),
        (["demo", "--out", "{tmp}/file"], "file"),
        (["demo", "--out", "{tmp}/demo", "--set", "days=60"], "days"),
        (["simulate", "{tmp}/file/below"], "file"),
        (["simulate", "{tmp}/w", "--set", "customers=many"], "customers: 'many' is not a whole number"),
        (["simulate", "{tmp}/w", "--set", "change=storm"], "change: 'storm' is not one of new-pattern, none"),
        (["simulate", "{tmp}/w", "--set", "colour=red"], "no knob colour"),
        (["--usecase", "usecases.nothing", "features"], "usecases.nothing"),
        (["train", "--seed", "-1"], "--seed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, error = _main(capsys, "--home", tmp_path / "home", *[word.format(tmp=tmp_path) for word in argv])
    assert code == 2, error
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize("knob", ["nope=1", "customers=0", "customers=abc", "days=10"])
def test_an_earlier_demo_stays_where_a_knob_of_the_new_one_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, knob: str
) -> None:
    for name in (".demo", "summary.json"):
        (tmp_path / name).touch()
    code, error = _main(capsys, "demo", "--out", tmp_path, "--set", knob)
    assert code == 2 and knob.partition("=")[0] in error and "start Prefect" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo", "summary.json"]


def test_a_replay_without_a_server_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    times = pa.array(ROW["TX_DATETIME"]).cast(pa.timestamp("us"))
    events = _parquet(tmp_path / "events.parquet", TX_DATETIME=times)
    days = ("--from", "2018-04-01", "--to", "2018-04-02")
    code, error = _main(capsys, "replay", "--events", events, *days, "--url", "http://127.0.0.1:9")
    assert code == 2 and "mlops serve" in error


def test_a_run_without_events_is_refused_before_it_makes_a_home(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, error = _main(capsys, "run", "--events", tmp_path / "nope.csv", "--out", tmp_path / "mine")
    assert (code, error) == (2, f"mlops: {tmp_path / 'nope.csv'}: no such file or folder\n")
    assert not (tmp_path / "mine").exists()


def test_too_few_days_are_refused_before_anything_is_trained(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    events = _parquet(tmp_path / "events.parquet")
    code, error = _main(capsys, "run", "--events", events, "--out", tmp_path / "home")
    assert code == 2
    assert "span 2 days" in error and "need 21" in error


def test_a_file_that_is_not_a_table_is_refused(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"\x80\x04\x95 not a table")
    code, error = _main(capsys, "run", "--events", path, "--out", tmp_path / "home")
    assert code == 2 and "events.parquet" in error


@pytest.mark.parametrize("more", [[], ["--full"]])
def test_features_without_events_are_refused_before_spark_or_a_cluster_of_it_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str]
) -> None:
    monkeypatch.setattr(sparks, "session", None)  # what would start it
    code, error = _main(capsys, "--home", tmp_path / "home", "features", *more)
    assert code == 2
    assert f"{tmp_path / 'home' / 'events'}: no such table; run mlops validate first" in error


def test_a_missing_column_is_named(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    columns = {name: values for name, values in ROW.items() if name != "TX_AMOUNT"}
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table(columns), path)
    code, error = _main(capsys, "validate", "--events", path)
    assert code == 2 and "amount" in error.lower()
