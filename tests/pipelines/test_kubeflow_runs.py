"""The recurring run as Kubeflow's API is asked for it, and a run of which a task fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from mlops.errors import MlopsError, SetupError
from mlops.settings import Settings
from mlops.storage import read_json
from pipelines.conclusion import CONCLUSION, Conclusion
from pipelines.kubeflow import COMPILED
from pipelines.kubeflow_pods import Options
from pipelines.kubeflow_runs import run_here, schedule
from pipelines.ports import free_port
from tests.command import exit_code

EXPERIMENT = {"experiment_id": "e1", "display_name": "mlops-lifecycle"}
Asked = list[tuple[str, str, Any]]


class _Kubeflow(BaseHTTPRequestHandler):
    """So much of Kubeflow's API as a recurring run wants: it keeps what it is asked for."""

    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.endswith("/healthz"):
            self._answer({"multi_user": False})
        elif url.path.endswith("/experiments"):
            self._answer({"experiments": [EXPERIMENT] if self.server.runs else []})
        else:
            wanted = json.loads(parse_qs(url.query)["filter"][0])["predicates"][0]
            found = [run for run in self.server.runs if run["display_name"] == wanted["stringValue"]]
            self._answer({"recurringRuns": found})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.token = self.headers["authorization"]
        self.server.asked.append(("POST", self.path, body))
        if self.path.endswith("/experiments"):
            self._answer(EXPERIMENT)
            return
        run = {**body, "recurring_run_id": f"r{len(self.server.asked)}"}
        self.server.runs.append(run)
        self._answer(run)

    def do_DELETE(self) -> None:
        self.server.asked.append(("DELETE", self.path, None))
        gone = self.path.rpartition("/")[2]
        self.server.runs = [run for run in self.server.runs if run["recurring_run_id"] != gone]
        self._answer({})

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200 if self.path.endswith("/healthz") else self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Kubeflow)
        self.asked: Asked = []
        self.runs: list[dict[str, Any]] = []
        self.status = 200
        self.token: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def kubeflow() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_recurring_run_is_the_compiled_pipeline_by_the_clock_one_at_a_time(
    kubeflow: _Server, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"events": "s3://raw-events", "monitor": True}
    asked = {"cron": "0 10 1 * * *", "service_account": "runner", "token": "who-asks"}
    made = schedule(COMPILED, arguments, host=kubeflow.url, **asked)
    assert kubeflow.token == "Bearer who-asks"
    assert made.replaced == () and capsys.readouterr().out == ""
    (run,) = kubeflow.runs
    assert run["experiment_id"] == "e1" and run["display_name"] == "mlops-lifecycle"
    assert run["trigger"] == {"cron_schedule": {"cron": "0 10 1 * * *"}}
    assert (run["max_concurrency"], run["no_catchup"], run["mode"]) == (1, True, "ENABLE")
    assert run["runtime_config"]["parameters"] == arguments
    assert run["service_account"] == "runner"
    spec, platform = yaml.safe_load_all(COMPILED.read_text())
    sent = run["pipeline_spec"]
    assert sent["pipeline_spec"]["deploymentSpec"] == spec["deploymentSpec"]
    assert sent["platform_spec"] == platform


def test_scheduled_again_it_takes_the_place_of_the_one_before(kubeflow: _Server) -> None:
    first = schedule(COMPILED, {}, host=kubeflow.url, cron="0 10 1 * * *")
    second = schedule(COMPILED, {"seed": 1}, host=kubeflow.url, cron="0 0 2 * * *")
    assert second.replaced == (first.id,)
    assert [run["recurring_run_id"] for run in kubeflow.runs] == [second.id]
    assert kubeflow.asked[-1] == ("DELETE", f"/apis/v2beta1/recurringruns/{first.id}", None)


def test_who_may_not_is_told_so(kubeflow: _Server) -> None:
    kubeflow.status = 403
    with pytest.raises(SetupError, match="forbidden; is this Kubeflow's API, and may you use it"):
        schedule(COMPILED, {}, host=kubeflow.url, cron="0 10 1 * * *")


def test_who_does_not_answer_is_named_in_one_line() -> None:
    host = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SetupError, match=f"{host}: does not answer; is this Kubeflow's API"):
        schedule(COMPILED, {}, host=host, cron="0 10 1 * * *")


def test_a_schedule_of_five_fields_is_refused() -> None:
    words = ("--host=http://127.0.0.1:1", f"--pipeline={COMPILED}", "--cron=10 1 * * *")
    done = _mlops("kubeflow", "schedule", *words)
    assert done.returncode == 2
    assert done.stderr == "mlops: --cron: '10 1 * * *' has not six fields; the first are the seconds\n"


def test_the_pipeline_that_is_scheduled_has_to_be_named_as_the_repository_s_is_no_cluster_s() -> None:
    done = _mlops("kubeflow", "schedule", "--host=http://127.0.0.1:1", "--cron=0 10 1 * * *")
    assert done.returncode == 2 and "Missing option '--pipeline'" in done.stderr


@pytest.mark.parametrize(("more", "as_of"), [((), "today"), (("--set=as_of=",), "")])
def test_a_scheduled_delivery_has_to_be_fresh_unless_it_is_an_archive(
    kubeflow: _Server, more: tuple[str, ...], as_of: str
) -> None:
    words = (f"--host={kubeflow.url}", f"--pipeline={COMPILED}", "--cron=0 10 1 * * *", *more)
    assert exit_code("kubeflow", "schedule", *words) == 0
    (run,) = kubeflow.runs
    assert run["runtime_config"]["parameters"] == {"as_of": as_of}


def test_a_task_that_fails_is_tried_again_and_the_run_is_concluded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(home=tmp_path / "home")
    options = Options(retries=1, backoff_s=0)
    why = "ingest: as_of: 'yesterday' is not a date; write it as 2018-07-25"
    with pytest.raises(MlopsError) as failed:
        run_here(settings, {"events": "nowhere", "as_of": "yesterday"}, options)
    assert failed.value.line() == f"mlops-lifecycle: task {why}"
    said = capfd.readouterr()
    assert not said.out
    *tried, started, concluded_line, done = (
        said.err.splitlines()
    )  # neither a traceback, nor JSON, nor colours
    assert tried == ["ingest: started", why, "ingest: failed"] * 2
    assert (started, done) == ("conclude: started", "conclude: done")
    assert concluded_line.startswith("conclude: ") and "FAILED" in concluded_line
    concluded = read_json(settings.home / CONCLUSION, Conclusion)
    assert (concluded.state, concluded.champion, concluded.validation) == ("FAILED", None, None)
    assert "MLOPS_HOME" not in os.environ or os.environ["MLOPS_HOME"] != str(settings.home)


def _mlops(*words: str) -> subprocess.CompletedProcess[str]:
    mlops = Path(sys.executable).with_name("mlops")
    return subprocess.run([mlops, *words], capture_output=True, text=True, timeout=120, check=False)
