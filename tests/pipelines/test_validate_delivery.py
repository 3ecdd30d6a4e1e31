"""A delivery that is not as expected stops the pipeline with a report, unless it is forced."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import ExpectationError
from mlops.settings import Settings
from mlops.storage import read_json
from mlops.tables import read_event_table
from pipelines.report import ValidateResult, validation_table
from pipelines.validate import validate
from tests.command import exit_code

FRAUD = load_use_case("usecases.fraud")
START = datetime(2018, 4, 1)


def write(path: Path, per_day: list[int], **columns: Any) -> Path:
    """So many payments on each day from `START`, one of fifty a fraud."""
    times = [START + timedelta(days=d, seconds=s) for d, rows in enumerate(per_day) for s in range(rows)]
    n = np.arange(len(times))
    table = {
        "TRANSACTION_ID": n,
        "TX_DATETIME": times,
        "CUSTOMER_ID": n % 100,
        "TERMINAL_ID": n % 10,
        "TX_AMOUNT": n % 900 / 4,
        "TX_FRAUD": (n % 50 == 0).astype(int),
    }
    pq.write_table(pa.table({**table, **columns}), path)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def run(spark: SparkSession, source: Path, home: Settings, **how: Any) -> ValidateResult:
    return validate(
        spark,
        source,
        home.events,
        home.quarantine,
        FRAUD.events,
        FRAUD.label,
        report=home.validation,
        **how,
    )


def test_a_fallen_day_stops_it_and_the_report_says_which(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    source = write(tmp_path / "in.parquet", [150] * 9 + [15])
    with pytest.raises(ExpectationError) as caught:
        run(spark, source, home)
    assert "2018-04-10 has 15 rows, and the median of the other days is 150" in caught.value.line()
    assert "--force" in caught.value.line() and str(home.validation) in caught.value.line()
    assert caught.value.exit_code == 2
    assert {path.name for path in home.home.iterdir() if path.name != "quarantine"} == {"validation.json"}
    assert not list(home.quarantine.rglob("*.parquet"))
    report = read_json(home.validation, ValidateResult)
    assert not report.outcome.published
    assert {f.expectation: f.verdict for f in report.findings} == {
        "values in is_fraud": "passed",
        "rows": "passed",
        "rows a day": "failed",
        "freshness": "not judged",
        "quarantined": "passed",
        "share of is_fraud": "not judged",
    }
    told = validation_table(report)
    assert "Nothing was published: 2018-04-10 has 15 rows" in told
    assert "1,365 rows in (handbook layout, events from 2018-04-01 to 2018-04-10)" in told


def test_force_publishes_all_the_same_and_is_logged(
    spark: SparkSession, tmp_path: Path, home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "in.parquet", [150] * 9 + [15])
    with caplog.at_level(logging.WARNING):
        result = run(spark, source, home, force=True)
    assert result.outcome.forced and result.outcome.published
    assert read_json(home.validation, ValidateResult) == result
    assert "Published by force, in spite of: 2018-04-10 has 15 rows" in validation_table(result)
    assert read_event_table(home.events).rows == 1365
    (line,) = [json.loads(r.getMessage()) for r in caplog.records if r.name == "pipelines.validate"]
    assert (line["event"], line["source"]) == ("validation forced", str(source))
    assert line["failed"] == list(result.outcome.failed)


def test_force_is_not_noted_where_nothing_failed(
    spark: SparkSession, tmp_path: Path, home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert not run(spark, write(tmp_path / "in.parquet", [150] * 10), home, force=True).outcome.forced
    assert not caplog.records


def test_a_refused_delivery_leaves_the_table_as_it_was(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    run(spark, write(tmp_path / "in.parquet", [150] * 10), home)
    before = read_event_table(home.events)
    amounts = [None if n % 5 == 0 else 1.0 for n in range(1500)]
    with pytest.raises(ExpectationError, match=r"20 % of all rows are quarantined, most often amount: miss"):
        run(spark, write(tmp_path / "in.parquet", [150] * 10, TX_AMOUNT=amounts), home)
    assert read_event_table(home.events) == before
    report = read_json(home.validation, ValidateResult)
    assert report.reasons == {"amount: missing": 300}
    example = report.examples["amount: missing"]
    assert (json.loads(example.row)["TX_AMOUNT"], example.source) == (None, "in.parquet")


def test_a_column_that_is_null_throughout_stops_it(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    nothing = pa.nulls(1500, pa.int64())
    with pytest.raises(ExpectationError, match="is_fraud is null in all 1,500 good rows"):
        run(spark, write(tmp_path / "in.parquet", [150] * 10, TX_FRAUD=nothing), home)


def test_labels_that_are_not_due_yet_may_all_be_missing(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    source = write(tmp_path / "in.parquet", [150] * 3, TX_FRAUD=pa.nulls(450, pa.int64()))
    assert run(spark, source, home).outcome.published


def test_too_many_frauds_stop_it(spark: SparkSession, tmp_path: Path, home: Settings) -> None:
    source = write(tmp_path / "in.parquet", [5000] * 2, TX_FRAUD=np.ones(10_000))
    with pytest.raises(ExpectationError, match=r"is_fraud is true in 100 % of 10,000 known values"):
        run(spark, source, home)


def test_an_old_delivery_stops_it_where_a_day_is_given(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    source = write(tmp_path / "in.parquet", [150] * 3)
    run(spark, source, home, as_of=datetime(2018, 4, 5, tzinfo=UTC))
    with pytest.raises(ExpectationError, match=r"the newest event, of 2018-04-03 00:02, is 3\.0 days old"):
        run(spark, source, home, as_of=datetime(2018, 4, 6, tzinfo=UTC))


def test_a_feed_that_stopped_is_told_though_nothing_new_came_and_what_is_late_makes_it_no_older(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    def taken(name: str, day: int, **how: Any) -> ValidateResult:
        as_of = datetime(2018, 4, day, tzinfo=UTC)
        return run(spark, tmp_path / name, home, merge=True, as_of=as_of, **how)

    write(tmp_path / "new.parquet", [0, 0, 0, 0, 150])
    write(tmp_path / "late.parquet", [150], TRANSACTION_ID=np.arange(1000, 1150))
    assert taken("new.parquet", 6).good == 150
    assert taken("late.parquet", 7).good == 150  # of five days before
    assert taken("new.parquet", 7).outcome.failed == ()
    with pytest.raises(ExpectationError, match=r"the newest event, of 2018-04-05 00:02, is 3\.0 days old"):
        taken("new.parquet", 8)
    assert taken("new.parquet", 8, force=True).passed_over == 1


def test_a_column_of_which_nothing_can_be_read_can_be_forced(
    spark: SparkSession, tmp_path: Path, home: Settings
) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "good.parquet", [150] * 3)
    write(tmp_path / "in" / "words.parquet", [50], TX_AMOUNT=["much"] * 50)
    with pytest.raises(ExpectationError, match="column TX_AMOUNT: every value is not a number, such as 'muc"):
        run(spark, tmp_path / "in", home)
    result = run(spark, tmp_path / "in", home, force=True)
    assert (result.good, result.reasons) == (450, {"amount: not a number": 50})


@pytest.mark.usefixtures("spark")
def test_the_command_shows_the_report_and_ends_with_2(
    tmp_path: Path, home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.parquet", [150] * 9 + [15])

    def mlops(*words: str) -> tuple[int, str, str]:
        code = exit_code("--home", home.home, *words, "--events", source)
        out, err = capsys.readouterr()
        return code, out, err

    for command in ("validate", "run"):
        code, out, err = mlops(command)
        assert (code, out) == (2, "")
        assert "Expectations" in err and "✗" in err
        assert err.splitlines()[-1].startswith(f"mlops: {source}: 2018-04-10 has 15 rows")
        assert not home.events.exists() and not home.features.exists()
    assert mlops("validate", "--as-of", "2018-04-20")[2].count("days old") >= 1
    code, out, _ = mlops("validate", "--force")
    assert code == 0
    assert "Published by force" in out
    assert json.loads(mlops("validate", "--force", "--json")[1])["outcome"]["forced"] is True
