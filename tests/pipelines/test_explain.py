"""For one event: each feature, its window and the events that entered it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from mlops.contract import load_use_case
from mlops.errors import InputError
from pipelines.explain import explain, window_of
from pipelines.explain_view import explanation_text
from pipelines.kernel import features_of
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, arrow_table, histories, write_events
from tests.reference import reference_features

USE_CASE = msgspec.structs.replace(
    load_use_case("usecases.fraud"),
    events=SCHEMA,
    label=LABEL,
    features=FEATURES,
    card="card",
    amount="amount",
)


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
        "where online = true",
        "Events in these windows",
    ):
        assert word in text
    assert "The same, to the last bit, in the event table." in text


@pytest.mark.parametrize("event_id", ["12345678", "none", ""])
def test_an_event_that_is_not_there_is_one_error(tmp_path: Path, event_id: str) -> None:
    table = write_events(tmp_path / "events", history(text_ids=False))
    with pytest.raises(InputError, match=r"no event .* validated or ingested"):
        explain(table, event_id, USE_CASE)
