"""For one event: each feature, its window and the events that entered it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from mlops.bundle import Schema
from mlops.contract import Candidate, load_use_case
from mlops.errors import InputError
from mlops.features import FeatureSet, Missing, Value
from mlops.policy import DecisionLog, RandomSplit
from mlops.schema import Column
from mlops.tables import NO_DAY, EventTable, day_folder, write_table_meta
from pipelines.backfill import backfill
from pipelines.explain import explain, window_of
from pipelines.explain_online import StoreView
from pipelines.explain_view import explanation_text
from pipelines.kernel import features_of
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, arrow_table, histories, write_events
from tests.reference import reference_features

USE_CASE = replace(
    load_use_case("usecases.fraud"),
    events=SCHEMA,
    label=LABEL,
    features=FEATURES,
    candidates=(
        Candidate(name="one", framework="scikit-learn", builder="training.builders:logistic_regression"),
    ),
    slices=(),
    policy=replace(load_use_case("usecases.fraud").policy, decisions=DecisionLog()),
    card="card",
    amount="amount",
)

STORED = Schema(events=SCHEMA, label=LABEL)


def history(*, text_ids: bool) -> list[dict[str, Any]]:
    return [event for one in histories(12, text_ids=text_ids, seed=3) for event in one]


@pytest.mark.parametrize("text_ids", [False, True], ids=["numbers", "text"])
def test_the_events_of_a_window_alone_give_the_value(text_ids: bool) -> None:
    """What is left out of a window can be taken away, and what is in it cannot."""
    rows = arrow_table(history(text_ids=text_ids))
    whole = features_of(rows, FEATURES, SCHEMA)
    for place in range(0, rows.num_rows, 19):
        for a in FEATURES.aggregates:
            mask = window_of(rows, place, a, SCHEMA)
            alone = mask.copy()
            alone[place] = True
            left = features_of(rows.filter(pa.array(alone)), FEATURES, SCHEMA)
            now = left[a.name].to_numpy()[np.count_nonzero(alone[:place])]
            assert now == whole[a.name].to_numpy()[place], a.name


def test_values_are_those_of_the_reference(tmp_path: Path) -> None:
    events = history(text_ids=False)
    table = write_events(tmp_path / "events", events)
    reference = reference_features(events, {}, FEATURES, SCHEMA, LABEL)
    for event in events[::9]:
        explanation = explain(table, str(event["id"]), USE_CASE)
        assert [f.offline for f in explanation.features] == reference[event["id"]]
        assert explanation.event["id"] == event["id"]
        assert explanation.differences == ()


def test_the_text_names_features_windows_and_events(tmp_path: Path) -> None:
    events = history(text_ids=True)
    table = write_events(tmp_path / "events", events)
    text = explanation_text(explain(table, events[0]["id"], USE_CASE), FEATURES, SCHEMA)
    for word in (
        "card_max_amount_2d",
        "(t − 2d, this event)",
        "online = true",
        "Events in these windows",
    ):
        assert word in text
    assert "The same, to the last bit, in the event table." in text


@pytest.mark.parametrize("event_id", ["12345678", "none", ""])
def test_an_event_that_is_not_there_is_one_error(tmp_path: Path, event_id: str) -> None:
    table = write_events(tmp_path / "events", history(text_ids=False))
    with pytest.raises(InputError, match=r"no event .* validated or ingested"):
        explain(table, event_id, USE_CASE)


def test_the_store_is_asked_and_told_from_the_tables(tmp_path: Path) -> None:
    events = history(text_ids=True)
    table = write_events(tmp_path / "events", events)
    whole, lacking = tmp_path / "whole", tmp_path / "lacking"
    backfill([table], whole, FEATURES, STORED)
    place = max(range(len(events)), key=lambda n: sum(e["card"] == events[n]["card"] for e in events))
    mine = events[place]
    known = [e for e in events if e["card"] == mine["card"] and e is not mine and e["at"] <= mine["at"]]
    backfill(
        [write_events(tmp_path / "less", [e for e in events if e is not known[-1]])],
        lacking,
        FEATURES,
        STORED,
    )

    same = explain(table, mine["id"], USE_CASE, ask_store=StoreView(str(whole), FEATURES, STORED))
    other = explain(table, mine["id"], USE_CASE, ask_store=StoreView(str(lacking), FEATURES, STORED))

    assert all(window.online == window.offline for window in same.windows)
    assert [f.online for f in same.features] == [f.offline for f in same.features]
    assert "The same, to the last bit, in the event table, the online store." in explanation_text(
        same, FEATURES, SCHEMA
    )
    assert "card_count_2d" in other.differences
    assert f"lacks {known[-1]['id']}" in explanation_text(other, FEATURES, SCHEMA)


def test_a_store_that_has_not_counted_the_event_knows_nothing_of_it(tmp_path: Path) -> None:
    events = history(text_ids=True)
    backfill([write_events(tmp_path / "less", events[1:])], tmp_path / "store", FEATURES, STORED)
    ask = StoreView(str(tmp_path / "store"), FEATURES, STORED)
    explanation = explain(write_events(tmp_path / "events", events), events[0]["id"], USE_CASE, ask_store=ask)
    assert {window.online for window in explanation.windows} == {None}
    assert {feature.online for feature in explanation.features} == {None}


def test_events_without_a_time_have_no_windows(tmp_path: Path) -> None:
    timeless = replace(SCHEMA, time="", columns=tuple(c for c in SCHEMA.columns if c.name != "at"))
    own = FeatureSet((Value(column="amount"), Missing(column="tip")))
    split = RandomSplit()
    use_case = replace(
        USE_CASE,
        events=timeless,
        features=own,
        card="",
        policy=replace(USE_CASE.policy, split=split, costs=None),
    )
    rows = arrow_table(history(text_ids=True)).drop_columns(["at"])
    table = tmp_path / "events"
    day_folder(table, NO_DAY).mkdir(parents=True)
    pq.write_table(rows, day_folder(table, NO_DAY) / "0.parquet")
    meta = EventTable(rows=len(rows), whole_number_ids=(), first_event="", last_event="", fingerprint="0")
    write_table_meta(table, meta)
    event = rows.slice(5, 1).to_pylist()[0]

    explanation = explain(table, event["id"], use_case)

    assert [f.offline for f in explanation.features] == [event["amount"], float(event["tip"] is None)]
    assert (explanation.windows, len(explanation.events)) == ((), 1)
    assert event["id"] in explanation_text(explanation, own, timeless)


def test_a_column_that_is_new_is_null_in_events_from_before(tmp_path: Path) -> None:
    device = Column(name="device", type="text", nullable=True, optional=True)
    declared = FeatureSet((*FEATURES.features, Missing(column="device")))
    use_case = replace(USE_CASE, events=replace(SCHEMA, columns=(*SCHEMA.columns, device)), features=declared)
    events = history(text_ids=True)
    table = write_events(tmp_path / "events", events)
    found = {f.name: f.offline for f in explain(table, events[0]["id"], use_case).features}
    assert found["device_is_missing"] == 1.0
