"""From feature files to files of scores, a file a task, in Spark's workers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from mlops.bundle import Bundle
from mlops.errors import InputError
from mlops.model import Floats, open_model
from mlops.storage import aside
from pipelines.history import dealt_out, read_rows, table_files

__all__ = ["ASKED", "FEATURES", "Scored", "Scoring"]

ASKED, FEATURES = "asked", "features"
"""Tables by day in a working folder: ids, and the features of events, among them all that have these ids."""

_COUNTED = "decision string, events bigint"


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were scored, and how many of them got each decision, where the bundle has thresholds."""

    events: int
    decisions: dict[str, int]


class Scoring(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do: score the asked events of the tables in `work`, and write the files into `folder`."""

    bundle: Bundle
    version: str | None
    with_features: bool
    work: Path
    folder: Path

    def run(self, spark: SparkSession) -> Scored:
        """Score all of them.

        Raises:
            InputError: a feature is beyond single precision, or the model gives a score that is not a number.
        """
        dealt = dealt_out(table_files(self.work / FEATURES), spark.sparkContext.defaultParallelism)

        def act(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            score = open_model(self.bundle)
            for task in (task for batch in batches for task in batch.column(0).to_pylist()):
                for file in map(Path, dealt[task]):
                    if (table := self._asked(file)).num_rows:
                        yield self._write(file, table, score(self._matrix(table)))

        tasks = spark.range(0, len(dealt), 1, len(dealt)).mapInArrow(act, _COUNTED)
        total: Counter[str | None] = Counter()
        for row in tasks.collect():
            total[row["decision"]] += row["events"]
        return Scored(
            events=total.total(),
            decisions={name: count for name, count in sorted(total.items()) if name is not None},
        )

    def _asked(self, file: Path) -> pa.Table:
        """The events of a feature file that are asked about."""
        id_, ids = self.bundle.schema.events.id, self.work / ASKED / file.parent.name
        table = pq.read_table(file, partitioning=None)
        if not ids.is_dir():
            return table.slice(0, 0)
        wanted = pa.schema([table.schema.field(id_)])
        asked = pa.concat_tables(read_rows([str(path) for path in table_files(ids)], wanted))
        return table.filter(pc.is_in(table[id_], value_set=asked[id_]))

    def _matrix(self, table: pa.Table) -> Floats:
        """The model's input [n, f]: doubles rounded to single precision, as a server rounds them."""
        columns = [_doubles(table[name]).to_numpy() for name in self.bundle.features.names]
        with np.errstate(over="ignore"):
            matrix = np.column_stack(columns).astype(np.float32)
        if len(wrong := np.argwhere(~np.isfinite(matrix))):
            row, place = wrong[0].tolist()
            raise InputError(
                f"feature {self.bundle.features.names[place]} is beyond single precision",
                where=f"event {table[self.bundle.schema.events.id][row]}",
            )
        return matrix

    def _write(self, file: Path, table: pa.Table, scores: Floats) -> pa.RecordBatch:
        """Write a file of scores that is named for its feature file; return the counts of its decisions."""
        schema, decide = self.bundle.schema, self.bundle.decisions
        ids = table[schema.events.id]
        if len(wrong := np.flatnonzero(~np.isfinite(scores))):
            raise InputError("the model gives no number", where=f"event {ids[int(wrong[0])]}")
        decided = [None if decide is None else decide.decide(float(score)) for score in scores]
        columns = {"event_id": ids}
        if schema.events.time:
            columns["event_time"] = table[schema.events.time]
        columns["prediction" if schema.task == "regression" else "score"] = pa.array(
            scores.astype(np.float64)
        )
        columns["decision"] = pa.array(decided, pa.string())
        columns["model"] = pa.repeat(self.bundle.manifest.name, len(scores))
        columns["version"] = pa.array([self.version] * len(scores), pa.string())
        if self.with_features:
            names = self.bundle.features.names
            doubles = [_doubles(table[name]).combine_chunks() for name in names]
            columns["features"] = pa.StructArray.from_arrays(doubles, names=names)
        day = file.parent.name.partition("=")[2]
        target = self.folder / f"scores-{day}-{file.stem.rpartition('-')[2]}.parquet"
        temporary = aside(target)  # another try of the same task may be writing it, too
        pq.write_table(pa.table(columns), temporary, compression="zstd")
        os.replace(temporary, target)
        counts = Counter(decided)
        return pa.record_batch(
            [pa.array(list(counts), pa.string()), pa.array(list(counts.values()), pa.int64())],
            names=["decision", "events"],
        )


def _doubles(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.float64(), safe=False)
