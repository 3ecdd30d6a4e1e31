"""A standalone Spark cluster on this machine: a master and its workers, each a process, on loopback, until Ctrl-C.

    .venv/bin/python -m infra.spark.cluster runs/spark

It prints what another terminal exports for `mlops features` to run here. All that it writes lies in the folder: logs/,
work/ (of the executors), tmp/. Who reaches its ports may run code, as Spark asks nobody who he is unless told to: so
they are on loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec
import pyspark

from mlops.errors import MlopsError, SetupError
from pipelines.java import spark_environment
from pipelines.ports import free_port
from pipelines.process import running

__all__ = ["Cluster", "cluster", "main"]

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
_PATIENCE_S = 120
_DAEMON = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC "  # they start sooner, and have little to do
    "-Dspark.port.maxRetries=0 "  # the port that was asked for, or none
    "-Dspark.master.rest.enabled=false"
)


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """`master` is what jobs are given, `page` what people look at; as JSON at `page`/json/."""

    master: str
    page: str


@contextmanager
def cluster(
    folder: Path, *, workers: int = 2, cores: int = 1, memory: str = "2g", port: int = 0
) -> Iterator[Cluster]:
    """A cluster that runs until the end of the block.

    Args:
        cores, memory: what each worker gives to executors.
        port: of the master; a free one unless given.

    Raises:
        SetupError: there is no Java, a process did not start in time, or a cluster runs in the folder.
    """
    port, page = port or free_port(), free_port()
    made = Cluster(master=f"spark://{HOST}:{port}", page=f"http://{HOST}:{page}")
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        variables = _variables(folder)

        def start(name: str, kind: str, page: int, *options: str) -> None:
            words = [f"org.apache.spark.deploy.{kind}", "--host", HOST, "--webui-port", str(page), *options]
            server = running(
                f"Spark's {name}",
                [str(Path(variables["SPARK_HOME"]) / "bin" / "spark-class"), *words],
                health=f"http://{HOST}:{page}/json/",
                log=folder / "logs" / f"{name}.log",
                patience_s=_PATIENCE_S,
                variables=variables,
            )
            stack.enter_context(server)

        start("master", "master.Master", page, "--port", str(port))
        offer = ("--cores", str(cores), "--memory", memory, "--work-dir", str(folder / "work"))
        for number in range(1, workers + 1):
            start(f"worker-{number}", "worker.Worker", free_port(), *offer, made.master)
        _wait_for_workers(made, workers)
        yield made


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other clusters out of a folder until the block ends: they would write into the same logs."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                "a cluster runs here already", where=folder, todo="end it, or name another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _variables(folder: Path) -> dict[str, str]:
    """The environment of all processes: the project's modules, Java, and the folder for whatever is written."""
    scratch, conf = folder / "tmp", folder / "conf"
    for made in (scratch, conf, folder / "work"):
        made.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **spark_environment(),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_DIRS": str(scratch),
        "TMPDIR": str(scratch),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": _DAEMON,
        # The executors' Java reads it, too; without the second it leaves a file in /tmp.
        "JDK_JAVA_OPTIONS": f'"-Djava.io.tmpdir={scratch}" -XX:-UsePerfData',
    }


def _wait_for_workers(made: Cluster, workers: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if httpx.get(f"{made.page}/json/", timeout=10).json()["aliveworkers"] == workers:
            return
        time.sleep(0.1)
    raise SetupError(f"not all {workers} workers registered within {_PATIENCE_S} s", where=made.master)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until SIGINT or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.spark.cluster", description="A Spark cluster.")
    parser.add_argument("folder", type=Path, help="where it may write")
    parser.add_argument("--workers", type=_number, default=2)
    parser.add_argument("--cores", type=_number, default=1, help="of each worker")
    parser.add_argument("--memory", type=_memory, default="2g", help="of each worker, for its executors")
    parser.add_argument("--port", type=int, default=0, help="of the master; a free one unless given")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cluster(
            options.folder.absolute(),
            workers=options.workers,
            cores=options.cores,
            memory=options.memory,
            port=options.port,
        ) as made:
            print(f"{made.master} is up, see {made.page}; Ctrl-C ends it")
            print(f"It writes in {options.folder.absolute()}. Where mlops features is to run here:\n")
            print(f"    export MLOPS_SPARK_MASTER={made.master}")
            # A job waits for all cores: into how many tasks its first exchange is divided follows from them.
            cores = options.workers * options.cores
            conf = {
                "spark.cores.max": cores,
                "spark.scheduler.minRegisteredResourcesRatio": 1,
                "spark.executor.memory": options.memory,
            }
            print(
                f"    export MLOPS_SPARK_CONF='{';'.join(f'{k}={v}' for k, v in conf.items())}'", flush=True
            )
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 999")
    return int(text)


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[mg]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not such as 512m or 2g")
    return text


if __name__ == "__main__":
    sys.exit(main())
