"""The command line: what it lists, and that bad input is one clear line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.cli import cli, main

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
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in argv])
    return int(exit_.value.code or 0), capsys.readouterr().err


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
        (["retrain"], "no request is due"),
        (["serve", "--port", "70000"], "70000"),
        (["demo", "--out", "{tmp}/file"], "file"),
        (["demo", "--out", "{tmp}/demo", "--set", "days=60"], "days"),
        (["simulate", "{tmp}/file/below"], "file"),
        (["simulate", "{tmp}/w", "--set", "customers=many"], "customers"),
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


def test_a_replay_without_a_server_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    times = pa.array(ROW["TX_DATETIME"]).cast(pa.timestamp("us"))
    events = _parquet(tmp_path / "events.parquet", TX_DATETIME=times)
    days = ("--from", "2018-04-01", "--to", "2018-04-02")
    code, error = _main(capsys, "replay", "--events", events, *days, "--url", "http://127.0.0.1:9")
    assert code == 2 and "mlops serve" in error


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


def test_a_missing_column_is_named(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    columns = {name: values for name, values in ROW.items() if name != "TX_AMOUNT"}
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table(columns), path)
    code, error = _main(capsys, "validate", "--events", path)
    assert code == 2 and "amount" in error.lower()
