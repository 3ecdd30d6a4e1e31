"""The bench of serving runs whole, on a small world and for seconds, and its file says what it says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlops.settings import Settings
from pipelines.bench_serving import ServingBench, bench_serving
from pipelines.bench_serving_rounds import Lengths

pytestmark = pytest.mark.system

WORLD = {"customers": 60, "terminals": 80, "days": 50}


def test_the_server_is_measured_in_every_way(tmp_path: Path) -> None:
    said: list[str] = []
    result = bench_serving(
        Settings(home=tmp_path),
        tmp_path,
        world=WORLD,
        lengths=Lengths(rounds=1, closed_s=1, open_s=1),
        peers=(),
        say=said.append,
    )
    assert msgspec.json.decode((tmp_path / "serving.json").read_bytes(), type=ServingBench) == result
    assert [path.name for path in tmp_path.iterdir()] == ["serving.json"]
    assert 0 < result.event_rps < result.tensor_rps < result.ceiling_rps
    assert result.bare_p99_ms_at_500 > 0 and result.p99_ms_at_500 > 0
    (measured,) = result.rounds
    assert set(measured.at_500.statuses) <= {"200", "503"}  # the latter where others had the core
    assert measured.bare_at_2000.statuses == {"200": 2000}
    assert set(result.statuses_at_2x) <= {"200", "503"} and result.goodput_at_2x > 0
    assert 0 < result.ready_s < 30 and 0 < result.uss_ready_mb <= result.uss_mb + 5
    assert {"parse", "features", "model", "log", "commit", "http"} == set(result.stage_us)
    assert result.vs_mlflow is None and not result.peers
    assert said[0].startswith("world") and said[-1] == "round 1 of 1"
