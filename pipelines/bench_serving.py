"""What the scoring server does on one core, beside the bare framework and other model servers: rates, latency, memory.

The server is started as a user starts it, with keys and metrics, on a core of its own; load comes from another. The
model is gradient-boosted trees on the published features, in whose store lies a simulated world's history. Every round
measures everything once, so that what else runs on the machine touches all alike; figures are medians of the rounds.
The other servers follow one by one, on the same core, asked by the same generator for as long and as often. The file is
of one run: what that did not measure is not in it.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from mlops.settings import Settings
from mlops.storage import write_json
from pipelines.bench_serving_load import Cores, open_loop
from pipelines.bench_serving_rounds import Lengths, Measuring, Round
from pipelines.bench_serving_world import make_world
from pipelines.bench_trees import WORLD
from pipelines.serving_peers import PEERS, Peer, measure_peer

__all__ = ["ServingBench", "bench_serving"]

_STARTS = 5
_FLOOD_RPS = 200_000
_FLOOD = 100_000


class ServingBench(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; medians of the rounds.

    Fields:
        tensor_rps, event_rps: closed loop, of rows of features, and of raw events.
        tensor_cpu_us, event_cpu_us: processor time of the server for a request, kernel included.
        p99_ms_at_500, p99_ms_at_2000: of raw events, open loop. bare_p99_…: of the bare framework.
        goodput_at_2x: answers with 200 at twice the round's rate of events, as a share of it. statuses_at_2x: all
            answers.
        ready_s: from the process's start until /readyz answers 200.
        uss_mb: private memory of the worker after all of that, without the store's file, whose mapped pages are
            `store_mapped_mb`. uss_ready_mb: before.
        ceiling_rps: of the bare framework. generator_rps: what the open loop can send and read at most.
        stage_us: of an event: where the time goes.
        vs_…: `tensor_rps` over that of another server; None where that could not be run. `vs_mlflow` is with named
            features and a signature, as its documentation has it, `vs_mlflow_tensor` with neither. vs_by_cpu: the same
            by processor time, which does not depend on what else ran when one of the two was measured.
        setups: of each kind of measurement: the command, and what is asked.
        measured_at, machine, cores: when and on what. load_before: the load average of the minute before; above 0.5,
            and where a rate's `others` or `load_others` is above 0.1, rates are not to be trusted.
    """

    tensor_rps: float
    event_rps: float
    tensor_cpu_us: float
    event_cpu_us: float
    p99_ms_at_500: float
    p99_ms_at_2000: float
    bare_p99_ms_at_500: float
    bare_p99_ms_at_2000: float
    goodput_at_2x: float
    accepted_p99_ms_at_2x: float
    statuses_at_2x: dict[str, int]
    ready_s: float
    uss_mb: float
    uss_ready_mb: float
    store_mapped_mb: float
    ceiling_rps: float
    generator_rps: float
    stage_us: dict[str, float]
    vs_mlflow: float | None
    vs_mlflow_tensor: float | None
    vs_mlserver: float | None
    vs_bentoml: float | None
    vs_by_cpu: dict[str, float]
    peers: dict[str, Peer]
    setups: dict[str, str]
    versions: dict[str, str]
    rounds: tuple[Round, ...]
    events_in_store: int
    measured_at: str
    machine: str
    cores: int
    load_before: float


def bench_serving(
    settings: Settings,
    out: Path,
    *,
    world: Mapping[str, Any] = WORLD,
    lengths: Lengths = Lengths(),  # noqa: B008 - frozen
    peers: Sequence[str] = tuple(PEERS),
    say: Callable[[str], None] = print,
) -> ServingBench:
    """Measure, and write `out`/serving.json. The others' environments stay in `out`/venvs.

    Args:
        settings: whose use case has a simulator and published features.
        world: knobs of the simulated world.
        peers: which others to measure.
        say: told what is being done.

    Raises:
        SetupError: this machine lacks what is needed, or our server did not start.
        ParityError: our server gives other scores than the model.
    """
    cores, load_before = Cores.choose(), os.getloadavg()[0]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".tmp-serving-") as name:
        scratch = Path(name)
        say("world, model, bundle, store")
        served = make_world(settings, scratch / "home", world=world)
        bench = Measuring(served, cores, scratch / "log")
        say(f"ready, {_STARTS} times")
        starts = [bench.start_once() for _ in range(_STARTS)]
        with ExitStack() as stack:
            server = stack.enter_context(bench.server())
            bare = stack.enter_context(bench.bare())
            bench.check(server)
            ready = server.memory()
            generator = open_loop(bare, cores, bench.requests(_FLOOD), _FLOOD_RPS)[0].goodput_rps
            rounds = []
            for number in range(lengths.rounds):
                say(f"round {number + 1} of {lengths.rounds}")
                rounds.append(bench.round(server, bare, lengths))
            used = server.memory()
        others = {}
        for peer in peers:
            say(peer)
            others[peer] = measure_peer(
                peer, served, out / "venvs", scratch, cores, seconds=lengths.closed_s, rounds=lengths.rounds
            )
            if others[peer].failed:
                say(f"{peer} is left out: {others[peer].failed}")
    tensor, event = (_middle(getattr(r, what).rps for r in rounds) for what in ("tensor", "events"))
    tensor_cpu_us = _middle(r.tensor.cpu_us for r in rounds)
    result = ServingBench(
        tensor_rps=tensor,
        event_rps=event,
        tensor_cpu_us=tensor_cpu_us,
        event_cpu_us=_middle(r.events.cpu_us for r in rounds),
        p99_ms_at_500=_middle(r.at_500.p99_ms for r in rounds),
        p99_ms_at_2000=_middle(r.at_2000.p99_ms for r in rounds),
        bare_p99_ms_at_500=_middle(r.bare_at_500.p99_ms for r in rounds),
        bare_p99_ms_at_2000=_middle(r.bare_at_2000.p99_ms for r in rounds),
        goodput_at_2x=round(_middle(r.twice.goodput_rps / r.events.rps for r in rounds), 3),
        accepted_p99_ms_at_2x=_middle(r.twice.p99_ms for r in rounds),
        statuses_at_2x=dict(sum((Counter(r.twice.statuses) for r in rounds), Counter())),
        ready_s=_middle(starts),
        uss_mb=used.uss_mb,
        uss_ready_mb=ready.uss_mb,
        store_mapped_mb=used.store_mb,
        ceiling_rps=_middle(r.bare.rps for r in rounds),
        generator_rps=generator,
        stage_us={stage: _middle(r.stage_us[stage] for r in rounds) for stage in rounds[0].stage_us},
        vs_mlflow=_ratio(tensor, others.get("mlflow")),
        vs_mlflow_tensor=_ratio(tensor, others.get("mlflow-tensor")),
        vs_mlserver=_ratio(tensor, others.get("mlserver")),
        vs_bentoml=_ratio(tensor, others.get("bentoml")),
        vs_by_cpu={
            name: round(_middle(rate.cpu_us for rate in peer.rates) / tensor_cpu_us, 1)
            for name, peer in others.items()
            if peer.rates
        },
        peers=others,
        setups=bench.setups(lengths),
        versions={
            name: version(name) for name in ("onnxruntime", "uvloop", "httptools", "lmdb", "scikit-learn")
        }
        | {"python": platform.python_version()},
        rounds=tuple(rounds),
        events_in_store=served.events,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_processor(),
        cores=os.cpu_count() or 1,
        load_before=round(load_before, 2),
    )
    write_json(out / "serving.json", result)
    return result


def _processor() -> str:
    """What the system calls it."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _middle(values: Any) -> float:
    return float(statistics.median(values))


def _ratio(rps: float, peer: Peer | None) -> float | None:
    return None if peer is None or not peer.rps else round(rps / peer.rps, 1)
