"""Ctrl-C ends everything that the demo started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.demo import demo_command
from tests.e2e.trees_alone import TREES_ALONE
from tests.signals import hear_ctrl_c

pytestmark = pytest.mark.system


# The last of them has trained by then; with what takes nothing but time.
@pytest.mark.parametrize(
    ("stage", "env"),
    [("simulate", {}), ("features", {}), ("backfill", TREES_ALONE)],
    ids=["simulate", "features", "backfill"],
)
def test_ctrl_c_stops_servers_spark_and_workers_and_exits_with_130(
    tmp_path: Path, stage: str, env: dict[str, str]
) -> None:
    with subprocess.Popen(
        demo_command(tmp_path / "demo", knobs={"customers": 400}),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | env,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("done") and line.strip().endswith(stage):
                break
        time.sleep(1.0)  # into the step after
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that it started
        rest = process.stderr.read()
        assert process.wait(timeout=120) == 130, rest[-2000:]
    assert rest.strip().endswith("mlops: interrupted")
    assert "Traceback" not in rest
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert not list((tmp_path / "demo" / "bundles").glob("**/manifest.json")) or stage == "backfill"
