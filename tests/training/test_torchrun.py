"""Two processes under torchrun, over Gloo on loopback, fit what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlops.bundle import open_bundle
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY
from tests.training import example, together
from training import tracking
from training.__main__ import main

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


def test_one_process_writes_the_bundle_and_the_others_only_help(settings: Settings, features: Path) -> None:
    ended = torchrun(
        "training",
        f"--home={settings.home}",
        f"--usecase={settings.usecase}",
        "--candidate=torch",
        f"--features={features}",
        f"--first-day={example.FIRST_DAY}",
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    result = json.loads(line)
    bundle = open_bundle(Path(result["bundle"]), public_key=settings.keys / PUBLIC_KEY)
    assert bundle.digest == result["digest"]
    assert len(tracking.client(settings).search_runs(["1"])) == 1


def test_bad_input_ends_with_a_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--home={settings.home}", f"--usecase={settings.usecase}", "--candidate=forest"]
    assert main(options) == 2
    assert "choose one of trees, torch, keras" in capsys.readouterr().err
