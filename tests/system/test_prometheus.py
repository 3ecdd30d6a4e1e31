"""A real Prometheus scrapes a real server of two workers: the rules, the dashboard, the counts, the alerts."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.example import Server, World, payment, payments
from tests.system.prometheus_server import RULES, Prometheus, running_prometheus

pytestmark = pytest.mark.system

DASHBOARD = RULES.parent / "grafana" / "dashboard.json"
WEEK = 7 * 86_400
SELECTOR = re.compile(r"\b(?:up|mlops_\w+|process_\w+|job\w*:[\w:]+)(?:\{[^}]*\})?")


class Scene:
    """A server, whose home it is, and the Prometheus that watches it."""

    def __init__(self, world: World, server: Server, prometheus: Prometheus) -> None:
        self.world = world
        self.server = server
        self.prometheus = prometheus
        self.scored = 0
        self.refused = 0

    def send(self, count: int) -> None:
        """So many new events, each in a request and on a connection of its own, and one that does not fit."""
        for number in range(self.scored, self.scored + count):
            assert self._another().post("/v1/score", payment(number)).status == 200
        self.scored += count
        assert self._another().post("/v1/score", {"payment": "no"}).status == 422
        self.refused += 1

    def _another(self) -> Server:
        return Server(self.server.process, str(self.server.port))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server of two workers with a first model, scraped twice at least."""
    world = World(tmp_path_factory.mktemp("watched"))
    world.deploy("1", world.bundle())
    with (
        world.server("--workers", "2") as server,
        running_prometheus(
            world.home / "prometheus", f"127.0.0.1:{server.port}", history=_a_week_ago()
        ) as prometheus,
    ):
        prometheus.wait_until(lambda p: p.query("count_over_time(up[1m])") >= [2.0], "scraped twice")
        yield Scene(world, server, prometheus)


@pytest.fixture
def busy(scene: Scene) -> Iterator[Scene]:
    """The same, while requests run."""
    ended = threading.Event()

    def go_on() -> None:
        client, first = Server(scene.server.process, str(scene.server.port)), 100_000
        while not ended.is_set():
            client.post("/v1/score?reasons=true", payment(first))
            client.post("/v1/score", payments(range(first + 1, first + 4)))
            client.post("/v1/labels", [{"payment": first, "fraud": False, "known_at": "2024-05-01T00:00:00"}])
            first += 4
            time.sleep(0.02)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        scene.prometheus.wait_until(
            lambda p: (
                min(p.query('rate(mlops_requests_total{route="/v1/score", status="200"}[5s])'), default=0) > 0
            ),
            "requests seen",
        )
        time.sleep(3)
        yield scene
    finally:
        ended.set()
        thread.join()
        time.sleep(2.5)  # until the last of them were scraped


def _a_week_ago() -> list[str]:
    """What was recorded then: of a thousand scores or so all at most 0.5."""
    now, lines = int(time.time()), []
    for at in range(now - WEEK - 120, now - WEEK + 900, 60):
        for le in ("0.5", "1.0", "+Inf"):
            lines.append(f'job_le:mlops_score:cdf1h{{job="mlops-serving",le="{le}"}} 1 {at}')
    recorded = [f'job:mlops_scores:increase1h{{job="mlops-serving"}} 2000 {now - WEEK}']
    return [
        "# TYPE job_le:mlops_score:cdf1h gauge",
        *lines,
        "# TYPE job:mlops_scores:increase1h gauge",
        *recorded,
    ]


def _queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def _filled_in(expression: str) -> str:
    """As Grafana asks, its variables filled in."""
    values = {"$__rate_interval": "10s", "$job": "mlops-serving", "$instance": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def test_the_rules_are_sound_and_each_alert_fires_when_it_should_and_only_then() -> None:
    for arguments in (
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "--lint=all", "--lint-fatal", "recording.yml", "alerts.yml"],
        ["test", "rules", "rules_test.yml", "week_test.yml"],
    ):
        done = subprocess.run(
            ["promtool", *arguments], cwd=RULES, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_tells_whoever_is_woken_what_to_do() -> None:
    tests = (RULES / "rules_test.yml").read_text() + (RULES / "week_test.yml").read_text()
    for alert in (RULES / "alerts.yml").read_text().split("- alert: ")[1:]:
        name = alert.split("\n", 1)[0]
        assert f'alertname="{name}"' in tests
        assert re.search(r"severity: (page|ticket)", alert), name
        assert re.search(r"runbook: \S.{20}", alert), name


def test_every_query_of_the_dashboard_finds_series_while_requests_run(busy: Scene) -> None:
    queries = [_filled_in(query) for query in _queries()]
    assert len(queries) > 30
    found = {query: busy.prometheus.query(query) for query in queries}
    assert [query for query, values in found.items() if not any(map(math.isfinite, values))] == []


def test_the_dashboards_variables_find_the_server(scene: Scene) -> None:
    asked = {"match[]": "mlops_requests_total"}
    assert scene.prometheus.ask("label/job/values", **asked) == ["mlops-serving"]
    assert scene.prometheus.ask("label/instance/values", **asked) == [f"127.0.0.1:{scene.server.port}"]


def test_every_rule_works_on_series_that_are_there(busy: Scene) -> None:
    rules: list[dict[str, Any]] = [
        rule for group in busy.prometheus.ask("rules")["groups"] for rule in group["rules"]
    ]
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    selectors = {selector for rule in rules for selector in SELECTOR.findall(rule["query"])}
    assert len(recorded) == 9
    assert len(selectors) > 20
    assert [each for each in (*recorded, *selectors) if not busy.prometheus.query(each)] == []
    (shift,) = busy.prometheus.query("job:mlops_score:ks1w")
    assert 0 < shift <= 1


def test_the_counters_of_both_workers_add_up_to_what_was_sent_and_survive_a_worker(scene: Scene) -> None:
    prometheus, ok = scene.prometheus, 'mlops_requests_total{route="/v1/score", status="200"}'
    before = prometheus.query(ok)[0]
    scored_before = sum(prometheus.query("mlops_events_scored_total"))
    scene.send(150)
    prometheus.wait_until(lambda p: p.query(ok)[0] == before + 150, "all are counted")
    assert sum(prometheus.query("mlops_events_scored_total")) == scored_before + 150
    assert prometheus.query("mlops_score_count") == prometheus.query("sum(mlops_events_scored_total)")
    assert prometheus.query('mlops_requests_total{route="/v1/score", status="422"}') == [scene.refused]
    logs = [
        path for kind in ("decisions", "labels") for path in scene.world.decisions.glob(f"{kind}-*.jsonl")
    ]
    assert prometheus.query("mlops_log_bytes_total") == [sum(path.stat().st_size for path in logs)]
    killed = scene.server.workers()[0]
    os.kill(killed, signal.SIGKILL)
    prometheus.wait_until(lambda p: p.query("mlops_worker_restarts_total") == [1.0], "a restart is counted")
    prometheus.wait_until(lambda p: "WorkersRestart" in p.firing(), "WorkersRestart fires")
    scene.send(50)
    prometheus.wait_until(lambda p: p.query(ok)[0] == before + 200, "what the dead one counted is kept")


def test_an_alert_fires_when_a_tampered_bundle_is_refused_and_ends_when_it_is_rolled_back(
    scene: Scene,
) -> None:
    prometheus = scene.prometheus
    assert prometheus.firing() <= {"WorkersRestart"}
    path, digest = scene.world.bundle("second", seed=1)
    model = bytearray((path / "model.onnx").read_bytes())
    model[-1] ^= 1
    (path / "model.onnx").write_bytes(model)
    sound = scene.world.pointer.read_bytes()
    scene.world.deploy("2", (path, digest))
    prometheus.wait_until(lambda p: "BundleRefused" in p.firing(), "BundleRefused fires")
    assert prometheus.query('sum(mlops_model_loads_total{outcome="refused"})')[0] >= 2
    assert prometheus.query('count(mlops_model_info{version="1"})') == [2.0]
    _write(scene.world.pointer, sound)
    prometheus.wait_until(lambda p: "BundleRefused" not in p.firing(), "it ends")


def _write(pointer: Path, content: bytes) -> None:
    aside = pointer.with_name("aside")
    aside.write_bytes(content)
    aside.rename(pointer)
