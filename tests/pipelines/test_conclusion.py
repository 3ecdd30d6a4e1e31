"""What is said of a run when it has ended: of any home, however far the run came."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from mlops.deployment import Deployed, Deployment, write_deployment
from mlops.errors import InputError
from mlops.settings import Settings
from mlops.storage import read_json, write_json
from monitoring.results import Alert, MonitorResult, PerformanceResult, RetrainRequest
from pipelines.conclusion import CONCLUSION, Conclusion
from pipelines.lifecycle import RELEASE, Release, conclude
from pipelines.report import Outcome, ValidateResult

VALIDATED = ValidateResult(
    source="s3://raw-events",
    layout="own",
    rows_in=1_000,
    good=970,
    quarantined=30,
    duplicates=0,
    reasons={"amount is negative": 30},
    examples={},
    absent=(),
    first_event="",
    last_event="",
    findings=(),
    outcome=Outcome(published=True, forced=False, failed=()),
    seconds=1.0,
)
LOOK = MonitorResult(
    first_day="2018-07-20",
    last_day="2018-07-26",
    as_of="2018-07-27T00:00:00Z",
    drift=None,
    drift_report="",
    performance=PerformanceResult(
        as_of="2018-07-27T00:00:00Z", served=9, due=0, missing=0, not_due=9, period=None, days=()
    ),
    reference_figure=None,
    alerts=(Alert(rule="drift", observed=0.4, limit=0.2, text="8 of 20 features drifted."),),
    request=RetrainRequest(
        reason="drift",
        evidence={},
        requested_on="2018-07-27",
        train_from="2018-07-20",
        not_before="2018-08-17",
    ),
)


VALIDATED_AT = datetime(2018, 7, 27, 1, 10, tzinfo=UTC)
RELEASED_AT = datetime(2018, 7, 20, 2, 0, tzinfo=UTC)  # by an earlier run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_run_that_came_nowhere_is_concluded_too(settings: Settings) -> None:
    outcome = conclude(settings, run="r1", state="FAILED", error="task ingest failed")
    assert outcome.line == "r1: FAILED (task ingest failed); champion: none"
    assert read_json(settings.home / CONCLUSION, Conclusion) == outcome


def test_it_says_what_became_of_events_candidates_champion_and_of_the_last_look(settings: Settings) -> None:
    write_json(settings.validation, VALIDATED)
    write_json(settings.home / RELEASE, Release(verdicts={}, candidate="trees", version="3"))
    champion = Deployed(version="3", candidate="trees", framework="f", uri="bundles/d", digest="d")
    write_deployment(settings.pointer, Deployment(name="fraud", champion=champion))
    write_json(settings.monitoring / "2018-07-20" / "result.json", msgspec.structs.replace(LOOK, alerts=()))
    write_json(settings.monitoring / "2018-07-27" / "result.json", LOOK)
    for path, moment in ((settings.validation, VALIDATED_AT), (settings.home / RELEASE, RELEASED_AT)):
        os.utime(path, (moment.timestamp(),) * 2)
    outcome = conclude(settings, run="r2", state="SUCCEEDED")
    assert outcome.alerts == ("8 of 20 features drifted.",) and outcome.retrain
    assert outcome.line == (
        "r2: SUCCEEDED; events at 2018-07-27T01:10:00+00:00: 970 good and 30 quarantined of 1,000 rows; "
        "at 2018-07-20T02:00:00+00:00 the gate admitted trees as version 3; champion: 3; "
        "2018-07-20 to 2018-07-26: 1 alert, retrain"
    )


@pytest.mark.parametrize(("published", "word"), [(False, "refused"), (True, "forced")])
def test_it_says_why_a_delivery_was_not_as_expected(settings: Settings, published: bool, word: str) -> None:
    outcome = Outcome(published=published, forced=published, failed=("3% of the rows are quarantined",))
    write_json(settings.validation, msgspec.structs.replace(VALIDATED, outcome=outcome))
    said = conclude(settings, run="r3", state="FAILED").validation
    assert said == f"970 good and 30 quarantined of 1,000 rows, {word}: 3% of the rows are quarantined"


def test_a_delivery_with_nothing_new_is_not_called_refused(settings: Settings) -> None:
    outcome = Outcome(published=False, forced=False, failed=())
    nothing = msgspec.structs.replace(
        VALIDATED, rows_in=0, good=0, quarantined=0, passed_over=3, outcome=outcome
    )
    write_json(settings.validation, nothing)
    assert conclude(settings, run="r3", state="SUCCEEDED").validation == "nothing new in 3 files"

    outcome = Outcome(published=False, forced=False, failed=("the newest event is 9 days old",))
    write_json(settings.validation, msgspec.structs.replace(nothing, outcome=outcome))
    said = conclude(settings, run="r4", state="FAILED").validation
    assert said == "nothing new in 3 files, refused: the newest event is 9 days old"


def test_a_damaged_file_is_named(settings: Settings) -> None:
    (settings.home / RELEASE).write_text("{")
    with pytest.raises(InputError, match=RELEASE):
        conclude(settings, run="r4", state="SUCCEEDED")
