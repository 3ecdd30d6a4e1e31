"""What is served equals what is trained on: one history through both executors, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mlops.bundle import Schema
from pipelines.agreement import replay_both
from serving.codes import encode_id
from serving.entries import Entry
from serving.plan import StorePlan
from serving.stores import open_store
from serving.totals import Totals
from tests.pipelines.histories import FEATURES, LABEL, SCHEMA, arrow_table, histories


@pytest.mark.parametrize("uri", ["memory:", "folder"])
@pytest.mark.parametrize("text_ids", [False, True], ids=["numbers", "text"])
def test_every_feature_of_every_event_is_the_same(tmp_path: Path, text_ids: bool, uri: str) -> None:
    """With ties, late and repeated events, unseen keys, days on which clocks change, late and corrected labels."""
    history = arrow_table([event for one in histories(300, text_ids=text_ids) for event in one])
    schema = Schema(events=SCHEMA, label=LABEL, whole_number_ids=() if text_ids else ("id", "card", "shop"))
    place = uri if uri == "memory:" else str(tmp_path / "store")
    with closing(open_store(place, StorePlan.of(FEATURES, schema), schema)) as store:
        result = replay_both(history, FEATURES, schema, store)
    assert result.differing == ()
    assert (result.events, result.values) == (len(history), len(history) * len(FEATURES.names))
    assert min(result.late, result.repeated, result.labels) > 0


def test_a_store_that_lost_an_event_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    history = arrow_table([event for one in histories(40, text_ids=False) for event in one])
    schema = Schema(events=SCHEMA, label=LABEL, whole_number_ids=("id", "card", "shop"))
    append, lost = Totals.append, encode_id(history["id"][len(history) // 2].as_py())

    def append_others(self: Totals, entries: Sequence[Entry]) -> int:
        return append(self, [entry for entry in entries if entry.id != lost])

    monkeypatch.setattr(Totals, "append", append_others)
    with closing(open_store("memory:", StorePlan.of(FEATURES, schema), schema)) as store:
        assert "card_count_2d" in replay_both(history, FEATURES, schema, store).differing
