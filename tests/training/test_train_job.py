"""The TrainJob's command in two nodes, as Kubeflow Trainer tells torchrun of them: here two processes on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.trainer.train_job import Options, rendered
from mlops.bundle import open_bundle
from mlops.settings import Settings
from mlops.signing import PUBLIC_KEY, ensure_keys
from pipelines.ports import free_port
from tests.training import example
from training import registry

pytestmark = pytest.mark.system


def test_two_nodes_train_one_candidate(settings: Settings, features: Path) -> None:
    example.write_home(settings, features)
    job, _ = rendered(settings, Options(candidate="torch", train_from=example.FIRST_DAY, nodes=2))
    trainer = job["spec"]["trainer"]
    command = [Path(sys.executable).with_name(trainer["command"][0]), *trainer["args"]]
    plain = {variable["name"]: variable["value"] for variable in trainer["env"] if "value" in variable}
    ensure_keys(settings.keys)
    plain["MLOPS_SIGNING_KEY"] = str(settings.keys)  # where the secret would be mounted
    of_trainer = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    nodes = [
        subprocess.Popen(
            command,
            env=os.environ | plain | of_trainer | {"PET_NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(trainer["numNodes"])
    ]
    try:
        said = [node.communicate(timeout=200) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], said
    standing = registry.status(settings)
    assert sum(len(versions) for versions in standing.stages.values()) == 1  # by one of the two
    assert standing.challenger is not None
    entered = registry.bundle_of(settings, standing.challenger)
    assert open_bundle(entered.path, public_key=settings.keys / PUBLIC_KEY).digest == entered.digest
