"""Counting across processes, and what `/metrics` says of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mlops.api_keys import create_key
from serving.app import ROUTES
from serving.instruments import (
    ALL,
    BATCH_EVENTS,
    EVENTS_SCORED,
    QUEUE_EVENTS,
    REQUEST_SECONDS,
    REQUESTS,
    SIZE,
    STAGES,
    STORE_EVENTS,
    WORKER_RESTARTS,
)
from serving.metrics import WorkerMetrics
from serving.shared import AREAS, Shared
from tests.serving.example import World

ROOT = Path(__file__).resolve().parents[2]

COUNTING = """
import os, signal, sys
from serving.instruments import QUEUE_EVENTS, REQUESTS, STAGES
from serving.metrics import WorkerMetrics
from serving.shared import Shared

descriptor, workers, worker, count, how = map(int, sys.argv[1:])
metrics = WorkerMetrics(Shared(descriptor, workers, worker))
for _ in range(count):
    metrics.cells[REQUESTS.at("/v1/score", 200)] += 1
    metrics.observe(STAGES.of("model"), 0.0001)
metrics.cells[QUEUE_EVENTS.at()] = 7
os.kill(os.getpid(), how)
"""


def counting(shared: Shared, worker: int, count: int, how: int = 0) -> subprocess.Popen[bytes]:
    """A process that counts as one worker, and ends by a signal, if by one."""
    numbers = [shared.descriptor, shared.workers, worker, count, how]
    return subprocess.Popen(
        [sys.executable, "-c", COUNTING, *map(str, numbers)], cwd=ROOT, pass_fds=[shared.descriptor]
    )


def families(text: bytes) -> dict[str, Metric]:
    """By name; a counter's is without `_total`, as the parser has it."""
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(text: bytes, name: str, **labels: str) -> float:
    """The one sample of these labels, which may be some of its own."""
    found = [
        sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, f"{len(found)} samples of {name} with {labels}"
    return float(found[0])


def test_every_instrument_is_shown_with_its_kind_and_its_help_and_no_series_comes_twice() -> None:
    shown = families(WorkerMetrics(Shared.create(1)).text())
    for instrument in ALL:
        family = shown[instrument.name.removesuffix("_total")]
        kind = "counter" if instrument.name.endswith("_total") else instrument.kind
        assert (family.type, family.documentation) == (kind, instrument.help)
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(series) == len(set(series))
    assert set(shown) == {i.name.removesuffix("_total") for i in ALL} | {"mlops_model_info"}


def test_a_counter_is_there_before_anything_is_counted_so_that_its_first_step_is_seen() -> None:
    text = WorkerMetrics(Shared.create(1)).text()
    assert value(text, "mlops_requests_total", route="/v1/score", status="500") == 0
    assert value(text, "mlops_rejected_total", reason="store") == 0
    assert value(text, "mlops_request_seconds_count", route="/v1/score") == 0


def test_processes_that_count_at_the_same_time_lose_nothing() -> None:
    shared = Shared.create(3)
    processes = [counting(shared, worker, 20_000) for worker in range(3)]
    metrics, seen = WorkerMetrics(shared), [0.0]
    while any(process.poll() is None for process in processes):
        seen.append(value(metrics.text(), "mlops_requests_total", route="/v1/score", status="200"))
    text = metrics.text()
    assert seen == sorted(seen)
    assert value(text, "mlops_requests_total", route="/v1/score", status="200") == 60_000
    assert value(text, "mlops_stage_seconds_count", stage="model") == 60_000
    assert value(text, "mlops_stage_seconds_sum", stage="model") == pytest.approx(6.0)
    assert value(text, "mlops_stage_seconds_bucket", stage="model", le="0.0001") == 60_000
    assert value(text, "mlops_stage_seconds_bucket", stage="model", le="7.5e-05") == 0


def test_what_a_killed_worker_counted_stays_and_the_next_one_goes_on_but_its_gauges_start_anew() -> None:
    shared = Shared.create(2)
    metrics = WorkerMetrics(shared)
    assert counting(shared, 1, 500, how=9).wait(timeout=20) == -9
    assert value(metrics.text(), "mlops_requests_total", route="/v1/score", status="200") == 500
    assert value(metrics.text(), "mlops_queue_events", worker="1") == 7
    again = WorkerMetrics(Shared(shared.descriptor, 2, 1))
    assert value(metrics.text(), "mlops_queue_events", worker="1") == 0
    again.cells[REQUESTS.at("/v1/score", 200)] += 1
    assert value(metrics.text(), "mlops_requests_total", route="/v1/score", status="200") == 501


def test_the_supervisor_counts_too_but_is_no_worker() -> None:
    shared = Shared.create(2)
    supervisor = WorkerMetrics(shared)
    workers = [WorkerMetrics(Shared(shared.descriptor, 2, worker)) for worker in range(2)]
    supervisor.cells[WORKER_RESTARTS.at()] += 1
    assert value(workers[0].text(), "mlops_worker_restarts_total") == 1
    queues = families(workers[0].text())["mlops_queue_events"].samples
    assert [sample.labels for sample in queues] == [{"worker": "0"}, {"worker": "1"}]


def test_a_gauge_of_what_all_have_together_is_one_series() -> None:
    shared = Shared.create(2)
    workers = [WorkerMetrics(Shared(shared.descriptor, 2, worker)) for worker in range(2)]
    workers[0].cells[STORE_EVENTS.at()], workers[1].cells[STORE_EVENTS.at()] = 10, 12
    workers[0].cells[QUEUE_EVENTS.at()] = 3
    assert value(workers[1].text(), "mlops_store_events") == 12
    assert value(workers[1].text(), "mlops_queue_events", worker="0") == 3


@pytest.mark.parametrize(
    ("seen", "bucket"), [(0.5, "1.0"), (1, "1.0"), (1.5, "2.0"), (128, "128.0"), (129, "+Inf")]
)
def test_a_value_at_a_bound_belongs_to_the_bucket_below(seen: float, bucket: str) -> None:
    metrics = WorkerMetrics(Shared.create(1))
    metrics.observe(BATCH_EVENTS.of(), seen, 3)
    reached = {
        sample.labels["le"]: sample.value
        for sample in families(metrics.text())["mlops_batch_events"].samples
        if sample.name.endswith("_bucket")
    }
    bounds = list(reached)
    assert bounds[-1] == "+Inf"
    assert [bounds[i] for i in range(len(bounds)) if reached[bounds[i]]] == bounds[bounds.index(bucket) :]
    assert value(metrics.text(), "mlops_batch_events_sum") == 3 * seen


def test_what_a_label_has_no_value_for_counts_as_other_and_makes_no_series() -> None:
    metrics = WorkerMetrics(Shared.create(1))
    before = len(metrics.text())
    for path in ("/wp-login.php", "/a", '/"}'):
        metrics.cells[REQUESTS.at(path, 418)] += 1
        metrics.observe(REQUEST_SECONDS.of(path), 0.1)
    assert value(metrics.text(), "mlops_requests_total", route="other", status="other") == 3
    assert b"wp-login" not in metrics.text()
    assert len(metrics.text()) < before + 3000
    with pytest.raises(KeyError):
        EVENTS_SCORED.at("perhaps")


def test_every_route_of_the_service_has_a_series_of_its_own() -> None:
    assert {route.path for route in ROUTES} <= set(REQUESTS.labels["route"])


def test_no_two_series_share_a_place_and_all_find_room() -> None:
    used = [place for instrument in ALL for place in range(instrument.start, instrument.end)]
    assert used == list(range(SIZE))
    assert AREAS["metrics"] >= SIZE
    stages = [STAGES.of(stage) for stage in STAGES.labels["stage"]]
    assert [later.start - earlier.sum for earlier, later in pairwise(stages)] == [1] * 5


def test_the_models_of_the_workers_are_told_whatever_their_names_hold() -> None:
    shared = Shared.create(3)
    for worker, name in enumerate(('a "quoted" \\ name\n', "b")):
        note = {"pid": 1, "name": name, "version": str(worker), "digest": "d", "refused": None}
        Shared(shared.descriptor, 3, worker).write_note(msgspec.json.encode(note))
    Shared(shared.descriptor, 3, 2).write_note(b'{"version": "half wri')
    told = families(WorkerMetrics(shared).text())["mlops_model_info"].samples
    assert [(s.labels["worker"], s.labels["name"], s.labels["version"], s.value) for s in told] == [
        ("0", 'a "quoted" \\ name\n', "0", 1),
        ("1", "b", "1", 1),
    ]


def test_a_worker_that_answers_with_no_model_is_not_told_to_have_one() -> None:
    shared = Shared.create(1)
    Shared(shared.descriptor, 1, 0).write_note(b'{"pid":1,"version":null,"digest":null,"refused":null}')
    assert families(WorkerMetrics(shared).text())["mlops_model_info"].samples == []


@pytest.mark.linux
def test_open_files_are_counted_without_looking_at_each(world: World) -> None:
    with world.server() as server, ExitStack() as stack:
        (worker,) = server.workers()

        def told() -> float:
            return value(server.text("/metrics").encode(), "process_open_fds", worker="0")

        until(lambda: told() == psutil.Process(worker).num_fds())
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: told() == psutil.Process(worker).num_fds() > 300)


def test_a_file_of_keys_that_cannot_be_followed_is_a_gauge_until_it_is_mended(world: World) -> None:
    keys = world.home / "api-keys.json"
    create_key(keys, "till", ["score"])
    whole = keys.read_bytes()
    with world.server("--keys", str(keys)) as server:
        for break_it in (keys.unlink, lambda: keys.write_bytes(b"{"), lambda: keys.write_bytes(b"")):
            until(lambda: value(server.text("/metrics").encode(), "mlops_keys_stale", worker="0") == 0)
            break_it()
            until(lambda: value(server.text("/metrics").encode(), "mlops_keys_stale", worker="0") == 1)
            keys.write_bytes(whole)
    log = (world.home / "serving.log").read_text()
    assert log.count("API keys stay as they were") == 3
    assert log.count("the file of API keys is followed again") >= 2


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
