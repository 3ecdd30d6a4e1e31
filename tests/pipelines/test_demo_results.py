"""What the demo says on its way and at its end: each figure with the days that it is of."""

from __future__ import annotations

from datetime import date

import msgspec

from pipelines.demo_results import ModelName, Summary, alerts_told, rows_told
from pipelines.tables import demo_table
from tests.pipelines.test_conclusion import LOOK, VALIDATED

MODEL = ModelName(version="1", framework="pytorch")


def test_every_row_that_came_in_is_accounted_for() -> None:
    result = msgspec.structs.replace(VALIDATED, rows_in=1_010, duplicates=10)
    assert rows_told(result) == "970 of 1,010 rows are good, 30 quarantined, 10 duplicates"


def test_what_monitoring_found_is_told_with_the_days_that_it_looked_at() -> None:
    assert alerts_told(LOOK, date(2018, 7, 15)) == "days 5–11: 8 of 20 features drifted."
    quiet = msgspec.structs.replace(LOOK, alerts=())
    assert alerts_told(quiet, date(2018, 7, 15)) == "days 5–11: no alert"


def test_the_table_says_of_which_days_its_figures_are() -> None:
    summary = Summary(
        seed=0,
        wall_seconds=1.0,
        stage_seconds={},
        events_in=1_010,
        events_quarantined=30,
        candidates=(),
        champion_before=MODEL,
        champion_after=MODEL,
        retrained=False,
        ap_before_shift=0.7,
        ap_after_shift=0.3,
        ap_after_retrain=0.6,
        drift_detected=True,
        drifted_features=("amount",),
        feature_parity_max_abs_diff=0.0,
        parity_events=1,
        onnx_parity_max_abs_diff=0.0,
        requests_sent=1,
        requests_failed=0,
    )
    text = " ".join(demo_table(summary).split())
    assert "AP before the change, days 58–64 0.700" in text
    assert "AP after the change, days 65–92 0.300" in text
    assert "AP at the end, days 94–99 0.600" in text
