from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mlops.errors import InputError
from mlops.metrics import average_precision
from monitoring.performance import measure_performance
from tests.monitoring.example import USE_CASE, payments


def at(day: int, hour: int = 0) -> datetime:
    """A moment, days counted from the data's day zero, 2018-04-01."""
    return datetime.fromtimestamp(
        datetime(2018, 4, 1, tzinfo=UTC).timestamp() + day * 86_400 + hour * 3_600, UTC
    )


def test_measures_the_period_and_each_of_its_days() -> None:
    served, labels = payments(10, 16, skill=lambda day: 3.0)
    found = measure_performance(served, labels, USE_CASE, as_of=at(24))
    assert (found.served, found.due, found.missing, found.not_due) == (2800, 2800, 0, 0)
    assert found.period is not None and found.period.ap is not None
    truth, score = labels["is_fraud"].to_numpy().astype(int), served["score"].to_numpy()
    assert found.period.ap.value == pytest.approx(average_precision(truth, score))
    assert found.period.ap.low < found.period.ap.value < found.period.ap.high
    assert found.period.positives == sum(day.positives for day in found.days) == truth.sum()
    assert [day.first_day for day in found.days] == [f"2018-04-{n}" for n in range(11, 18)]


def test_labels_count_only_once_they_are_due() -> None:
    served, labels = payments(10, 16, skill=lambda day: 3.0)
    # On day 20 at noon the labels of days 10 to 12 and of the first half of day 13 are due.
    found = measure_performance(served, labels, USE_CASE, as_of=at(20, hour=12))
    early = pc.sum(
        pc.less_equal(served["event_time"], pa.scalar(at(13, hour=12), pa.timestamp("us", "UTC")))
    ).as_py()
    assert found.due == early and found.not_due == 2800 - early
    assert found.period is not None and found.period.last_day == "2018-04-14"


def test_frauds_that_are_reported_early_do_not_count_before_they_are_due() -> None:
    served, labels = payments(10, 16, skill=lambda day: 3.0, known_after=1.0)
    found = measure_performance(served, labels, USE_CASE, as_of=at(17, hour=1))
    assert found.period is not None and found.period.last_day == "2018-04-11"
    assert found.period.events == found.due < 400


def test_labels_that_are_due_but_have_not_come_are_counted_and_left_out() -> None:
    served, labels = payments(10, 16, skill=lambda day: 3.0)
    found = measure_performance(served, labels.slice(25), USE_CASE, as_of=at(30))
    assert (found.due, found.missing) == (2800, 25)
    assert found.period is not None and found.period.events == 2775


def test_a_label_that_comes_after_the_look_is_not_seen() -> None:
    served, labels = payments(10, 10, skill=lambda day: 3.0, known_after=12.0)
    found = measure_performance(served, labels, USE_CASE, as_of=at(18))
    assert (found.due, found.missing) == (400, 400)
    assert found.period is None and found.days == ()


def test_the_last_label_known_by_then_holds() -> None:
    served, labels = payments(10, 10, skill=lambda day: 3.0)
    later = labels.set_column(1, "is_fraud", pa.array([True] * len(labels)))
    stamp = pa.timestamp("us", "UTC")
    later = later.set_column(2, "known_at", pa.array([at(25)] * len(labels), stamp))
    both = pa.concat_tables([later, labels])
    before, after = (measure_performance(served, both, USE_CASE, as_of=at(day)) for day in (24, 26))
    assert before.period is not None and before.period.positives < 40
    assert after.period is not None and after.period.positives == 400


def test_the_decisions_that_were_made_are_judged_and_priced() -> None:
    served, labels = payments(10, 10, skill=lambda day: 3.0)
    rows = {"score": [0.9, 0.9, 0.5, 0.1], "decision": ["approve", "decline", "review", "decline"]}
    four = served.slice(0, 4)
    for name, values in rows.items():
        four = four.set_column(four.column_names.index(name), name, pa.array(values))
    four = four.set_column(four.column_names.index("amount"), "amount", pa.array([100.0, 10.0, 10.0, 10.0]))
    truth = labels.slice(0, 4).set_column(1, "is_fraud", pa.array([True, True, True, False]))
    found = measure_performance(four, truth, USE_CASE, as_of=at(30)).period
    assert found is not None
    costs = USE_CASE.policy.costs
    assert found.cost.missed_frauds == 100 + costs.chargeback
    assert found.cost.false_declines == costs.false_decline and found.cost.reviews == costs.review
    assert found.precision == pytest.approx(2 / 3) and found.recall == pytest.approx(2 / 3)


def test_a_day_without_fraud_has_no_average_precision() -> None:
    served, labels = payments(10, 10, skill=lambda day: 3.0)
    none = labels.set_column(1, "is_fraud", pa.array([False] * len(labels)))
    found = measure_performance(served, none, USE_CASE, as_of=at(30)).period
    assert found is not None and found.ap is None and found.auc is None and found.recall is None


def test_looks_at_the_asked_days_only() -> None:
    served, labels = payments(10, 16, skill=lambda day: 3.0)
    found = measure_performance(
        served, labels, USE_CASE, as_of=at(30), first_day=date(2018, 4, 12), last_day=date(2018, 4, 13)
    )
    assert found.served == 800 and [day.first_day for day in found.days] == ["2018-04-12", "2018-04-13"]


def test_names_what_is_missing_from_a_table() -> None:
    served, labels = payments(10, 10, skill=lambda day: 3.0)
    with pytest.raises(InputError, match="served events: has no column score"):
        measure_performance(served.drop_columns("score"), labels, USE_CASE, as_of=at(30))
    with pytest.raises(InputError, match="labels: has no column known_at"):
        measure_performance(served, labels.drop_columns("known_at"), USE_CASE, as_of=at(30))
    with pytest.raises(InputError, match="as_of: has no offset"):
        measure_performance(served, labels, USE_CASE, as_of=datetime(2018, 5, 1))


def test_text_ids_join_as_well_as_numbers() -> None:
    served, labels = payments(10, 12, skill=lambda day: 3.0)

    def text(table: pa.Table) -> pa.Table:
        return table.set_column(0, "transaction_id", table["transaction_id"].cast(pa.string()))

    whole = measure_performance(served, labels, USE_CASE, as_of=at(30))
    assert measure_performance(text(served), text(labels), USE_CASE, as_of=at(30)) == whole
