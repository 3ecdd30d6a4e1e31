"""The table of the serving bench has what is asked for; what makes figures doubtful is said."""

from __future__ import annotations

import msgspec
import pytest

from pipelines.bench_serving import ServingBench
from pipelines.bench_serving_load import Rate
from pipelines.bench_serving_rounds import Round
from pipelines.bench_serving_table import doubts, table
from pipelines.open_loop import Offered
from pipelines.serving_peers import Peer

CALM = Rate(rps=9000.0, cpu_us=90.0, others=0.02, load_others=0.1)
OFFERED = Offered(
    rate=500.0,
    seconds=1.0,
    requests=500,
    statuses={"200": 500},
    goodput_rps=500.0,
    p50_ms=0.2,
    p99_ms=0.5,
    max_ms=1.0,
    sent_late_p99_ms=0.1,
)
ROUND = Round(
    tensor=CALM,
    events=CALM,
    stage_us={"http": 60.0},
    bare=CALM,
    at_500=OFFERED,
    at_2000=OFFERED,
    bare_at_500=OFFERED,
    bare_at_2000=OFFERED,
    twice=OFFERED,
    open={"at_500": CALM, "twice": CALM},
)
RESULT = ServingBench(
    tensor_rps=30_000.4,
    event_rps=9_000.0,
    tensor_cpu_us=30.0,
    event_cpu_us=90.0,
    p99_ms_at_500=1.25,
    p99_ms_at_2000=1.75,
    bare_p99_ms_at_500=0.4,
    bare_p99_ms_at_2000=2.0,
    goodput_at_2x=0.93,
    accepted_p99_ms_at_2x=30.0,
    statuses_at_2x={"200": 10, "503": 10},
    ready_s=0.25,
    uss_mb=44.0,
    uss_ready_mb=40.0,
    store_mapped_mb=600.0,
    ceiling_rps=94_000.0,
    generator_rps=99_000.0,
    stage_us={"model": 30.0, "http": 60.0},
    vs_mlflow=120.5,
    vs_mlflow_tensor=None,
    vs_mlserver=None,
    vs_bentoml=None,
    vs_by_cpu={},
    peers={"mlflow": Peer(rps=250.0, rates=(CALM,))},
    setups={},
    versions={"python": "3.11.7"},
    rounds=(ROUND,),
    events_in_store=1000,
    measured_at="2026-01-02T03:04:05+00:00",
    machine="A processor",
    cores=2,
    load_before=0.1,
)


def test_each_figure_stands_beside_what_is_asked_of_it() -> None:
    lines = table(RESULT).splitlines()
    assert lines[0] == "2026-01-02, one of 2 cores of A processor, Python 3.11.7"
    for line in (
        "| tensor_rps | 30,000 | at least 14,000 |",
        "| event_rps | 9,000 | at least 8,000 |",
        "| p99_ms_at_500 | 1.25 | at most 1.5, or twice the bare framework's: 0.8 |",
        "| p99_ms_at_2000 | 1.75 | at most 3, or twice the bare framework's: 4 |",
        "| bare_p99_ms_at_500 | 0.4 |  |",
        "| goodput_at_2x | 0.93 | at least 0.9 |",
        "| ready_s | 0.25 | at most 1.5 |",
        "| uss_mb | 44 | at most 150 |",
        "| vs_mlflow | 120.5 | at least 50 |",
        "| vs_mlserver | not measured | at least 20 |",
        "| vs_bentoml | not measured | at least 50 |",
        "| ceiling_rps | 94,000 |  |",
    ):
        assert line in lines
    assert lines[-1] == "An event's processor time, 90.0 µs: http 60.0, model 30.0."


def test_nothing_is_said_of_a_calm_run() -> None:
    assert doubts(RESULT) == []


@pytest.mark.parametrize(
    ("core", "words"), [("others", "the server's core"), ("load_others", "the load's core")]
)
def test_others_on_a_core_are_warned_of(core: str, words: str) -> None:
    busy = msgspec.structs.replace(CALM, **{core: 0.25})
    rounds = (ROUND, msgspec.structs.replace(ROUND, events=busy, open={"at_500": busy}))
    peers = {"mlflow": Peer(rps=250.0, rates=(busy,))}
    result = msgspec.structs.replace(RESULT, rounds=rounds, peers=peers)
    where = ("round 2, events", "round 2, at_500", "mlflow, round 1")
    assert doubts(result) == [
        f"warning: {each}: others had 25% of {words}; not to be trusted" for each in where
    ]


def test_a_server_that_was_not_measured_and_other_answers_are_said() -> None:
    result = msgspec.structs.replace(
        RESULT,
        statuses_at_2x={"200": 1, "dropped": 2},
        peers={"bentoml": Peer(failed="bentoml: no such file")},
    )
    assert doubts(result) == [
        "warning: at twice the saturation there were other answers: dropped",
        "not measured: bentoml: bentoml: no such file",
    ]
