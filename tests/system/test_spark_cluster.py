"""The feature job on a standalone cluster: the same table as on one machine, though a worker dies while it computes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pyarrow.dataset as ds
import pytest

from infra.spark.cluster import ROOT, main
from mlops.settings import Settings
from mlops.tables import FeatureTable, read_feature_table
from pipelines import lifecycle
from pipelines.ports import free_port
from usecases.fraud.simulator import World, simulate

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

WAIT_S = 240


class Home(msgspec.Struct, frozen=True):
    """A home with events, and the feature table that one machine makes of them."""

    folder: Path
    features: FeatureTable


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("home")
    events = folder / "month.parquet"
    table = simulate(World(customers=1500, days=31, seed=3)).to_pandas()
    table["TX_DATETIME"] = table["TX_DATETIME"].astype("datetime64[us]")
    table.to_parquet(events, index=False)
    lifecycle.ingest(Settings(home=folder), str(events))
    with features(folder, folder / "on-one-machine", master="local[*]") as job:
        succeeded(job)
    return Home(folder, read_feature_table(folder / "on-one-machine"))


@contextlib.contextmanager
def features(home: Path, table: Path, *, master: str, conf: str = "") -> Iterator[subprocess.Popen[str]]:
    """`mlops features` on a home, with its table elsewhere; ended at the end of the block."""
    variables = {
        "MLOPS_HOME": str(home),
        "MLOPS_FEATURES_URI": str(table),
        "MLOPS_SPARK_MASTER": master,
        "MLOPS_SPARK_CONF": conf,
        "MLOPS_SPARK_MEMORY": "1g",
        "PYTHONPATH": str(ROOT),
    }
    command = [Path(sys.executable).with_name("mlops"), "features", "--json"]
    job = subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield job
    finally:
        job.kill()
        job.wait()


def succeeded(job: subprocess.Popen[str]) -> dict[str, Any]:
    """What a job that ends well prints."""
    out, err = job.communicate(timeout=WAIT_S)
    assert job.returncode == 0, err
    return dict(json.loads(out))


class Running(msgspec.Struct, frozen=True):
    """A cluster of two workers with a core each, and the processes of it."""

    master: str
    page: str
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        return self._java("org.apache.spark.deploy.worker.Worker")

    def executor(self, number: str) -> psutil.Process:
        """The process of a job's executor."""
        (found,) = [
            process
            for process in self._java("CoarseGrainedExecutorBackend")
            if ["--executor-id", number] in [process.cmdline()[i : i + 2] for i in range(200)]
        ]
        return found

    def alive(self) -> int:
        return int(httpx.get(f"{self.page}/json/", timeout=10).json()["aliveworkers"])

    def processes(self) -> list[psutil.Process]:
        """All that live; a shell whose place Java took leaves children that nobody asks about."""
        children = self.process.children(recursive=True)
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    def _java(self, word: str) -> list[psutil.Process]:
        return [process for process in self.processes() if word in " ".join(process.cmdline())]


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Running]:
    """The cluster as its command runs it, and Ctrl-C at the end."""
    command = [sys.executable, "-m", "infra.spark.cluster", str(folder), "--memory", "1g"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        words = process.stdout.readline().replace(",", "").replace(";", "").split()
        assert words, "it did not start"
        told = [process.stdout.readline() for _ in range(4)]
        assert told[2] == f"    export MLOPS_SPARK_MASTER={words[0]}\n"
        assert "'spark.cores.max=2;" in told[3] and "spark.executor.memory=1g'" in told[3]
        yield Running(words[0], words[4], psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def executors(api: str) -> dict[str, dict[str, Any]]:
    """What an application says of its executors, by their number; nothing while it has none."""
    try:
        (application,) = httpx.get(f"{api}/applications", timeout=10).raise_for_status().json()
        listed = httpx.get(f"{api}/applications/{application['id']}/executors", timeout=10).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return {executor["id"]: executor for executor in listed if executor["id"] != "driver"}


def stopped_at_work(running: Running, api: str, job: subprocess.Popen[str]) -> str:
    """Stop an executor that has a task, once both have finished some: now it neither ends nor fails.

    Returns:
        the executor's number.
    """
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert job.poll() is None, "it was over before both had finished a task"
        found = executors(api)
        if len(found) == 2 and all(executor["completedTasks"] for executor in found.values()):
            for number in (number for number, executor in found.items() if executor["activeTasks"]):
                process = running.executor(number)
                process.suspend()
                time.sleep(0.5)  # what it had just said arrives
                if executors(api)[number]["activeTasks"]:
                    return number
                process.resume()
        time.sleep(0.02)
    raise AssertionError(f"no executor was found at work in {WAIT_S} s")


def test_a_worker_is_killed_during_the_job_and_the_feature_table_is_the_same(
    home: Home, tmp_path: Path
) -> None:
    table, log, port = tmp_path / "features", tmp_path / "log", free_port()
    log.mkdir()
    conf = {
        "spark.cores.max": "2",
        "spark.scheduler.minRegisteredResourcesRatio": "1",
        "spark.executor.memory": "600m",
        "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.default.parallelism": "8",
        "spark.ui.enabled": "true",
        "spark.ui.port": str(port),
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
    }
    with running_cluster(tmp_path / "cluster") as running:
        options = ";".join(f"{name}={value}" for name, value in conf.items())
        with features(home.folder, table, master=running.master, conf=options) as job:
            victim = stopped_at_work(running, f"http://127.0.0.1:{port}/api/v1", job)
            executor = running.executor(victim)
            worker = executor.parent()
            assert worker in running.workers()
            for process in (worker, *executor.children(recursive=True), executor):
                process.kill()
            result = succeeded(job)
        assert running.alive() == len(running.workers()) == 1

    made = read_feature_table(table)
    assert made.fingerprint == home.features.fingerprint
    assert made.days == home.features.days
    assert result["rows"] == home.features.rows == ds.dataset(table, format="parquet").count_rows()

    (file,) = log.iterdir()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    ends = [event for event in events if event["Event"] == "SparkListenerTaskEnd"]
    succeeded_on = Counter(
        end["Task Info"]["Executor ID"] for end in ends if end["Task End Reason"]["Reason"] == "Success"
    )
    assert set(succeeded_on) == {"0", "1"}
    lost = [end for end in ends if end["Task End Reason"]["Reason"] == "ExecutorLostFailure"]
    assert lost and {end["Task Info"]["Executor ID"] for end in lost} == {victim}


def test_it_listens_on_loopback_writes_into_its_folder_alone_and_leaves_no_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cluster"
    with running_cluster(folder) as running:
        assert running.alive() == len(running.workers()) == 2
        processes = running.processes()
        assert len(processes) == 3
        listening = {
            connection.laddr.ip.removeprefix("::ffff:")
            for process in processes
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        written = {
            Path(file.path) for process in processes for file in process.open_files() if file.mode != "r"
        }
        assert written and all(path.is_relative_to(folder) for path in written)
        assert not {path.name for path in Path("/tmp").glob("hsperfdata_*/*")} & {
            str(process.pid) for process in processes
        }
        assert main([str(folder)]) == 2
        assert capsys.readouterr().err == (
            f"{folder}: a cluster runs here already; end it, or name another folder\n"
        )
        assert running.alive() == 2
    assert not any(process.is_running() for process in processes)
    assert {path.name for path in folder.iterdir()} == {"conf", "logs", "tmp", "work"}


def test_a_job_whose_cluster_ends_says_so_and_so_does_the_next_one(home: Home, tmp_path: Path) -> None:
    conf = "spark.scheduler.maxRegisteredResourcesWaitingTime=1s"
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(running_cluster(tmp_path / "cluster"))
        for worker in running.workers():
            worker.kill()  # so that no executor goes on without the master
        job = stack.enter_context(features(home.folder, tmp_path / "table", master=running.master, conf=conf))
        deadline = time.monotonic() + WAIT_S
        while not httpx.get(f"{running.page}/json/", timeout=10).json()["activeapps"]:
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        for master in running.processes():
            master.kill()
        assert job.communicate(timeout=WAIT_S)[1].splitlines()[-1] == (
            f"mlops: {running.master}: the cluster has ended: no executor is left, and no master answers; "
            "start it and run again"
        )
        assert job.returncode == 2
    with features(home.folder, tmp_path / "table", master=running.master) as job:
        assert "no Spark master answers: connection refused" in job.communicate(timeout=WAIT_S)[1]
    assert job.returncode == 2


def test_what_it_cannot_do_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([str(tmp_path), "--port", str(taken.getsockname()[1])]) == 2
    assert "Spark's master ended with 1" in capsys.readouterr().err


def pod(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a pod of the image of infra/spark/Dockerfile runs."""
    command = [sys.executable, ROOT / "infra" / "spark" / "entrypoint", *words]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_the_command_of_a_driver_s_pod_makes_the_same_table(home: Home, tmp_path: Path) -> None:
    """As Spark starts it on Kubernetes: spark-submit in the pod, then Python; here with threads for executors."""
    properties, program = tmp_path / "spark.properties", tmp_path / "mlops.py"
    properties.write_text("spark.master=local[2]\nspark.driver.host=127.0.0.1\n")
    program.symlink_to(Path(sys.executable).with_name("mlops"))
    ran = pod(
        *("driver", "--properties-file", str(properties), "--class", "org.apache.spark.deploy.PythonRunner"),
        *(f"local://{program}", "features", "--json"),
        SPARK_DRIVER_BIND_ADDRESS="127.0.0.1",
        MLOPS_HOME=str(home.folder),
        MLOPS_FEATURES_URI=str(tmp_path / "features"),
        MLOPS_SPARK_MASTER="local[2]",
    )
    assert ran.returncode == 0, ran.stderr
    assert read_feature_table(tmp_path / "features").fingerprint == home.features.fingerprint


def test_the_command_of_an_executor_s_pod_looks_for_its_driver() -> None:
    port = free_port()
    ran = pod(
        "executor",
        SPARK_DRIVER_URL=f"spark://CoarseGrainedScheduler@127.0.0.1:{port}",
        SPARK_EXECUTOR_ID="1",
        SPARK_EXECUTOR_CORES="1",
        SPARK_EXECUTOR_MEMORY="512m",
        SPARK_APPLICATION_ID="spark-1",
        SPARK_EXECUTOR_POD_IP="127.0.0.1",
        SPARK_EXECUTOR_POD_NAME="features-exec-1",
        SPARK_RESOURCE_PROFILE_ID="0",
        SPARK_JAVA_OPT_10="-Dlast=1",
        SPARK_JAVA_OPT_2="-Dspark.driver.port=7078",
    )
    assert ran.returncode == 1
    assert f"/127.0.0.1:{port}" in ran.stderr and "Connection refused" in ran.stderr
