"""The record of runs can be begun by several processes at once, and tells how a run ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mlops.errors import ConfigError
from mlops.settings import Settings
from training import tracking


def test_two_processes_may_begin_on_one_fresh_database(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops.settings import Settings; "
        "from training import tracking\n"
        f"settings = Settings(home=Path({str(tmp_path)!r}))\n"
        "with tracking.tracked_run(settings, 'fraud', sys.argv[1], {}): pass\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    settings = Settings(home=tmp_path)
    experiment = tracking.prepare_tracking(settings, "fraud")
    runs = tracking.client(settings).search_runs([experiment])
    assert {run.info.run_name for run in runs} == {"one", "two"}


def test_artefacts_lie_in_the_home(settings: Settings) -> None:
    experiment = tracking.prepare_tracking(settings, "fraud")
    assert experiment == tracking.prepare_tracking(settings, "fraud")
    held = tracking.client(settings).get_experiment(experiment)
    assert held.artifact_location == settings.artifacts.as_uri()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nope://x", "unsupported URI"),
        ("mlruns", "database backend"),
        ("mssql+pymssql://127.0.0.1/mlflow", "No module named"),
    ],
)
def test_a_store_that_mlflow_cannot_use_is_told_in_one_line(settings: Settings, uri: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^MLOPS_TRACKING_URI: MLflow cannot use it: .*{said}"):
        tracking.client(msgspec.structs.replace(settings, tracking_uri=uri))


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_says_how_it_ended(settings: Settings, error: type[BaseException] | None, status: str) -> None:
    try:
        with tracking.tracked_run(settings, "fraud", "a run", {}) as run:
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert tracking.client(settings).get_run(run.info.run_id).info.status == status


def test_the_next_run_ends_the_one_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from mlops.settings import Settings; "
        "from training import tracking\n"
        f"settings = Settings(home=Path({str(tmp_path)!r}))\n"
        "with tracking.tracked_run(settings, 'fraud', 'a run', {}) as run:\n"
        "    tags = {'mlflow.parentRunId': run.info.run_id}\n"
        "    tracking.client(settings).create_run(run.info.experiment_id, run_name='a trial', tags=tags)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert died.returncode == -9
    settings = Settings(home=tmp_path)
    experiment = tracking.prepare_tracking(settings, "fraud")

    def ended() -> dict[str, list[str]]:
        runs = tracking.client(settings).search_runs([experiment], order_by=["attributes.start_time"])
        names = {run.info.run_name for run in runs}
        return {name: [run.info.status for run in runs if run.info.run_name == name] for name in names}

    assert ended() == {"a run": ["RUNNING"], "a trial": ["RUNNING"]}
    with tracking.tracked_run(settings, "fraud", "another run", {}):
        assert ended()["a run"] == ["RUNNING"]  # it may be another process's
    with tracking.tracked_run(settings, "fraud", "a run", {}):
        pass
    assert ended() == {"a run": ["KILLED", "FINISHED"], "a trial": ["KILLED"], "another run": ["FINISHED"]}


def test_telemetry_is_off() -> None:
    from mlflow.telemetry.client import get_telemetry_client
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert get_telemetry_client() is None
