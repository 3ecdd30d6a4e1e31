"""Stores that are timed do the same work."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlops.errors import ParityError
from pipelines import bench_stores as bench
from pipelines import embedded_stores
from pipelines.bench_online import Load

SMALL = Load(customers=20, terminals=10, before=600, measured=60)


def test_stores_are_timed_on_the_same_work_and_agree_in_all_features(tmp_path: Path) -> None:
    result = bench.bench_stores(tmp_path, SMALL, hot=300)
    assert msgspec.json.decode((tmp_path / "stores.json").read_bytes(), type=bench.StoresBench) == result
    embedded = [store for store in result.stores if not store.store.startswith("Redis")]
    assert embedded[0].store == "LMDB" and len(embedded) == 4
    for store in embedded:
        assert 0 < store.p50_ms <= store.p99_ms
        assert store.mib is not None and store.mib > 0
        assert (store.together_p99_ms is None) == (store.store == "RocksDB")
    assert result.keys == 30
    assert [path.name for path in tmp_path.iterdir()] == ["stores.json"]


def test_a_store_that_gives_other_features_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_stores._SqliteTables, "before", lambda *_: None)
    monkeypatch.setattr(bench, "_together", lambda *_: 0.0)
    with pytest.raises(ParityError, match="stores differ in their features"):
        bench.bench_stores(tmp_path, SMALL, hot=300)
    assert not list(tmp_path.iterdir())
