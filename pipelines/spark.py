"""The Spark session: one a process, in UTC, quiet, and bound to this machine while it is local."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from mlops.errors import ConfigError, InputError, SetupError
from mlops.settings import Settings
from pipelines.java import class_archive, spark_environment
from pipelines.spark_master import see_master, watched
from pipelines.spark_process import java_process, kill

__all__ = ["archive_options", "literal_path", "read_parquet", "readable_errors", "session", "stop"]

_LOG4J = Path(__file__).with_name("log4j2.properties")
_CONF = {
    "spark.app.name": "mlops",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Else each column expression looks up where in Python it was written, which costs seconds.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    # Many small shuffle partitions, which adaptive execution merges: as many as cores for a laptop's tables, none
    # above 64 MB for large ones.
    "spark.sql.shuffle.partitions": "32",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # pandas writes nanoseconds, which Spark reads as whole numbers or not at all.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # No .crc file beside each Parquet file, which has checksums of its own.
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
}
# Short jobs on few cores: compiling each method as far as it goes takes longer than it saves.
_LOCAL_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def session(settings: Settings) -> SparkSession:
    """The process's session; started at the first call, the same one afterwards.

    Raises:
        ConfigError: the settings' `spark_conf` is not `name=value;…`, or `spark_master` is no master.
        SetupError: there is no Java that Spark runs on, it does not start, or no master answers.
    """
    more = _more(settings)
    if SparkContext._active_spark_context is None:
        see_master(more.get("spark.master", settings.spark_master))
    os.environ.update(spark_environment())
    conf = _CONF | {"spark.master": settings.spark_master, "spark.driver.memory": settings.spark_memory}
    java = f'-Dlog4j2.configurationFile="{_LOG4J.as_uri()}"'
    if settings.spark_master.startswith("local"):
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        java = f"{java} {_LOCAL_JAVA} {archive_options()}"
    # What py4j logs it raises as well; an interrupted call it reports to the root logger.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_not_of_py4j)
    builder = SparkSession.builder
    java_options = "spark.driver.extraJavaOptions"
    more[java_options] = f"{java} {more.get(java_options, '')}".strip()
    for key, value in (conf | more).items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkException as error:
        raise SetupError(
            f"Spark does not start: {_first_line(error)}", todo="`make doctor` says which Java there is"
        ) from error
    except Py4JJavaError as error:  # the context was stopped before it was whole
        raise SetupError(
            f"Spark does not start: {error.java_exception.toString()}",
            where=settings.spark_master,
            todo="see whether it is a master of this version of Spark's, and takes applications",
        ) from error
    finally:
        if SparkContext._active_spark_context is None:  # it failed, or was interrupted
            stop()


def archive_options() -> str:
    """What makes Java take Spark's classes from their archive, if there is one (`pipelines.spark_archive`).

    Java itself looks whether the archive fits the class path; where it does not, it would say so and go on without.
    """
    archive = class_archive()
    return "" if archive is None else f'-XX:SharedArchiveFile="{archive}" -Xlog:disable'


def stop(*, patience_s: float = 30) -> None:
    """Stop the session and end its Java process; without a session, nothing. A start under way is given up.

    Where a call to Java was interrupted, its connection is broken: then the process is ended without a word. One
    that writes an archive of its classes before it ends wants more patience.
    """
    gateway, context, process = SparkContext._gateway, SparkContext._active_spark_context, java_process()
    try:
        if process is not None and context is None:
            kill(process)
        if context is not None:
            context.stop()
        if gateway is not None:
            gateway.shutdown()
    except (Py4JError, OSError):
        if process is not None:
            kill(process)
    finally:
        if process is not None:
            _let_end(process, patience_s)
        SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None


def read_parquet(spark: SparkSession, *folders: Path) -> DataFrame:
    """The rows of a table, or of folders of one; what folders are called adds no column.

    Spark would take brackets, braces, stars and question marks in the path for a pattern.
    """
    paths = [literal_path(folder) for folder in folders]
    return spark.read.option("recursiveFileLookup", True).parquet(*paths)


def literal_path(path: Path) -> str:
    """The path as Spark must get it, lest it takes brackets, braces, stars and question marks for a pattern."""
    return re.sub(r"([\\\[\]{}*?,^])", r"\\\1", str(path.absolute()))


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn what Spark throws for a damaged file, a full disk or a lost cluster into the platform's own errors.

    Raises:
        InputError: a file cannot be read to its end.
        SetupError: the device is full, Spark was out of memory, or its cluster has ended.
    """
    try:
        with watched() as cluster:
            yield
    except (PySparkException, Py4JJavaError) as error:
        if cluster.lost:
            stop()
            raise SetupError(
                "the cluster has ended: no executor is left, and no master answers",
                where=cluster.lost,
                todo="start it and run again",
            ) from error
        text = str(error)
        if "No space left on device" in text:
            raise SetupError("no space left on the device", todo="free some and run again") from error
        if "OutOfMemoryError" in text:
            raise SetupError(
                "Spark was out of memory", todo="raise MLOPS_SPARK_MEMORY, 2g by default"
            ) from error
        if match := re.search(r"FAILED_READ_FILE.*? while reading file (file:)?(/{2})?(\S+?)\.? ", text):
            raise InputError("is damaged: it cannot be read to its end", where=unquote(match[3])) from error
        if match := re.search(r"^mlops\.errors\.InputError: (.+)$", text, re.MULTILINE):  # raised by a worker
            raise InputError(match[1]) from error
        raise


def _let_end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()  # which tells it to end
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        kill(process)


def _more(settings: Settings) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in settings.spark_conf.split(";") if pair.strip()]
    if wrong := [name for name, equals, _ in pairs if not (name.strip().startswith("spark.") and equals)]:
        raise ConfigError(
            f"{wrong[0].strip()!r} is no setting of Spark's",
            where="MLOPS_SPARK_CONF",
            todo="write spark.name=value, with ; between several",
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _not_of_py4j(record: logging.LogRecord) -> bool:
    return record.module != "java_gateway"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
