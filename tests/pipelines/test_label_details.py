"""What is known with the label comes with the label, and is no part of what the event says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.bundle import Schema
from mlops.errors import InputError
from mlops.schema import Column
from pipelines.agreement import as_sent
from pipelines.validate import validate
from serving.events import EventReader
from tests.pipelines.test_ingest import LABEL, SCHEMA, deliver, event

KIND = Column(name="kind", type="integer", nullable=True, optional=True)
DETAILED = msgspec.structs.replace(SCHEMA, columns=(*SCHEMA.columns, KIND))
WITH_KIND = msgspec.structs.replace(LABEL, details=("kind",))


def test_details_come_with_the_label_and_make_no_other_event(spark: SparkSession, tmp_path: Path) -> None:
    parts = tmp_path / "events", tmp_path / "quarantine"
    deliveries = (
        [event(1, fraud=None), event(2, fraud=True, kind=2), event(3, fraud=False, kind=0)],
        [event(1, fraud=True, kind=3), event(2, fraud=True), event(3, fraud=False, kind=1)],
    )
    for number, rows in enumerate(deliveries):
        source = deliver(tmp_path / f"{number}.parquet", [{"kind": None, **row} for row in rows])
        result = validate(spark, source, *parts, DETAILED, WITH_KIND, merge=True)
    assert (result.labels, result.duplicates, result.quarantined) == (1, 2, 0)
    rows = pq.read_table(parts[0], partitioning=None).sort_by("id").to_pylist()
    assert [(row["fraud"], row["kind"]) for row in rows] == [(True, 3), (True, 2), (False, 0)]
    assert pq.read_schema(next(parts[0].rglob("*.parquet"))).field("kind").type == pa.int64()


def test_a_server_takes_no_details_with_an_event() -> None:
    schema = Schema(events=DETAILED, label=WITH_KIND, whole_number_ids=("id", "day"))
    sent = as_sent(event(1, kind=3), schema)
    assert set(sent) == {"id", "at", "day", "amount", "note"}
    reader = EventReader(schema)
    assert "kind" not in reader.event(sent).values
    with pytest.raises(InputError, match="kind: is not a field of an event"):
        reader.event({**sent, "kind": 3})
