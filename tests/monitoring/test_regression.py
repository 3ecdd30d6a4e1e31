"""A use case without times and decisions that predicts a quantity is watched as well."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mlops.contract import Candidate, UseCase
from mlops.features import FeatureSet, Value
from mlops.policy import Policy, RandomSplit
from mlops.schema import Column, EventSchema, Label
from mlops.storage import read_json
from monitoring.monitor import RESULT, monitor
from monitoring.page import render_report
from monitoring.performance import measure_performance
from monitoring.results import MonitorResult, RegressionScores
from monitoring.rules import open_request

FLATS = UseCase(
    name="flats",
    title="Rents of flats",
    events=EventSchema(
        id="flat",
        numbered=True,
        columns=(
            Column(name="flat", type="id"),
            Column(name="area", type="float"),
            Column(name="rent", type="float", nullable=True),
        ),
    ),
    label=Label(column="rent"),
    features=FeatureSet((Value(column="area"),)),
    policy=Policy(split=RandomSplit()),
    candidates=(Candidate(name="never", framework="scikit-learn", builder="nobody:asks"),),
)
SEEN = datetime(2018, 6, 5, 12, tzinfo=UTC)
AS_OF = datetime(2018, 6, 7, tzinfo=UTC)


def flats(error: float, *, n: int = 400) -> tuple[pa.Table, pa.Table]:
    """Served flats, whose predictions are off by about `error`, scored on two days; and their rents."""
    rng = np.random.default_rng(0)
    area = rng.uniform(20, 120, n)
    ids = [f"flats.csv:{i}" for i in range(n)]
    stamp = pa.timestamp("us", tz="UTC")
    served = pa.table(
        {
            "flat": ids,
            "area": area,
            "score": 10 * area + error * rng.normal(size=n),
            "decision": pa.nulls(n, pa.string()),
            "version": ["1"] * n,
            "scored_at": pa.array([SEEN + timedelta(days=i % 2) for i in range(n)], stamp),
        }
    )
    labels = pa.table({"flat": ids, "rent": 10 * area, "known_at": pa.array([AS_OF] * n, stamp)})
    return served, labels


def look(folder: Path, error: float, **changes: object) -> MonitorResult:
    served, labels = flats(error, **changes)
    return monitor(
        served=served,
        labels=labels,
        use_case=FLATS,
        folder=folder,
        first_day=SEEN.date(),
        last_day=SEEN.date() + timedelta(days=1),
        as_of=AS_OF,
        reference=served.take(list(range(0, len(served), 2))),
        reference_figure=5.0,
    )


def test_errors_are_measured_by_the_day_of_the_answer() -> None:
    found = measure_performance(*flats(5.0), FLATS, as_of=AS_OF)
    assert isinstance(found.period, RegressionScores)
    assert found.period.rmse.low < 5 < found.period.rmse.high
    assert found.period.bias == pytest.approx(0, abs=1)
    assert [day.first_day for day in found.days] == ["2018-06-05", "2018-06-06"]
    first = measure_performance(*flats(5.0), FLATS, as_of=AS_OF, last_day=date(2018, 6, 5))
    assert first.served == 200


def test_an_error_that_has_risen_for_certain_asks_for_retraining_at_once(tmp_path: Path) -> None:
    found = look(tmp_path, 8.0)
    assert [alert.rule for alert in found.alerts] == ["performance"]
    request = open_request(tmp_path)
    assert request is not None and request.not_before == request.requested_on == "2018-06-07"
    assert request.evidence["figure_low"] > 5.5 and request.evidence["reference"] == 5.0
    assert read_json(tmp_path / "2018-06-07" / RESULT, MonitorResult) == found


@pytest.mark.parametrize(("error", "n"), [(5.2, 400), (8.0, 40)], ids=["within noise", "too few events"])
def test_what_may_be_luck_is_no_alert(tmp_path: Path, error: float, n: int) -> None:
    found = look(tmp_path, error, n=n)
    assert "performance" not in {alert.rule for alert in found.alerts} and open_request(tmp_path) is None


def test_the_same_flats_have_not_drifted(tmp_path: Path) -> None:
    found = look(tmp_path, 5.0).drift
    assert found is not None and not found.drifted


def test_the_report_shows_errors_and_no_decisions(tmp_path: Path) -> None:
    render_report(look(tmp_path, 8.0), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "RMSE" in page and "R²" in page
    assert "What was decided" not in page
