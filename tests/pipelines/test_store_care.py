"""`mlops store`: what is in the store, what it forgets, whose data it deletes."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from pipelines.cli import main
from pipelines.store import delete, forget, stats
from serving.codes import encode_id
from serving.entries import EntryEncoder
from serving.events import EventReader
from serving.features import OnlineFeatures
from serving.lmdb_store import LmdbStore
from serving.plan import StorePlan
from tests.reference import reference_features
from tests.serving.example import EVENTS, FEATURES, LABEL, NUMBERS, TEXTS, World, payment

START = datetime(2024, 3, 1)


def rows(days: int) -> list[dict[str, Any]]:
    """Two payments a day, by two cards."""
    return [payment(n, at=(START + timedelta(hours=12 * n)).isoformat(), card=n % 2) for n in range(2 * days)]


def fill(world: World, events: list[dict[str, Any]]) -> None:
    with closing(LmdbStore(world.store, StorePlan.of(FEATURES, NUMBERS), NUMBERS)) as store:
        encode, reader = EntryEncoder(store.plan), EventReader(NUMBERS)
        read = [reader.event(event) for event in events]
        with store.begin() as transaction:
            transaction.append([encode(e.id, e.time_us, e.values) for e in read])
            transaction.save_answers({encode_id(e.id): b"answer" for e in read})
            transaction.label([(encode_id(-1), 1, 0)])


def compute(world: World, raw: dict[str, Any]) -> list[float]:
    with closing(LmdbStore(world.store, StorePlan.of(FEATURES, NUMBERS), NUMBERS)) as store:
        event = EventReader(NUMBERS).event(raw)
        entry = EntryEncoder(store.plan)(event.id, event.time_us, event.values)
        with store.begin() as transaction:
            return OnlineFeatures(FEATURES, NUMBERS, store.plan).compute(transaction, event, entry)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    fill(world, rows(60))
    return Settings(home=tmp_path)


def test_statistics_say_what_is_there_and_what_for(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stats(settings)
    assert (found.events, found.answers, found.held_labels) == (120, 120, 1)
    assert found.keys == {"card": 2, "shop": 5}
    assert (found.first_event, found.last_event) == ("2024-03-01T00:00:00+00:00", "2024-04-29T12:00:00+00:00")
    assert found.megabytes > 0 and found.forgotten == ""
    assert "sum of amount by card" in found.holds
    main(["--home", str(settings.home), "store", "stats"])
    assert "card: 2, shop: 5" in capsys.readouterr().out


def test_by_default_it_forgets_what_is_older_than_the_longest_window_and_a_week(settings: Settings) -> None:
    world = World(settings.home)
    result = forget(settings)
    # The longest window is 7 days, delayed by 7, and a week for late ones: three weeks before the last event.
    assert result.before == "2024-04-08T12:00:00+00:00"
    assert result.events == 77
    found = stats(settings)
    assert (found.events, found.held_labels, found.forgotten) == (43, 0, f"before {result.before}")
    assert found.first_event == result.before
    events = [event | {"at": datetime.fromisoformat(event["at"])} for event in rows(60)]
    expected = reference_features(events, {}, FEATURES, EVENTS, LABEL)
    for event in rows(60)[-15:]:
        assert compute(world, event) == expected[event["payment"]]


def test_what_windows_need_is_not_forgotten(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"--before 2024-04-16: .*reach back to 2024-04-15T12:00"):
        forget(settings, date(2024, 4, 16))
    assert forget(settings, date(2024, 4, 15)).events == 90


def test_a_day_that_has_not_come_is_no_day_to_forget_before(settings: Settings) -> None:
    fill(World(settings.home), [payment(900, at="2099-06-01T00:00:00", card=0)])  # a clock that is wrong
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pytest.raises(ConfigError, match=f"--before: {tomorrow} is after today"):
        forget(settings, tomorrow)
    assert stats(settings).events == 121


def test_a_former_champion_s_windows_count_too(settings: Settings) -> None:
    world = World(settings.home)
    shorter = type(FEATURES)(FEATURES.features[:4])
    first = msgspec.json.decode(world.pointer.read_bytes())
    world.deploy("2", world.bundle("shorter", features=shorter))
    pointer = msgspec.json.decode(world.pointer.read_bytes())
    world.pointer.write_bytes(msgspec.json.encode(pointer | {"previous": first["champion"]}))
    assert forget(settings).before == "2024-04-08T12:00:00+00:00"


def test_a_key_is_deleted_and_nothing_of_it_is_computed_any_more(settings: Settings) -> None:
    assert delete(settings, "card=1").events == 60
    assert (stats(settings).events, stats(settings).keys) == (60, {"card": 1, "shop": 5})
    assert delete(settings, "card=1").events == 0
    for key, message in (
        ("card", "column and a value"),
        ("note=x", "nothing by note"),
        ("card=x", "no value"),
        ("card=", "no value"),
    ):
        with pytest.raises(ConfigError, match=message):
            delete(settings, key)


def test_text_keys_are_told_from_numbers(tmp_path: Path) -> None:
    world, settings = World(tmp_path), Settings(home=tmp_path)
    world.deploy("1", world.bundle(schema=TEXTS))
    with closing(LmdbStore(world.store, StorePlan.of(FEATURES, TEXTS), TEXTS)) as store:
        event = EventReader(TEXTS).event(payment(1))
        entry = EntryEncoder(store.plan)(event.id, event.time_us, event.values)
        with store.begin() as transaction:
            transaction.append([entry])
    assert delete(settings, "card=1").events == 1


def test_without_a_champion_or_a_store_it_says_so(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ConfigError, match="no champion"):
        stats(settings)
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    with pytest.raises(ConfigError, match="no store; fill it"):
        forget(settings)
    fill(world, [])
    with pytest.raises(InputError, match="holds no event"):
        forget(settings)
    assert stats(settings).first_event == ""


def test_one_event_with_a_wrong_clock_does_not_empty_the_store(settings: Settings) -> None:
    """Of a hundred keys and more, the newest of one in a hundred counts."""
    world = World(settings.home)
    others = [payment(1_000 + n, at="2024-04-29T12:00:00", card=100 + n) for n in range(150)]
    fill(world, [*others, payment(9_999, at="2024-12-24T12:00:00", card=7)])
    assert forget(settings).before == "2024-04-08T12:00:00+00:00"
