"""Hashes of columns and tables in memory."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops.tables import Part, total_fingerprint
from pipelines.hashing import column_hashes, table_fingerprint

TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text()),
    (pa.timestamp("us", "UTC"), st.datetimes(datetime(1900, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))),
]


@pytest.mark.parametrize(("type_", "values"), TYPES, ids=[str(type_) for type_, _ in TYPES])
@settings(deadline=None)
@given(st.data())
def test_a_value_has_its_hash_wherever_it_stands(
    type_: pa.DataType, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    column = data.draw(st.lists(st.none() | values, min_size=1, max_size=20))
    whole = pa.chunked_array([pa.array(column, type_)])
    alone = [column_hashes(pa.chunked_array([pa.array([value], type_)]))[0] for value in column]
    assert column_hashes(whole).tolist() == alone
    assert column_hashes(whole.slice(len(column) // 2)).tolist() == alone[len(column) // 2 :]
    assert len(set(alone)) == len(set(column))


def test_texts_that_look_alike_have_different_hashes() -> None:
    texts = ["", "\0", "\0\0", "a", "a\0", "\0a", "ab", "ba", "é", "e\u0301", None]
    assert len(set(column_hashes(pa.chunked_array([pa.array(texts)])).tolist())) == len(texts)


ROWS = st.lists(st.tuples(st.integers(0, 3), st.none() | st.text(max_size=2)), min_size=1, max_size=8)


def table(rows: list[tuple[int, str | None]]) -> pa.Table:
    return pa.table({"n": pa.array([n for n, _ in rows], pa.int64()), "t": [t for _, t in rows] or []}).cast(
        pa.schema([("n", pa.int64()), ("t", pa.string())])
    )


@settings(deadline=None)
@example([(0, None)], [(0, None), (0, "")], random.Random(0))
@given(ROWS, ROWS, st.randoms())
def test_a_fingerprint_is_of_the_rows_and_not_of_their_order(one: Any, other: Any, drawn: Any) -> None:
    shuffled = drawn.sample(one, len(one))
    assert table_fingerprint(table(one)) == table_fingerprint(table(shuffled))
    same = sorted(one, key=repr) == sorted(other, key=repr)
    assert (table_fingerprint(table(one)) == table_fingerprint(table(other))) is same


@settings(deadline=None)
@given(ROWS, ROWS)
def test_the_fingerprints_of_parts_add_up(one: Any, other: Any) -> None:
    parts = {
        day: Part(rows=len(rows), fingerprint=table_fingerprint(table(rows)))
        for day, rows in (("2024-01-01", one), ("2024-01-02", other))
    }
    assert total_fingerprint(parts) == table_fingerprint(table(one + other))
