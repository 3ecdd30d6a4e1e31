"""A URI names the kind of store, and passwords are not shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError, SetupError
from serving.lmdb_store import LmdbStore
from serving.memory_store import InMemoryStore
from serving.plan import StorePlan
from serving.stores import open_store
from tests.serving.example import FEATURES, NUMBERS
from tests.serving.test_store import append, row

PLAN = StorePlan.of(FEATURES, NUMBERS)


@pytest.mark.parametrize("form", [Path, str, "file://{}".format, "file:{}".format])
def test_a_folder_is_an_embedded_store(form: object, tmp_path: Path) -> None:
    path = tmp_path / "a store"
    path.mkdir()
    store = open_store(form(path), PLAN, NUMBERS)  # type: ignore[operator]
    assert isinstance(store, LmdbStore)
    append(store, row(1, 0))
    store.close()
    assert (path / "data.mdb").is_file()


def test_a_store_in_memory_begins_empty() -> None:
    for _ in range(2):
        store = open_store("memory:", PLAN, NUMBERS)
        assert isinstance(store, InMemoryStore)
        assert append(store, row(1, 0)) == 1


def test_another_kind_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="MLOPS_STORE: no store is of the kind mysql:; name a folder or redis:"
    ):
        open_store("mysql://user:s3cret@host/db", PLAN, NUMBERS)


def test_a_redis_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(SetupError, match=r"redis://me@127\.0\.0\.1:1/0: the Redis cannot be used") as caught:
        open_store("redis://me:s3cret@127.0.0.1:1/0?prefix=x", PLAN, NUMBERS)
    assert "s3cret" not in str(caught.value)
