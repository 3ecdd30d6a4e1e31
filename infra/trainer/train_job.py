"""One candidate's training as a TrainJob of Kubeflow Trainer (v1alpha1, its runtime for torch), from the settings.

    .venv/bin/python -m infra.trainer.train_job --image registry/mlops-pipeline@sha256:… --nodes 4 \
        --name mlp-torch-$(date -u +%F) | kubectl apply -f -

It is `mlops train` under torchrun, as anywhere (docs/deep-models.md): the trainer tells torchrun of the other nodes.
So the candidate is judged and registered, too, as by the cron job `train`.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from infra.manifests import (
    CONTAINER_SECURITY,
    JOB_NAME,
    KEYS,
    POD_SECURITY,
    JobName,
    claim,
    main,
    scratch,
    traffic,
    variables,
)
from mlops.contract import Effort, load_use_case
from mlops.errors import InputError
from mlops.settings import Settings

__all__ = ["TARGET", "Options", "rendered"]

MODULE = "infra.trainer.train_job"
TARGET = Path(__file__).with_name("train-job.yaml")
LABELS = {"app.kubernetes.io/name": "mlops-training"}
_PORTS = (5432, 443, 8333)  # MLflow's database; object storage
# Of the cron jobs' Secret, which a container takes as a whole and a TrainJob only by the key.
_OF_STORAGE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "MLOPS_EVENTS_URI",
    "MLOPS_FEATURES_URI",
)

Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Quantity = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(m|Mi|Gi)?$", description="such as 500m, 2 or 8Gi")]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings do not say.

    Fields:
        name: the TrainJob's, another for each training, as a TrainJob cannot be changed; the candidate's if empty.
        image: the pipelines' image, or one whose PyTorch knows the accelerator; with a digest in production.
        namespace: of the job, with the pipelines' volumes and secrets.
        candidate: which one is trained, a network of PyTorch's.
        train_from: the first day of training; empty for the latest that leaves room for the test.
        effort: how long is searched.
        nodes: how many.
        processes: how many of torchrun's on each node.
        cpu: of a node.
        memory: of a node.
        accelerator: its resource, such as nvidia.com/gpu, one for each process; empty: CPUs.
    """

    name: JobName = ""
    image: str = "mlops-pipeline:local"
    namespace: str = "mlops"
    candidate: str = "mlp-torch"
    train_from: str = ""
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

    Raises:
        ConfigError: the use case has no such candidate.
        InputError: the first day is none, or the candidate's name is no TrainJob's.
    """
    load_use_case(settings.usecase).candidate(options.candidate)
    if options.train_from:
        _check_day(options.train_from)
    settings = msgspec.structs.replace(settings, signing_key=KEYS)
    keys: dict[str, Any] = {"name": "keys", "secret": {"secretName": "signing-keys", "defaultMode": 0o440}}
    keys_mount: dict[str, Any] = {"name": "keys", "mountPath": KEYS, "readOnly": True}
    volumes, mounts = zip(
        claim("home", str(settings.home)),
        claim(
            "deployments", f"{settings.home}/deployments"
        ),  # with the champion, whom the gate compares with
        (keys, keys_mount),
        scratch(),
        strict=True,
    )
    words = ["-m", "pipelines", "train", "--candidate", options.candidate, "--effort", options.effort]
    if options.train_from:
        words += ["--train-from", options.train_from]
    accelerators = {options.accelerator: str(options.processes)} if options.accelerator else {}
    limits = {"memory": options.memory, **accelerators}
    told = variables(settings)
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": _named(options), "namespace": options.namespace, "labels": LABELS},
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
                    *told,
                    _of_secret("MLOPS_TRACKING_URI", "mlflow-database", "uri"),
                    _of_secret("PGPASSWORD", "mlflow-database", "password"),
                    *(
                        _of_secret(name, "object-storage", name, optional=True)
                        for name in _OF_STORAGE
                        if name not in {variable["name"] for variable in told}
                    ),
                    {"name": "OMP_NUM_THREADS", "value": "1"},
                ],
            },
            "runtimePatches": [_patch(list(volumes), list(mounts))],
        },
    }
    return [job, traffic("training", options.namespace, LABELS, _PORTS)]


def _named(options: Options) -> str:
    name = options.name or options.candidate
    if not re.fullmatch(JOB_NAME, name):
        raise InputError(
            f"{name!r} is no name of a TrainJob", where="--candidate", todo="give one with --name"
        )
    return name


def _check_day(text: str) -> None:
    try:
        datetime.strptime(text, "%Y-%m-%d")
    except ValueError as error:
        raise InputError(
            f"{text!r} is no day", where="--train-from", todo="write it as 2026-01-31"
        ) from error


def _of_secret(name: str, secret: str, key: str, **more: bool) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **more}}}


def _patch(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the runtime knows nothing of: the home, the keys, and who may do what in the pods."""
    container = {"name": "node", "securityContext": CONTAINER_SECURITY, "volumeMounts": mounts}
    pod = {
        "metadata": {"labels": LABELS},
        "spec": {
            "serviceAccountName": "pipelines",
            "securityContext": POD_SECURITY,
            "volumes": volumes,
            "containers": [container],
        },
    }
    node = {"name": "node", "template": {"spec": {"template": pod}}}
    return {
        "manager": "mlops/manifests",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}},
    }


if __name__ == "__main__":
    main(MODULE, TARGET, Options, rendered, None)
