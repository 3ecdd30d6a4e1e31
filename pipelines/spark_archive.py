"""Makes the archive of Spark's classes that spares each later start of Spark half of its work.

    python -m pipelines.spark_archive

Java checks and compiles some 15,000 classes whenever Spark starts. It can keep them as they are in memory ("class
data sharing"): here in a file of 190 MB beside the launcher, for one Java and one Spark. `pipelines.spark` uses it
where it is there; with another Java, another Spark or none at all, everything runs as it does without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from mlops.errors import SetupError
from mlops.settings import Settings
from mlops.storage import one_writer
from pipelines.java import class_archive, class_archive_stem
from pipelines.spark import session, stop

__all__ = ["make_archive"]

_PATIENCE_S = 1800.0  # writing takes some 20 s of one core, and a busy machine has less to give


def make_archive() -> bool:
    """Write the archive, if there is no whole one for this Java and this Spark; whether one was written.

    Those of other Javas stay: a machine may use two in turn.
    It starts a session of its own and stops it, so it wants a process in which there is none.

    Raises:
        SetupError: there is no Java, it wrote no archive, or its folder cannot be written to.
    """
    stem = class_archive_stem()
    try:
        with one_writer(stem.parent):
            if class_archive() is not None:
                return False
            for old in stem.parent.glob(f"*{stem.name}*.jsa"):
                old.unlink()
            _write(stem)
    except OSError as error:
        raise SetupError(
            f"no archive of Spark's classes: {error.strerror}", where=str(stem.parent)
        ) from error
    return True


def _write(stem: Path) -> None:
    # Java's own classes come first, in a file of their own: not every Java brings one along.
    base, aside = stem.with_suffix(".base.jsa"), stem.parent / f"new-{stem.name}.jsa"
    java = stem.parent / "bin" / "java"
    command = [
        str(java),
        "-Xshare:dump",
        f"-XX:SharedArchiveFile={base}",
        "-XX:+UseSerialGC",
        "-Xlog:disable",
    ]
    subprocess.run(command, capture_output=True, check=False)
    flags = f'-XX:SharedArchiveFile="{base}" -XX:ArchiveClassesAtExit="{aside}" -Xlog:disable'
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            home=Path(folder), spark_master="local[2]", spark_conf=f"spark.driver.extraJavaOptions={flags}"
        )
        try:
            _exercise(session(settings), folder)
        finally:
            stop(patience_s=_PATIENCE_S)
    if not (base.exists() and aside.exists()):
        raise SetupError("this Java writes no archive of classes", where=str(java))
    for file in (base, aside):  # after a power cut, files of the right size may hold nothing
        with file.open("rb") as written:
            os.fsync(written.fileno())
    aside.rename(f"{stem}-{base.stat().st_size + aside.stat().st_size}.jsa")


def _exercise(spark: SparkSession, folder: str) -> None:
    """What the steps ask of Spark, on a few rows: what this loads is archived."""
    rows = spark.range(100).selectExpr(
        "id", "id % 7 AS key", "cast(id AS decimal(18, 2)) AS amount", "timestamp_seconds(id) AS time"
    )
    rows.write.partitionBy("key").parquet(f"{folder}/parquet")
    rows.write.csv(f"{folder}/csv", header=True)
    text = spark.read.csv(f"{folder}/csv", header=True).selectExpr(
        "try_cast(id AS bigint) AS id", "amount AS said"
    )
    table = spark.read.parquet(f"{folder}/parquet").join(text, "id").repartition(2, "key")
    table.createOrReplaceTempView("rows")
    spark.sql(
        "SELECT *, sum(amount) OVER (PARTITION BY key ORDER BY time) AS total FROM rows ORDER BY id"
    ).mapInArrow(_same, "id bigint, total decimal(28, 2)").groupBy("id").count().toArrow()


def _same(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.select(["id", "total"])


def main() -> None:
    """Make the archive, and say so; where it cannot be made, say why: all runs without it."""
    start = time.monotonic()
    try:
        made = make_archive()
    except SetupError as error:
        print(error, file=sys.stderr)
        return
    if made:
        print(f"made the archive of Spark's classes in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
