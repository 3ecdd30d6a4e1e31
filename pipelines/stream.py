"""A folder that fills, read by Spark Structured Streaming: every event is in the event table once.

Spark lists the folder and remembers in a checkpoint which files it has handed out; their content it does not read. A
batch of files is merged into the event table as any delivery is. A process killed on the way is handed the same files
again, and the table passes over those that it has taken.

A file is read once, as it is when it is first seen, and an empty one never: write it under a name that starts with a
dot or an underscore, and rename it when it is whole. A file that is still growing is waited for, and refused if it
goes on. A file that is refused stops nothing: it is on record with the reason, and its rows are not counted.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from mlops.errors import InputError, MlopsError
from mlops.home import claim, use_case_of
from mlops.settings import Settings
from mlops.storage import read_json, write_json
from pipelines.report import ValidateResult
from pipelines.spark import literal_path, session
from pipelines.staged import published
from pipelines.validate import validate

__all__ = ["Refusal", "Streamed", "read_refusals", "stream", "stream_events"]

_FILES = "path string, modificationTime timestamp, length bigint, content binary"
_REFUSED = "refused.json"
_SETTLED_S = 1.0  # a file that was not written to for so long is whole
_PATIENCE_S = 60.0
_LOOK_S = 0.2


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which nothing was taken, and why; `refused_at` is ISO 8601."""

    file: str
    reason: str
    refused_at: str


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of files that came together: rows_in = good + quarantined + duplicates, without refused files.

    `labels` of the good rows brought only a label; `passed_over` files had been taken before.
    """

    files: int
    passed_over: int
    rows_in: int
    good: int
    labels: int
    quarantined: int
    duplicates: int
    refused: tuple[Refusal, ...]


def stream_events(
    settings: Settings, folder: Path, on_batch: Callable[[Streamed], None], *, every_s: float | None = None
) -> None:
    """Ingest the files of a folder into the home's event table: see `stream`.

    What the schema expects of a delivery as a whole is not asked of a handful of files.
    """
    use_case, spark = use_case_of(settings), session(settings)
    schema = msgspec.structs.replace(use_case.events, expectations=())

    def ingest(files: Sequence[Path]) -> ValidateResult:
        with (
            published(settings.events, settings.events_uri) as events,
            published(settings.quarantine, settings.quarantine_uri) as quarantine,
        ):
            found = validate(
                spark, folder, events, quarantine, schema, use_case.label, merge=True, files=files
            )
        claim(settings)
        return found

    stream(spark, folder, settings.stream, ingest, on_batch, every_s=every_s)


def stream(
    spark: SparkSession,
    folder: Path,
    state: Path,
    ingest: Callable[[Sequence[Path]], ValidateResult],
    on_batch: Callable[[Streamed], None],
    *,
    every_s: float | None = None,
) -> None:
    """Ingest the files of a folder, and of folders in it: those that are there, or for ever those that come, too.

    Args:
        state: where the checkpoint of each folder is kept, and which files were refused.
        ingest: merges some of the files into the event table; called in another thread, as is `on_batch`
        on_batch: what hears of each batch.
        every_s: how often to look for new files; None ends when those that are there are done.

    Raises:
        InputError: no such folder.
        MlopsError: whatever `ingest` raises that is no InputError, which would be of a file.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder)
    place = folder.resolve()
    paths = (
        spark.readStream.format("binaryFile")
        .schema(_FILES)
        # Whatever its age: else Spark ignores a file that is a week older than the newest one.
        .options(recursiveFileLookup=True, maxFileAge="36500d")
        .load(literal_path(place))
        .select("path")
    )
    batches = _Batches(ingest, on_batch, state / _REFUSED)
    writer = paths.writeStream.foreachBatch(batches.take)
    writer = writer.option("checkpointLocation", str(state / _name(place)))
    if every_s is None:
        writer = writer.trigger(availableNow=True)
    else:
        writer = writer.trigger(processingTime=f"{round(every_s * 1000)} milliseconds")
    _run(spark, writer.start(), batches)


def read_refusals(state: Path) -> tuple[Refusal, ...]:
    """The files that were refused, each once, in the order in which they last were."""
    path = state / _REFUSED
    return read_json(path, tuple[Refusal, ...]) if path.exists() else ()


def _name(folder: Path) -> str:
    return hashlib.sha256(bytes(folder)).hexdigest()[:16]


def _run(spark: SparkSession, query: StreamingQuery, batches: _Batches) -> None:
    """Wait until the query ends; an interrupt ends it, and so does what goes wrong in a batch, which is raised."""
    try:
        while query.isActive:
            time.sleep(_LOOK_S)  # and not in Java: to interrupt a call there breaks the connection
    finally:
        batches.stopping.set()
        while not batches.idle.wait(_LOOK_S):  # lest what it was writing is left behind
            spark.sparkContext.cancelAllJobs()
        query.stop()
    if batches.error is not None:
        raise batches.error
    if (error := query.exception()) is not None:
        raise _readable(error)


def _readable(error: StreamingQueryException) -> MlopsError:
    what = str(error).strip().partition("\n")[0]
    return MlopsError(f"Spark stopped reading: {what}")


class _Batches:
    """Takes one batch of files after the other. `stopping` ends its waiting; `error` is what ended it.

    It is `idle` between batches.
    """

    def __init__(
        self,
        ingest: Callable[[Sequence[Path]], ValidateResult],
        on_batch: Callable[[Streamed], None],
        refused: Path,
    ) -> None:
        self.stopping, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.error: BaseException | None = None
        self._ingest, self._on_batch, self._refused = ingest, on_batch, refused

    def take(self, batch: DataFrame, _: int) -> None:
        """Called by Spark; what it raises ends the query, and the batch is taken again when it is next started."""
        self.idle.clear()
        try:
            if paths := sorted(Path(row.path.removeprefix("file:")) for row in batch.collect()):
                self._on_batch(self._taken(paths))
        except BaseException as error:  # noqa: BLE001, raised again where the query is waited for
            self.error = error
            raise RuntimeError("the batch was not taken") from None  # Spark chokes on long messages
        finally:
            self.idle.set()

    def _taken(self, paths: Sequence[Path]) -> Streamed:
        whole = [path for path in paths if self._is_whole(path)]
        reasons = {path: f"still growing after {_PATIENCE_S:.0f} s" for path in paths if path not in whole}
        results = self._ingested(whole, reasons)
        refused = tuple(
            Refusal(file=str(path), reason=reason, refused_at=datetime.now(UTC).isoformat(timespec="seconds"))
            for path, reason in reasons.items()
        )
        if refused:
            again = {refusal.file for refusal in refused}
            before = [one for one in read_refusals(self._refused.parent) if one.file not in again]
            write_json(self._refused, [*before, *refused])
        return Streamed(
            files=len(paths),
            passed_over=sum(result.passed_over for result in results),
            rows_in=sum(result.rows_in for result in results),
            good=sum(result.good for result in results),
            labels=sum(result.labels for result in results),
            quarantined=sum(result.quarantined for result in results),
            duplicates=sum(result.duplicates for result in results),
            refused=refused,
        )

    def _ingested(self, paths: Sequence[Path], reasons: dict[Path, str]) -> list[ValidateResult]:
        """The files taken together; where that is refused half of them each, to find out whose fault it is."""
        if not paths:
            return []
        try:
            return [self._ingest(paths)]
        except InputError as error:
            if len(paths) == 1:
                reasons[paths[0]] = error.line()
                return []
        middle = len(paths) // 2
        return self._ingested(paths[:middle], reasons) + self._ingested(paths[middle:], reasons)

    def _is_whole(self, path: Path) -> bool:
        """Wait until nobody writes to the file any more; False where that goes on."""
        patience = time.monotonic() + _PATIENCE_S
        while path.exists() and 0 <= time.time() - path.stat().st_mtime < _SETTLED_S:
            if time.monotonic() > patience:
                return False
            if self.stopping.wait(_LOOK_S):
                raise MlopsError("was stopped", where=path)
        return True
