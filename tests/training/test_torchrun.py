"""Two processes under torchrun, over Gloo on loopback, fit what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mlops.bundle import open_bundle
from mlops.errors import InputError
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from mlops.tables import read_event_table, write_table_meta
from pipelines.ports import free_port
from pipelines.torchrun import train_together
from tests.training import example, together
from training import registry, tracking
from training.trainers import torch_team

TOLERANCE = 1e-5  # of a score: gradients are summed in another order


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
    }
    return subprocess.run(
        [*command, "-m", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=200
    )


def test_two_processes_agree_with_one_within_a_tolerance(tmp_path: Path) -> None:
    ended = torchrun("tests.training.together", tmp_path / "scores.npy")
    assert ended.returncode == 0, ended.stderr
    first, second = np.load(tmp_path / "scores.npy")
    alone = together.scores()
    assert (first == second).all()
    assert np.ptp(alone) > 0.5
    assert np.abs(first - alone).max() <= TOLERANCE


def test_processes_that_would_share_a_gpu_compute_on_cpus_and_say_so(tmp_path: Path) -> None:
    ended = torchrun("tests.training.together", tmp_path / "scores.npy", "one-gpu")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("2 processes have 1 GPUs, so all compute on CPUs") == 1
    assert np.abs(np.load(tmp_path / "scores.npy") - together.scores()).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("gpus", "each"),
    [
        (["a", "b"], True),
        (["a", "a"], False),
        (["a", "b", "a"], False),
        (["a", ""], False),
        (["", ""], False),
    ],
)
def test_gpus_are_used_if_each_process_has_its_own(gpus: list[str], each: bool) -> None:
    assert torch_team.a_gpu_each(gpus) is each


def test_one_process_does_all_and_the_others_only_help(settings: Settings, features: Path) -> None:
    example.write_home(settings, features)
    ended = torchrun(
        "pipelines",
        f"--home={settings.home}",
        f"--usecase={settings.usecase}",
        "train",
        "--candidate=torch",
        f"--train-from={example.FIRST_DAY}",
        "--json",
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    (result,) = json.loads(line)["candidates"]
    bundle = open_bundle(Path(result["bundle"]), public_key=settings.keys / PUBLIC_KEY)
    assert bundle.digest == result["digest"]
    assert len(tracking.client(settings).search_runs(["1"])) == 1
    assert (
        registry.bundle_of(settings, registry.status(settings).challenger or "none").digest == bundle.digest
    )


def test_features_of_other_events_are_not_trained_on(
    settings: Settings, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example.write_home(settings, features)
    events = read_event_table(settings.events)
    write_table_meta(settings.events, msgspec.structs.replace(events, fingerprint="of others"))
    leader = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in leader.items():
        monkeypatch.setenv(name, value)
    first_day = date.fromisoformat(example.FIRST_DAY)
    with pytest.raises(InputError, match="were computed from other events; run mlops features"):
        train_together(settings, first_day, seed=0, effort="quick", only=("torch",))
    assert not settings.bundles.exists()
