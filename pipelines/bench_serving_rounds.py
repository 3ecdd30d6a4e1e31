"""One round of the bench of serving: the server and the bare framework, asked in every way once."""

from __future__ import annotations

import json
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import msgspec

from mlops.errors import ParityError, SetupError
from mlops.signing import PUBLIC_KEY
from pipelines.bench_serving_load import CONNECTIONS, Cores, Rate, Server, closed_loop, open_loop, started
from pipelines.bench_serving_world import ServedWorld
from pipelines.bench_trees import TREES
from pipelines.open_loop import CONNECTIONS as OPEN_CONNECTIONS
from pipelines.open_loop import Offered

__all__ = ["Lengths", "Measuring", "Round"]

_ROWS = 1_000
_STAGE = re.compile(r'^mlops_stage_seconds_(sum|count)\{stage="(\w+)"\} (\S+)$', re.MULTILINE)


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """How long is measured: rounds, seconds of a closed loop, and of an open one."""

    rounds: int = 3
    closed_s: float = 8.0
    open_s: float = 10.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round measured. `bare…` is the bare framework with the same requests; `twice` is at twice `events`.

    `stage_us` is of `events`: what the server itself counted by stage, and "http", the rest of the processor time.
    `open` is the server's side of each open loop: answers a second, processor time of an answer, and who else ran.
    """

    tensor: Rate
    events: Rate
    stage_us: dict[str, float]
    bare: Rate
    at_500: Offered
    at_2000: Offered
    bare_at_500: Offered
    bare_at_2000: Offered
    twice: Offered
    open: dict[str, Rate]


class Measuring:
    """The servers and the load of one run."""

    def __init__(self, served: ServedWorld, cores: Cores, log: Path) -> None:
        self._served, self._cores, self._log = served, cores, log
        self._rows = [
            json.dumps({"features": [row]}, separators=(",", ":")) for row in served.rows[:_ROWS].tolist()
        ]

    def command(self) -> list[str]:
        home = self._served.home
        return [
            *(sys.executable, "-m", "serving", "--pointer", str(home.pointer), "--store", home.store_uri),
            *("--decisions", str(home.decisions), "--public-key", str(home.keys / PUBLIC_KEY)),
            *("--keys", str(self._served.keys), "--port", "0", "--workers", "1"),
        ]

    def server(self) -> AbstractContextManager[Server]:
        return started(self.command(), self._cores, self._log, ready=_is_ready)

    def bare(self) -> AbstractContextManager[Server]:
        command = [sys.executable, "-m", "pipelines.bench_serving_bare"]
        return started(command, self._cores, self._log, ready=lambda port: True)

    def start_once(self) -> float:
        with self.server() as server:
            return float(server.ready_s)

    def check(self, server: Server) -> None:
        """That it serves the model that was trained, and refuses those without a key."""
        url, asked = (
            f"http://127.0.0.1:{server.port}/v1/predict",
            {"features": self._served.rows[:5].tolist()},
        )
        if (refused := httpx.post(url, json=asked).status_code) != 401:
            raise SetupError(f"answers {refused} without a key", where=url)
        answer = httpx.post(url, json=asked, headers={"X-API-Key": self._served.key}).raise_for_status()
        wanted = self._served.scores[:5].tolist()
        if any(abs(a - b) > 1e-6 for a, b in zip(answer.json()["scores"], wanted, strict=True)):
            raise ParityError(f"gives {answer.text} where the model gives {wanted}", where=url)

    def requests(self, count: int) -> list[bytes]:
        """Raw events as whole requests."""
        head = (
            f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {self._served.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        return [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in self._served.payments.take(count)]

    def round(self, server: Server, bare: Server, lengths: Lengths) -> Round:
        """Everything once."""
        _, tensor = closed_loop(
            server, self._cores, "/v1/predict", self._rows, lengths.closed_s, key=self._served.key
        )
        before = _stages(server)
        events = self._ask_events(server, lengths.closed_s)
        stage_us = {stage: 1e6 * _each(after, before[stage]) for stage, after in _stages(server).items()}
        stage_us["http"] = events.cpu_us - stage_us["parse"] - stage_us.pop("total")
        offers = {
            "at_500": (server, 500.0, lengths.open_s),
            "at_2000": (server, 2000.0, lengths.open_s),
            "bare_at_500": (bare, 500.0, lengths.open_s),
            "bare_at_2000": (bare, 2000.0, lengths.open_s),
            "twice": (server, 2 * events.rps, lengths.closed_s),
        }
        bare_rate = self._ask_events(bare, lengths.closed_s)
        offered = {name: self._offer(*what) for name, what in offers.items()}
        return Round(
            tensor=tensor,
            events=events,
            stage_us={stage: round(us, 1) for stage, us in stage_us.items()},
            bare=bare_rate,
            **{name: result for name, (result, _) in offered.items()},
            open={name: rate for name, (_, rate) in offered.items()},
        )

    def setups(self, lengths: Lengths) -> dict[str, str]:
        """In words and commands."""
        cores, payments = self._cores, self._served.payments
        return {
            "server": f"taskset -c {cores.server} " + " ".join(Path(w).name for w in self.command()),
            "model": f"HistGradientBoostingClassifier, {TREES} trees, {len(self._served.features)} features, as ONNX",
            "load": f"core {cores.load}; medians of {lengths.rounds} rounds",
            "tensor": f"wrk -t1 -c{CONNECTIONS} -d{lengths.closed_s:.0f}s, POST /v1/predict {self._rows[0]}",
            "events": f"wrk as before, POST /v1/score {payments.shown()}, each with its own id",
            "open loop": f"pipelines.open_loop, Poisson arrivals, {OPEN_CONNECTIONS} connections, "
            f"{lengths.open_s:.0f} s, the same events; latency from the time at which a request was due",
            "twice": f"the same at 2 x event_rps for {lengths.closed_s:.0f} s",
            "bare": "serving.protocol with a constant answer, on the server's core, the same requests",
        }

    def _ask_events(self, server: Server, seconds: float) -> Rate:
        payments = self._served.payments
        more = payments.for_script()
        closed, rate = closed_loop(
            server, self._cores, "/v1/score", payments.rest, seconds, *more, key=self._served.key
        )
        payments.taken += closed.asked
        if closed.refused:
            raise SetupError(f"{closed.refused} of {closed.requests} events were refused", where=self._log)
        return rate

    def _offer(self, server: Server, rate: float, seconds: float) -> tuple[Offered, Rate]:
        return open_loop(server, self._cores, self.requests(int(rate * seconds)), rate)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _stages(server: Server) -> dict[str, tuple[float, float]]:
    """Seconds and events of each stage so far."""
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").raise_for_status().text
    found: dict[tuple[str, str], float] = {(s, what): float(v) for what, s, v in _STAGE.findall(text)}
    return {stage: (found[stage, "sum"], found[stage, "count"]) for stage, what in found if what == "sum"}


def _each(after: tuple[float, float], before: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(1.0, after[1] - before[1])
