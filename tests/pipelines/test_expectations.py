"""Verdicts on a delivery as a whole, from what its rows add up to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mlops.expectations import Expectation, Freshness, NullShare, QuarantinedShare, TrueShare, Volume
from mlops.schema import Column, EventSchema, Label
from pipelines.expectations import Finding, judge
from pipelines.profile import Profile

FIRST = date(2024, 1, 1)
LABEL = Label(column="fraud", delay_days=7)


def schema(*expectations: Expectation, time: str = "at") -> EventSchema:
    columns = (
        Column(name="id", type="id"),
        Column(name="at", type="timestamp"),
        Column(name="kind", type="text", nullable=True),
        Column(name="note", type="text", nullable=True, optional=True),
        Column(name="fraud", type="boolean", nullable=True),
    )
    return EventSchema(id="id", time=time, columns=columns, expectations=expectations)


def profile(rows: list[int], *, known: dict[str, int] | None = None, **fields: Any) -> Profile:
    """A delivery with so many good rows on each of the days from `FIRST`; a day with 0 has none."""
    days = {(FIRST + timedelta(days=n)).isoformat(): count for n, count in enumerate(rows) if count}
    good = sum(rows)
    values = {
        "good": good,
        "duplicates": 0,
        "reasons": {},
        "days": days,
        "first": datetime.combine(FIRST, datetime.min.time(), UTC),
        "last": datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=len(rows) - 1, hours=18),
        "known": {**dict.fromkeys(("id", "at", "kind", "note", "fraud"), good), **(known or {})},
        "true": {"fraud": good // 100},
        "whole_number_ids": ("id",),
    }
    return Profile(**{**values, **fields})


def found(delivery: Profile, *expectations: Expectation, **how: Any) -> dict[str, Finding]:
    return {finding.expectation: finding for finding in judge(delivery, schema(*expectations), LABEL, **how)}


def verdicts(delivery: Profile, *expectations: Expectation, **how: Any) -> dict[str, str]:
    return {name: finding.verdict for name, finding in found(delivery, *expectations, **how).items()}


def test_a_steady_delivery_passes() -> None:
    assert set(verdicts(profile([1000] * 10), Volume()).values()) == {"passed"}


@pytest.mark.parametrize(("rows", "verdict"), [(101, "passed"), (100, "failed"), (0, "failed")])
def test_a_day_whose_rows_fell_by_nine_tenths_fails(rows: int, verdict: str) -> None:
    finding = found(profile([1000] * 8 + [rows] + [1000]), Volume())["rows a day"]
    assert finding.verdict == verdict
    assert finding.text == f"2024-01-09 has {rows} rows, and the median of the other days is 1,000"
    assert finding.observed == 1 - rows / 1000


def test_several_fallen_days_are_counted() -> None:
    finding = found(profile([1000] * 8 + [50, 0, 60] + [1000]), Volume())["rows a day"]
    assert finding.text.startswith("2024-01-10 has 0 rows")
    assert finding.text.endswith("3 days fell so far, the first of them 2024-01-09")


def test_a_rise_does_not_hide_behind_the_median() -> None:
    assert verdicts(profile([100] * 10 + [100_000]), Volume())["rows a day"] == "passed"


@pytest.mark.parametrize("days", [[1000] * 7 + [0], [20] * 30 + [1]], ids=["few days", "few rows a day"])
def test_what_chance_alone_can_do_is_not_judged(days: list[int]) -> None:
    assert verdicts(profile(days), Volume(min_days=8))["rows a day"] == "not judged"


def test_one_new_day_is_compared_with_the_days_of_the_table() -> None:
    history = {(FIRST - timedelta(days=n)).isoformat(): 1000 for n in range(1, 10)}
    assert verdicts(profile([90]), Volume(), history=history)["rows a day"] == "failed"
    assert verdicts(profile([110]), Volume(), history=history)["rows a day"] == "passed"


def test_late_events_of_an_earlier_day_add_to_its_rows() -> None:
    history = {(FIRST + timedelta(days=n)).isoformat(): 1000 for n in range(9)}
    assert verdicts(profile([5] + [0] * 8 + [1000]), Volume(), history=history)["rows a day"] == "passed"


def test_too_few_rows_at_all_fail() -> None:
    assert verdicts(profile([9]), Volume(min_rows=10))["rows"] == "failed"


def test_freshness_is_judged_only_as_of_a_moment() -> None:
    delivery = profile([100])  # the newest event is of 18:00
    assert verdicts(delivery, Freshness(max_age_days=1))["freshness"] == "not judged"
    for hours, verdict in ((24, "passed"), (25, "failed")):
        as_of = datetime(2024, 1, 1, 18, tzinfo=UTC) + timedelta(hours=hours)
        assert verdicts(delivery, Freshness(max_age_days=1), as_of=as_of)["freshness"] == verdict


def test_a_column_without_any_value_fails() -> None:
    finding = found(profile([100], known={"kind": 0}))["values in kind"]
    assert (finding.verdict, finding.text) == ("failed", "kind is null in all 100 good rows")
    assert verdicts(profile([100], known={"kind": 1}))["values in kind"] == "passed"
    assert verdicts(profile([99], known={"kind": 0}))["values in kind"] == "not judged"


def test_an_optional_column_may_be_empty_and_an_absent_one_is_no_finding() -> None:
    assert "values in note" not in verdicts(profile([100], known={"note": 0}))
    assert "values in kind" not in verdicts(profile([100], known={"kind": 0}), absent=("kind",))


def test_labels_are_missed_only_when_some_are_due() -> None:
    assert "values in fraud" not in verdicts(profile([100] * 7, known={"fraud": 0}))
    assert verdicts(profile([100] * 9, known={"fraud": 0}))["values in fraud"] == "failed"


@pytest.mark.parametrize(("known", "verdict"), [(500, "passed"), (499, "failed")])
def test_the_share_of_nulls_has_a_limit(known: int, verdict: str) -> None:
    expectation = NullShare(column="kind", at_most=0.5)
    assert verdicts(profile([1000], known={"kind": known}), expectation)["nulls in kind"] == verdict


@pytest.mark.parametrize(
    ("true", "verdict"), [(9, "failed"), (10, "passed"), (2000, "passed"), (2001, "failed")]
)
def test_the_share_of_true_has_two_limits(true: int, verdict: str) -> None:
    expectation = TrueShare(column="fraud", at_least=0.001, at_most=0.2)
    finding = found(profile([10_000], true={"fraud": true}), expectation)["share of fraud"]
    assert (finding.verdict, finding.limit) == (verdict, "0.1 % to 20 %")


def test_the_share_of_quarantined_rows_has_a_limit_and_names_the_reason() -> None:
    delivery = profile([900], reasons={"kind: missing": 20, "at: not a time": 181})
    finding = found(delivery, QuarantinedShare(at_most=0.1))["quarantined"]
    assert finding.verdict == "failed"
    assert finding.text == "18.26 % of all rows are quarantined, most often at: not a time"


def test_shares_of_a_handful_of_rows_are_not_judged() -> None:
    expectations = (
        NullShare(column="kind", at_most=0),
        TrueShare(column="fraud", at_most=0),
        QuarantinedShare(at_most=0),
    )
    delivery = profile([99], known={"kind": 0}, true={"fraud": 99}, reasons={"kind: missing": 99})
    assert set(verdicts(delivery, *expectations).values()) == {"not judged"}
