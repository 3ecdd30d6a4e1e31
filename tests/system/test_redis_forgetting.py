"""The store in Redis forgets and deletes as the others do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from serving.codes import encode_id
from serving.forgetting import delete_key, forget
from serving.plan import StorePlan
from serving.redis_store import RedisStore
from serving.tables import EVENTS, NOTES, TABLES, TOTALS
from tests.reference import reference_features
from tests.serving import test_forgetting as suite
from tests.system.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def opened(server: RedisServer, prefix: str) -> RedisStore:
    plan = StorePlan.of(suite.FEATURES, suite.SCHEMA)
    return RedisStore(f"{server.uri}?prefix={prefix}", plan, suite.SCHEMA)


def test_late_events_and_labels_after_forgetting_are_right(server: RedisServer) -> None:
    with closing(opened(server, "late")) as store:
        suite.check(store, *suite.long_history(0, 60))


def test_a_key_is_deleted_and_another_store_beside_it_is_not_touched(server: RedisServer) -> None:
    mine, others = suite.rows(30, "mine"), suite.rows(30, "other")
    with closing(opened(server, "[a*]")) as store, closing(opened(server, "[a*]b")) as beside:
        for each in (store, beside):
            suite.append(each, *mine, *others)
        assert delete_key(store, "card", "mine").events == 30
        forget(store, suite.us(others[10]))
        assert store.count(EVENTS) == 20
        assert {group[1:] for group in store.scan(TOTALS)} == {encode_id("other")}
        assert beside.count(EVENTS) == 60
        expected = reference_features(others, {}, suite.FEATURES, suite.SCHEMA.events, suite.SCHEMA.label)
        assert list(suite.compute(beside, others[-1]).values()) == expected[others[-1]["payment"]]
        delete_key(store, "card", "other")
        assert sum(store.count(table) for table in TABLES if table != NOTES) == 0
        assert store.size_bytes() > 0
