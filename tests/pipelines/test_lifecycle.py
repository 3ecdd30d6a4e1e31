"""Which days are trained on by default, and which features."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mlops.contract import load_use_case
from mlops.errors import ConfigError, InputError, MlopsError, SetupError
from mlops.settings import Settings
from mlops.storage import one_writer
from mlops.tables import EventTable, FeatureTable, write_table_meta
from pipelines import lifecycle
from pipelines.lifecycle import default_training_day, those_trained, train
from training.dataset import load_dataset
from training.split import split_windows

FIRST = datetime(2018, 4, 1, 0, 30, tzinfo=UTC)
LAST_DAY = date(2018, 5, 10)  # 40 days, 24 events a day
FRAUD = load_use_case("usecases.fraud")
SPLIT = FRAUD.policy.split


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def write_tables(
    settings: Settings, labels: list[bool | None], *, fingerprint: str = "one", computed_from: str = "one"
) -> None:
    """The home's event table, with an event an hour, and its feature table."""
    times = [FIRST + timedelta(hours=n) for n in range(len(labels))]
    numbers = np.arange(len(times))
    table = pa.table(
        {
            "transaction_id": numbers,
            "event_time": pa.array(times, pa.timestamp("us", "UTC")),
            "customer_id": numbers,
            "terminal_id": numbers % 7,
            "amount": numbers / 4,
            "is_fraud": pa.array(labels, pa.bool_()),
        }
    )
    for name in FRAUD.features.names[1:]:
        table = table.append_column(name, pa.array(np.zeros(len(times))))
    for folder, columns in ((settings.events, FRAUD.events.columns), (settings.features, ())):
        folder.mkdir(parents=True)
        names = [c.name for c in columns if not c.optional] or table.column_names
        pq.write_table(table.select(names), folder / "part-0.parquet")
    events = EventTable(
        rows=len(times),
        whole_number_ids=("transaction_id", "customer_id", "terminal_id"),
        first_event=times[0].isoformat(),
        last_event=times[-1].isoformat(),
        fingerprint=fingerprint,
    )
    write_table_meta(settings.events, events)
    features = FeatureTable(
        rows=len(times),
        unlabelled=sum(label is None for label in labels),
        features=FRAUD.features,
        events=(computed_from,),
        whole_number_ids=events.whole_number_ids,
        fingerprint="features",
    )
    write_table_meta(settings.features, features)


def frauds(hours: int = 40 * 24) -> list[bool | None]:
    """Every fifth event a fraud, and all that is known."""
    return [n % 5 == 0 for n in range(hours)]


def with_tail(labels: list[bool | None], hours: int) -> list[bool | None]:
    """The last `hours` with their frauds reported early, and nothing else known of them."""
    return [*labels[:-hours], *(label or None for label in labels[-hours:])]


def test_features_wait_while_the_events_are_written(spark: SparkSession, settings: Settings) -> None:
    with ThreadPoolExecutor(1) as pool:
        for step in (lifecycle.update_features, lifecycle.compute_features):
            with one_writer(settings.home):
                waiting = pool.submit(step, settings)
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=1)
            with pytest.raises(InputError, match="no such table"):
                waiting.result(timeout=60)


def last_test_day(settings: Settings) -> date:
    return default_training_day(settings) + timedelta(days=SPLIT.days - 1)


def test_where_all_labels_are_known_the_test_ends_with_the_events(settings: Settings) -> None:
    write_tables(settings, frauds())
    assert last_test_day(settings) == LAST_DAY


def test_a_label_that_never_came_long_ago_moves_nothing(settings: Settings) -> None:
    write_tables(settings, [None, *frauds()[1:500], None, *frauds()[501:]])
    assert last_test_day(settings) == LAST_DAY


@pytest.mark.parametrize("early", [False, True], ids=["no label", "early frauds only"])
def test_where_labels_are_awaited_the_test_ends_before(settings: Settings, early: bool) -> None:
    hours = FRAUD.label.delay_days * 24
    write_tables(settings, with_tail(frauds(), hours) if early else [*frauds()[:-hours], *[None] * hours])
    assert last_test_day(settings) == LAST_DAY - timedelta(days=FRAUD.label.delay_days)


def test_a_day_whose_labels_are_due_in_part_is_not_tested_on(settings: Settings) -> None:
    hours = FRAUD.label.delay_days * 24
    write_tables(settings, with_tail(frauds(40 * 24 - 12), hours))  # the data end at noon
    assert last_test_day(settings) == LAST_DAY - timedelta(days=FRAUD.label.delay_days + 1)


def test_frauds_reported_early_are_neither_trained_nor_tested_on(settings: Settings) -> None:
    labels = with_tail(frauds(), FRAUD.label.delay_days * 24)
    write_tables(settings, labels)
    latest = LAST_DAY - timedelta(days=SPLIT.days - 1)  # a window as a user may ask for it
    data = load_dataset(settings.features, FRAUD, first_day=latest.isoformat(), days=SPLIT.days)
    tail = data.day >= SPLIT.days - FRAUD.label.delay_days
    assert tail.sum() == FRAUD.label.delay_days * 24
    assert (data.label[tail] == -1).all()
    with pytest.raises(InputError, match="no labelled events in the test days"):
        split_windows(data, SPLIT)


def test_too_few_days_with_labels_are_refused_with_their_number(settings: Settings) -> None:
    write_tables(settings, with_tail(frauds(22 * 24), 7 * 24))
    with pytest.raises(InputError, match=r"whose labels are due span 15 days, and .* need 21"):
        default_training_day(settings)


def test_features_of_other_events_are_not_trained_on(settings: Settings) -> None:
    write_tables(settings, frauds(), fingerprint="mended", computed_from="one")
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="other events; run mlops features"):
        train(settings, LAST_DAY, pool=pool)


def test_without_keys_to_sign_with_no_worker_is_started(settings: Settings, tmp_path: Path) -> None:
    named = msgspec.structs.replace(settings, signing_key=str(tmp_path / "named"))
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match="named: no key pair"):
        train(named, LAST_DAY, pool=pool, table=tmp_path / "not looked for")
    assert not pool._threads and not named.artifacts.exists()


def test_who_cannot_be_trained_is_left_out_and_what_the_machine_lacks_ends_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(error: MlopsError) -> Any:
        def outcome() -> NoReturn:
            raise error

        return outcome

    good: Any = object()
    few, away = InputError("too few frauds"), SetupError("the database does not answer")
    assert those_trained({"best": fails(few), "other": lambda: good}) == (good,)
    assert "best was left out: too few frauds" in caplog.text
    with pytest.raises(InputError, match="too few"):
        those_trained({"best": fails(few), "other": fails(InputError("else"))})
    with pytest.raises(SetupError, match="does not answer"):
        those_trained({"best": fails(away), "other": lambda: good})
