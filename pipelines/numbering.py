"""Ids for rows of files that have none: a digest of the file's content, and the row's number in it, from 1.

So the same file gives the same ids whatever it is called and whenever it is read, by Spark or by Arrow, and the rows
of another file have others. Blank lines of CSV are no rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, Window
from pyspark.sql import functions as F

__all__ = ["digest_of", "row_ids", "spark_row_ids"]

_DIGITS = 12


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_ids(path: Path, rows: int) -> pa.ChunkedArray:
    """The ids of a file's rows, in their order."""
    prefix = digest_of(path)[:_DIGITS]
    return pa.chunked_array([pa.array([f"{prefix}-{number}" for number in range(1, rows + 1)], pa.string())])


def spark_row_ids(paths: Sequence[Path], *, csv: bool) -> Column:
    """The ids of rows that Spark reads from these files. A CSV file's rows are counted by one task a file."""
    digests = {path.absolute().as_posix(): digest_of(path)[:_DIGITS] for path in paths}
    known = F.create_map(*(F.lit(text) for text in chain.from_iterable(digests.items())))
    # As a URI: file:///a%20b, in which a plus stands for itself.
    uri = F.regexp_replace(F.col("_metadata.file_path"), r"\+", "%2B")
    path = F.regexp_replace(F.url_decode(uri), "^file:/+", "/")
    if csv:
        # Spark reads a part of a file in its order, and the numbers rise with it.
        in_file = Window.partitionBy("_metadata.file_path").orderBy(
            F.col("_metadata.file_block_start"), F.monotonically_increasing_id()
        )
        number = F.row_number().over(in_file)
    else:
        number = F.col("_metadata.row_index") + 1
    return F.concat_ws("-", known[path], number.cast("string"))
