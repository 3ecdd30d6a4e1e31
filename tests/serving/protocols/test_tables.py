"""How data frames and CSV become rows: names, gaps, numbers that pandas made floats, and what does not fit."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import InputError
from serving.events import EventReader
from serving.protocols.tables import from_columns, from_csv, from_rows, from_split
from tests.serving.example import FEATURES, NUMBERS, TEXTS, payment, payments

NAMES = FEATURES.names
FRAME = pd.DataFrame([*payments(range(6)), payment(6, items=None, abroad=None)])


def csv_of(frame: pd.DataFrame, **how: Any) -> bytes:
    text = io.StringIO()
    frame.to_csv(text, **({"index": False} | how))
    return text.getvalue().encode()


@pytest.mark.parametrize("schema", [NUMBERS, TEXTS], ids=["whole-number ids", "text ids"])
def test_a_data_frame_s_csv_gives_the_events_that_were_put_into_it(schema: Any) -> None:
    frame = FRAME.astype({"payment": "int64", "items": "float64"})  # as pandas has integers with gaps
    reader = EventReader(schema)
    events = [reader.event(row) for row in from_csv(schema, NAMES, csv_of(frame))]
    put_in = [reader.event(row) for row in payments(range(6))]
    assert events[:6] == put_in
    assert (events[6].values["items"], events[6].values["abroad"], events[6].values["note"]) == (None,) * 3


def test_csv_without_names_is_rows_of_numbers() -> None:
    assert from_csv(NUMBERS, NAMES, b"1,2.5,-3e2\r\n+4,.5,6.\r\n") == [[1, 2.5, -300.0], [4, 0.5, 6.0]]
    assert from_csv(NUMBERS, NAMES, b"") == []
    assert from_csv(NUMBERS, NAMES, b"amount,to_mean\n") == []


def test_whether_csv_has_names_can_be_declared() -> None:
    assert from_csv(NUMBERS, NAMES, b"amount\n1\n", header=False) == [["amount"], [1]]
    with pytest.raises(InputError, match="names no column"):
        from_csv(NUMBERS, NAMES, b"1,2\n3,4\n", header=True)


def test_a_cell_of_a_text_column_stays_text() -> None:
    row = from_csv(NUMBERS, NAMES, b'note,card,amount,abroad\n007," 5",007,TRUE\n')[0]
    assert row == {"note": "007", "card": " 5", "amount": 7, "abroad": True}


@pytest.mark.parametrize("cell", ["1_000", "0x10", "１", "1e5e5", "--1", "yes", "1" * 5000])
def test_a_cell_that_is_no_number_is_left_to_whoever_reads_the_field(cell: str) -> None:
    rows = from_csv(NUMBERS, NAMES, f"amount,note\n{cell},x\n".encode())
    value = rows[0]["amount"]  # type: ignore[call-overload]
    assert value == cell or value == float("inf")  # of 5,000 digits, which no double holds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b'amount\n"1\n', "CSV"),
        (b"amount,note\n1\n", "cell"),
        (b"amount,note\n1,2,3\n", "cell"),
        (b"amount,amount\n1,2\n", "twice"),
        (b",amount\n0,2\n", "index"),
        (b"{}", "names no column"),
    ],
)
def test_csv_that_is_none_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_csv(NUMBERS, NAMES, body)


def test_a_split_frame_has_its_gaps_as_nothing_and_its_integers_whole() -> None:
    split = {
        "columns": ["items", "amount", "note"],
        "index": [4, 5],
        "data": [[3.0, 3.0, "a"], [np.nan, 1.5, None]],
    }
    rows = from_split(NUMBERS, split, "t")
    assert rows == [{"items": 3, "amount": 3.0, "note": "a"}, {"items": None, "amount": 1.5, "note": None}]
    assert type(rows[0]["items"]) is int  # type: ignore[call-overload]


@pytest.mark.parametrize("columns", [{}, {"columns": None}, {"columns": [0, 1]}])
def test_columns_that_are_only_numbered_have_no_names(columns: dict[str, Any]) -> None:
    assert from_split(NUMBERS, columns | {"data": [[1, 2]]}, "t") == [[1, 2]]


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ([], "t"),
        ({"columns": ["a"]}, "t"),
        ({"columns": "ab", "data": []}, "t.columns"),
        ({"columns": ["a", 1], "data": []}, "t.columns"),
        ({"columns": ["a", "a"], "data": []}, "t.columns"),
        ({"columns": ["a", []], "data": []}, "t.columns"),
        ({"columns": ["a"], "data": [[1], [1, 2]]}, "t.data[1]"),
        ({"columns": ["a"], "data": [{"a": 1}]}, "t.data[0]"),
    ],
)
def test_a_split_frame_that_is_none_is_refused_by_place(raw: Any, where: str) -> None:
    with pytest.raises(InputError) as refused:
        from_split(NUMBERS, raw, "t")
    assert refused.value.where == where


def test_columns_are_turned_into_rows() -> None:
    assert from_columns(NUMBERS, {"a": [1, 2], "b": [[3], [4]]}, "t") == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert from_columns(NUMBERS, {}, "t") == []


@pytest.mark.parametrize(
    ("raw", "where"), [([], "t"), ({"a": 1}, "t.a"), ({"a": [1], "b": [1, 2]}, "t.b"), ({"a": {}}, "t.a")]
)
def test_columns_that_are_none_are_refused_by_name(raw: Any, where: str) -> None:
    with pytest.raises(InputError) as refused:
        from_columns(NUMBERS, raw, "t")
    assert refused.value.where == where


def test_rows_are_a_list() -> None:
    assert from_rows(NUMBERS, [{"items": 2.0}, {"items": float("nan")}], "t") == [
        {"items": 2},
        {"items": None},
    ]
    with pytest.raises(InputError, match="must be a list"):
        from_rows(NUMBERS, {}, "t")
