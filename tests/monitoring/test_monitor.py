from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mlops.storage import read_json
from monitoring.monitor import DRIFT_REPORT, RESULT, monitor
from monitoring.results import MonitorResult, RetrainRequest
from monitoring.rules import REQUEST, open_request
from tests.monitoring.example import USE_CASE, payments

FIRST, LAST = date(2018, 6, 5), date(2018, 6, 11)  # days 65 to 71
AS_OF = datetime(2018, 6, 19, tzinfo=UTC)  # day 79


def _look(folder: Path, *, skill: float, **changes: object) -> MonitorResult:
    served, labels = payments(60, 75, skill=lambda day: skill)
    arguments: dict[str, object] = {
        "served": served,
        "labels": labels,
        "use_case": USE_CASE,
        "folder": folder,
        "first_day": FIRST,
        "last_day": LAST,
        "as_of": AS_OF,
        "reference_figure": 0.8,
    }
    return monitor(**{**arguments, **changes})  # type: ignore[arg-type]


def test_a_drop_becomes_an_alert_and_a_request_to_retrain(tmp_path: Path) -> None:
    found = _look(tmp_path, skill=1.5)
    assert [alert.rule for alert in found.alerts] == ["performance"]
    request = read_json(tmp_path / REQUEST, RetrainRequest)
    assert found.request == request
    assert (request.requested_on, request.train_from) == ("2018-06-19", "2018-06-05")
    # 65 + 7 days of training, 7 of delay, 7 of test, and 7 until their labels are due: day 93.
    assert request.not_before == "2018-07-03"
    assert request.evidence["figure_high"] < 0.75 and request.evidence["reference"] == 0.8
    assert request.evidence["positives"] >= 20


def test_no_drop_no_request(tmp_path: Path) -> None:
    found = _look(tmp_path, skill=3.5)
    assert found.alerts == () and found.request is None
    assert open_request(tmp_path) is None


def test_too_few_frauds_are_no_evidence(tmp_path: Path) -> None:
    served, labels = payments(65, 66, skill=lambda day: 1.0, a_day=60)
    found = _look(tmp_path, skill=1.0, served=served, labels=labels)
    assert found.performance.period is not None and 0 < found.performance.period.positives < 20
    assert found.alerts == () and found.request is None


def test_a_drop_that_the_interval_leaves_open_is_no_evidence(tmp_path: Path) -> None:
    period = _look(tmp_path / "once", skill=1.5, reference_figure=None).performance.period
    assert period is not None and period.ap is not None
    reference = (period.ap.value + period.ap.high) / 2 + USE_CASE.policy.performance.min_drop
    assert _look(tmp_path, skill=1.5, reference_figure=reference).request is None


def test_asking_again_neither_changes_nor_postpones_the_request(tmp_path: Path) -> None:
    first = _look(tmp_path, skill=1.5)
    written = (tmp_path / REQUEST).read_bytes()
    result = (tmp_path / "2018-06-19" / RESULT).read_bytes()
    assert _look(tmp_path, skill=1.5) == first
    assert (tmp_path / "2018-06-19" / RESULT).read_bytes() == result
    later = _look(tmp_path, skill=1.5, as_of=datetime(2018, 6, 26, tzinfo=UTC), changed_since=LAST)
    assert later.request == first.request
    assert (tmp_path / REQUEST).read_bytes() == written


def test_training_starts_where_the_change_was_first_seen(tmp_path: Path) -> None:
    found = _look(tmp_path, skill=1.5, changed_since=date(2018, 6, 1))
    assert found.request is not None
    assert (found.request.train_from, found.request.not_before) == ("2018-06-01", "2018-06-29")


@pytest.mark.parametrize("dearer", [1.0, 2.0])
def test_drift_is_looked_for_before_any_label_is_in(tmp_path: Path, dearer: float) -> None:
    def with_features(table: pa.Table, seed: int, factor: float) -> pa.Table:
        rng = np.random.default_rng(seed)
        for name in USE_CASE.features.names:
            values = pa.array(rng.exponential(10, len(table)) * factor)
            table = (
                table.set_column(table.column_names.index(name), name, values)
                if name in table.column_names
                else table.append_column(name, values)
            )
        return table

    served, labels = payments(60, 75, skill=lambda day: 1.5)
    found = _look(
        tmp_path,
        skill=1.5,
        served=with_features(served, 0, dearer),
        labels=labels,
        reference=with_features(served, 1, 1.0),
        as_of=datetime(2018, 6, 12, tzinfo=UTC),
    )
    assert found.drift is not None and found.drift.current_rows == 7 * 400
    assert [alert.rule for alert in found.alerts] == (["drift"] if dearer > 1 else [])
    assert found.performance.due == 0 and found.request is None
    folder = tmp_path / "2018-06-12"
    assert (folder / DRIFT_REPORT).stat().st_size > 1_000_000
    assert read_json(folder / RESULT, MonitorResult) == found
