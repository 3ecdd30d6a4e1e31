"""A million mixed requests through two swaps of the model and a roll-back: none fails, nothing grows, all is logged."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import msgspec
import psutil
import pytest
import uvloop

from mlops.api_keys import create_key
from mlops.bundle import Schema
from mlops.contract import load_use_case
from tests.prove.mixed_load import FAILED, KINDS, MixedLoad
from tests.serving.example import World
from usecases.fraud.features import PUBLISHED

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]

REQUESTS = int(os.environ.get("PROVE_REQUESTS", "1000000"))
CONNECTIONS = 12
GROWTH_MB = 5.0


class Logged(msgspec.Struct):
    """What is looked at of a decision."""

    event_id: int
    decision_id: str


def private_mb(worker: int) -> float:
    """A process's private memory, without the pages of the store's file that it has mapped."""
    maps = psutil.Process(worker).memory_maps()
    own = (m.private_clean + m.private_dirty for m in maps if Path(m.path).name != "data.mdb")
    return sum(own) / 2**20


def test_a_million_mixed_requests_with_two_swaps_and_a_roll_back(tmp_path: Path) -> None:
    use_case, world, keys = load_use_case("usecases.fraud"), World(tmp_path), tmp_path / "api-keys.json"
    schema = Schema(
        events=use_case.events,
        label=use_case.label,
        whole_number_ids=("transaction_id", "customer_id", "terminal_id"),
    )
    bundles = [world.bundle(f"model {n}", features=PUBLISHED, schema=schema, seed=n) for n in range(3)]
    world.deploy("1", bundles[0])
    key = create_key(keys, "load", ["score", "labels"])
    memory: list[float] = []
    with world.server("--keys", str(keys)) as server:
        (worker,) = server.workers()
        at = {
            REQUESTS * 3 // 10: lambda: world.deploy("2", bundles[1]),
            REQUESTS * 5 // 10: lambda: world.deploy("3", bundles[2]),
            REQUESTS * 7 // 10: lambda: world.deploy("2", bundles[1]),
        }
        at |= {REQUESTS * n // 20 + 1: lambda: memory.append(private_mb(worker)) for n in range(1, 20)}
        load = MixedLoad(server.port, key, len(PUBLISHED.names), REQUESTS, at)
        begun = time.monotonic()
        uvloop.run(load.run(CONNECTIONS))
        seconds = time.monotonic() - begun
        memory.append(private_mb(worker))
        assert server.workers() == [worker]
        metrics = server.text("/metrics")
    print(
        f"{REQUESTS} requests, {load.events} events in {seconds:.0f} s: {REQUESTS / seconds:.0f} requests/s"
    )
    print("private memory, MB, at each twentieth:", " ".join(f"{mb:.1f}" for mb in memory))
    print(dict(sorted(load.statuses.items())))
    assert not load.wrong, load.wrong[:10]
    assert (load.done, load.broken) == (REQUESTS, 0)
    assert not [status for _, status in load.statuses if status >= FAILED]
    assert {kind for kind, _ in load.statuses} == set(KINDS)
    assert set(load.versions) == {"1", "2", "3"}
    assert 'version="2"' in metrics and 'status="5' not in _counted(metrics)
    assert max(memory[1:]) - memory[0] <= GROWTH_MB, memory
    missing = _not_logged(world.decisions, load)
    assert not missing, f"{len(missing)} acknowledged events are not in the log, such as {missing[:5]}"
    shutil.rmtree(tmp_path)  # gigabytes


def _counted(metrics: str) -> str:
    """The request counters that are not 0."""
    lines = (line for line in metrics.splitlines() if line.startswith("mlops_requests_total"))
    return "\n".join(line for line in lines if float(line.split()[-1]) > 0)


def _not_logged(folder: Path, load: MixedLoad) -> list[int]:
    """The numbers of acknowledged events that the decision log has not, or has with another decision, or twice."""
    decode = msgspec.json.Decoder(Logged).decode
    left = load.acknowledged[:]
    strange = []
    for path in sorted(folder.glob("decisions-*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                decision = decode(line)
                if left[decision.event_id] != int(decision.decision_id[:16], 16):
                    strange.append(decision.event_id)
                left[decision.event_id] = 0
    return strange + [number for number, decision in enumerate(left) if decision]
