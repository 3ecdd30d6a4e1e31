"""A folder that fills, in batches: whatever happens, every event is in the event table once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import InputError, MlopsError
from mlops.settings import Settings
from mlops.tables import read_batches, read_event_table
from pipelines.stream import Streamed, read_refusals, stream_events
from pipelines.validate import validate
from tests.pipelines.test_validate import payment, write_csv, write_parquet

MLOPS = Path(sys.executable).with_name("mlops")
USE_CASE = load_use_case("usecases.fraud")
Once = Callable[[], list[Streamed]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a folder [1] {x} 100%"
    path.mkdir()
    return path


@pytest.fixture
def settings(spark: SparkSession, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", spark_master="local[2]", spark_memory="1g")


@pytest.fixture
def once(settings: Settings, folder: Path) -> Once:
    """Take the files that are there, and say what became of each batch."""

    def run() -> list[Streamed]:
        batches: list[Streamed] = []
        stream_events(settings, folder, batches.append)
        return batches

    return run


def ids(settings: Settings) -> list[int]:
    return sorted(pq.read_table(settings.events)["transaction_id"].to_pylist())


def days(folder: Path, first: int, last: int) -> list[Path]:
    """A file a day, of three payments each."""
    rows = [[payment(1440 * day + n) for n in range(3)] for day in range(first, last)]
    return [write_parquet(folder / f"{day}.parquet", part) for day, part in enumerate(rows, first)]


def test_files_are_taken_once_whatever_their_format_and_age(
    once: Once, settings: Settings, folder: Path, spark: SparkSession
) -> None:
    write_parquet(folder / "deep" / "[1].parquet", [payment(1), payment(2, TX_AMOUNT=-1.0)])
    write_csv(folder / "é 100%20#?.csv", [payment(1), payment(3)], sep=";")
    for hidden in (".hidden.parquet", "_hidden.parquet", ".tmp-x/1.parquet"):
        write_parquet(folder / hidden, [payment(99)])
    # Whoever looked into a file would raise: it is longer than this.
    spark.conf.set("spark.sql.sources.binaryFile.maxLength", "1")
    (first,) = once()
    spark.conf.unset("spark.sql.sources.binaryFile.maxLength")
    assert (first.files, first.rows_in, first.good, first.quarantined, first.duplicates) == (2, 4, 2, 1, 1)
    assert once() == []
    os.utime(write_parquet(folder / "old.parquet", [payment(4)]), (1e9, 1e9))
    (folder / ".hidden.parquet").rename(folder / "whole.parquet")
    (second,) = once()
    assert (second.files, second.good) == (2, 2)
    assert ids(settings) == [1, 3, 4, 99]
    shutil.rmtree(settings.stream)  # the table knows what it has taken
    (again,) = once()
    assert (again.files, again.passed_over, again.rows_in) == (4, 4, 0)
    batches = read_batches(settings.events)
    assert [b.rows_in for b in batches] == [4, 2]
    assert sum(b.good for b in batches) == len(ids(settings))


def test_a_file_that_is_refused_stops_nothing_and_is_on_record(
    once: Once, settings: Settings, folder: Path
) -> None:
    good = days(folder, 0, 3)
    (folder / "garbage.csv").write_text("garbage")
    (folder / "torn.parquet").write_bytes(good[0].read_bytes()[:100])
    write_parquet(folder / "bad.parquet", [payment(5, TX_AMOUNT=-1.0)])
    (batch,) = once()
    assert (batch.files, batch.rows_in, batch.good, batch.quarantined) == (6, 9, 9, 0)
    refused = {Path(r.file).name: r.reason for r in read_refusals(settings.stream)}
    assert sorted(refused) == ["bad.parquet", "garbage.csv", "torn.parquet"]
    assert "neither Parquet nor CSV" in refused["garbage.csv"]
    assert "not one good row" in refused["bad.parquet"]
    assert read_refusals(settings.stream) == batch.refused
    days(folder, 3, 4)
    assert [(b.files, b.good) for b in once()] == [(1, 3)]
    assert len(read_refusals(settings.stream)) == 3


@contextmanager
def written_to(path: Path, content: bytes, parts: int) -> Iterator[None]:
    """While the block runs, another writes the content into the file bit by bit."""
    size = len(content) // parts + 1

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(content), size):
                file.write(content[start : start + size])
                time.sleep(0.4)

    writer = threading.Thread(target=write)
    writer.start()
    yield
    writer.join()


def test_a_file_that_grows_is_waited_for(once: Once, settings: Settings, folder: Path) -> None:
    whole = write_csv(folder.parent / "whole.csv", [payment(n) for n in range(100)]).read_bytes()
    with written_to(folder / "grows.csv", whole, parts=8):
        time.sleep(0.2)
        (batch,) = once()
    assert (batch.good, batch.refused) == (100, ())


def test_what_is_wrong_with_the_table_is_no_files_fault(once: Once, settings: Settings, folder: Path) -> None:
    days(folder, 0, 1)
    once()
    meta = settings.events / "_table.json"
    said = meta.read_bytes()
    meta.write_text("{}")
    days(folder, 1, 2)
    with pytest.raises(MlopsError, match="write it anew"):
        once()
    assert read_refusals(settings.stream) == ()
    meta.write_bytes(said)
    assert [b.good for b in once()] == [3]


def test_a_folder_that_is_not_there_is_said_in_a_line(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        stream_events(settings, tmp_path / "absent", print)


def start(settings: Settings, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [MLOPS, "--home", settings.home, "stream", folder, *options]
    env = {**os.environ, "MLOPS_SPARK_MEMORY": "1g"}
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], Sequence[object]], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def test_killed_in_the_middle_of_a_batch_and_started_again_every_event_is_there_once(
    once: Once, settings: Settings, folder: Path, spark: SparkSession
) -> None:
    days(folder, 0, 4)
    once()
    before = read_event_table(settings.events)
    days(folder, 3, 12)  # the first of them is taken already
    write_parquet(folder / "late.parquet", [payment(7), payment(1440 * 9), payment(8, TX_AMOUNT=-1.0)])
    with start(settings, folder, "--once") as process:
        wait_for(lambda: list(settings.home.glob(".tmp-events-*/*")), process)
        os.killpg(process.pid, signal.SIGKILL)
    assert read_event_table(settings.events) == before
    assert len(ids(settings)) == before.rows == 12
    (batch,) = once()
    assert (batch.good, batch.duplicates, batch.quarantined) == (25, 1, 1)
    home = settings.home.parent / "other"
    validate(spark, folder, home / "events", home / "quarantine", USE_CASE.events, USE_CASE.label)
    assert read_event_table(settings.events) == read_event_table(home / "events")
    assert len(set(ids(settings))) == len(ids(settings)) == 37
    batches = read_batches(settings.events)
    assert sum(b.rows_in for b in batches) == 39
    assert sum(b.quarantined for b in batches) == pq.read_table(settings.quarantine).num_rows == 1


def test_ctrl_c_ends_it_between_batches_and_within_one(settings: Settings, folder: Path) -> None:
    days(folder, 0, 2)
    with start(settings, folder, "--every", "1s", "--json") as process:
        assert process.stdout is not None
        assert '"good":6' in process.stdout.readline()
        days(folder, 2, 40)
        wait_for(lambda: list(settings.home.glob(".tmp-events-*/*")), process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.strip()) == (130, "", "mlops: interrupted")
    assert len(ids(settings)) == 6
    assert not list(settings.home.glob(".tmp-*"))
