"""One candidate's training as a TrainJob of Kubeflow Trainer (v1alpha1, its runtime for torch), from the settings.

    .venv/bin/python -m infra.trainer.train_job --image registry/mlops-pipeline@sha256:… --nodes 4

It is `torchrun -m training`, as it is anywhere (docs/deep-models.md): the trainer tells torchrun of the other nodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from infra.manifests import (
    CONTAINER_SECURITY,
    KEYS,
    POD_SECURITY,
    claim,
    main,
    scratch,
    traffic,
    variables,
)
from mlops.contract import Effort
from mlops.settings import Settings

__all__ = ["TARGET", "Options", "rendered"]

MODULE = "infra.trainer.train_job"
TARGET = Path(__file__).with_name("train-job.yaml")
LABELS = {"app.kubernetes.io/name": "mlops-training"}
_PORTS = (5432,)  # MLflow's database

Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Quantity = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(m|Mi|Gi)?$")]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings do not say.

    Fields:
        image: the pipelines' image, or one whose PyTorch knows the accelerator; with a digest in production.
        nodes, processes: how many, and how many processes of torchrun on each.
        cpu, memory: of a node.
        accelerator: its resource, such as nvidia.com/gpu, one for each process; empty: CPUs.
    """

    image: str = "mlops-pipeline:local"
    namespace: str = "mlops"
    candidate: str = "mlp-torch"
    first_day: Annotated[str, msgspec.Meta(pattern=r"^(\d{4}-\d\d-\d\d)?$")] = "2018-07-25"
    effort: Effort = "quick"
    nodes: Count = 2
    processes: Count = 1
    cpu: Quantity = "2"
    memory: Quantity = "8Gi"
    accelerator: str = ""


def rendered(settings: Settings, options: Options) -> list[dict[str, Any]]:
    """The TrainJob, and what its pods may talk to.

    Args:
        settings: those of the job, with paths as its pods see them.
    """
    settings = msgspec.structs.replace(settings, signing_key=KEYS)
    keys: dict[str, Any] = {"name": "keys", "secret": {"secretName": "signing-keys", "defaultMode": 0o440}}
    keys_mount: dict[str, Any] = {"name": "keys", "mountPath": KEYS, "readOnly": True}
    volumes, mounts = zip(claim("home", str(settings.home)), (keys, keys_mount), scratch(), strict=True)
    words = ["-m", "training", "--candidate", options.candidate, "--effort", options.effort]
    if options.first_day:
        words += ["--first-day", options.first_day]
    accelerators = {options.accelerator: str(options.processes)} if options.accelerator else {}
    limits = {"memory": options.memory, **accelerators}
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": options.candidate, "namespace": options.namespace, "labels": LABELS},
        "spec": {
            "activeDeadlineSeconds": 14_400,
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": "torch-distributed",
            },
            "trainer": {
                "image": options.image,
                "command": ["torchrun"],
                "args": words,
                "numNodes": options.nodes,
                "numProcPerNode": options.processes,
                "resourcesPerNode": {"requests": {"cpu": options.cpu, **limits}, "limits": limits},
                "env": [
                    *variables(settings),
                    _of_secret("MLOPS_TRACKING_URI", "uri"),
                    _of_secret("PGPASSWORD", "password"),
                    {"name": "OMP_NUM_THREADS", "value": "1"},
                ],
            },
            "runtimePatches": [_patch(list(volumes), list(mounts))],
        },
    }
    return [job, traffic("training", options.namespace, LABELS, _PORTS)]


def _of_secret(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "mlflow-database", "key": key}}}


def _patch(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runtime knows nothing of: the home, the keys, and who may do what in the pods."""
    container = {"name": "node", "securityContext": CONTAINER_SECURITY, "volumeMounts": mounts}
    pod = {
        "metadata": {"labels": LABELS},
        "spec": {"securityContext": POD_SECURITY, "volumes": volumes, "containers": [container]},
    }
    node = {"name": "node", "template": {"spec": {"template": pod}}}
    return {
        "manager": "mlops/manifests",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}},
    }


if __name__ == "__main__":
    main(MODULE, TARGET, Options, rendered, None)
