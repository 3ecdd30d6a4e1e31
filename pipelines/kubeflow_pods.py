"""How the tasks run on Kubernetes: image, resources, volumes, secrets, retries. Kubeflow's local runner ignores it.

Names and paths are those of the cron jobs (k8s/components/pipelines): the pipeline works on the same home.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from kfp import kubernetes

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.kubeflow_components import IMAGE
from pipelines.kubeflow_steps import RETRIES

__all__ = ["CONFIG_KEYS", "OPTIONAL_KEYS", "PODS", "Options", "Pod", "on_accelerator", "placed"]

USER = 10001  # the image's
_BY_DIGEST = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")
DEADLINE_S = 14_400
HOME, KEYS, SCRATCH = "/mlops/home", "/mlops/keys", "/tmp"

CONFIG_KEYS = (
    "MLOPS_HOME",
    "MLOPS_USECASE",
    "MLOPS_SIGNING_KEY",
    "MLOPS_USER",
    "MLOPS_SPARK_MASTER",
    "MLOPS_SPARK_MEMORY",
    "HOME",
)
_FROM_SECRETS = {"MLOPS_STORE", "MLOPS_TRACKING_URI"}
OPTIONAL_KEYS = tuple(
    name
    for field in Settings.__struct_fields__
    if (name := f"MLOPS_{field.upper()}") not in {*CONFIG_KEYS, *_FROM_SECRETS}
)
_IN_LOOPS = ("train", "judge")  # whose retries a cluster may drop (kubeflow/pipelines#12389, #13897)
_SECRETS = {
    "online-store": {"uri": "MLOPS_STORE"},
    "mlflow-database": {"uri": "MLOPS_TRACKING_URI", "password": "PGPASSWORD"},
    "object-storage": {
        name: name
        for name in (
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_ENDPOINT_URL",
            "MLOPS_EVENTS_URI",
            "MLOPS_QUARANTINE_URI",
            "MLOPS_FEATURES_URI",
        )
    },
}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is decided when the pipeline is compiled.

    Fields:
        image: of every task; with a digest, so that the cache knows one version of the code from another.
        config_map: the settings, `pipelines.env`, under the name that Kustomize gave it.
        retries, backoff_s: how often a task is tried again, and after how many seconds first; then twice as many.
        parallel: how many candidates are trained at once.
        accelerated: candidates that get an `accelerator` on nodes with the labels of `node_selector`, and
            `accelerated_image`, which holds a framework built for it.
    """

    image: str = IMAGE
    config_map: str = "pipelines"
    retries: int = 2
    backoff_s: int = 30
    parallel: int = 2
    accelerated: tuple[str, ...] = ()
    accelerator: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    accelerated_image: str = ""

    def __post_init__(self) -> None:
        if self.accelerated and not self.accelerated_image:
            raise ConfigError(
                "the pipeline's image trains on the CPU",
                where=f"candidate {self.accelerated[0]}",
                todo="name an image whose framework knows the accelerator",
            )
        for option, image in (("--image", self.image), ("--accelerated-image", self.accelerated_image)):
            if "@" in image and not _BY_DIGEST.fullmatch(image):
                raise ConfigError(
                    f"{image} is no image by digest",
                    where=option,
                    todo="write name@sha256: and 64 digits, 0-9a-f",
                )


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """What a task needs. `signs` gets the key pair; the others verify by the public key alone.

    The memory that may be used is asked for, as in the cron jobs: what the node has given to others is had back by
    killing the pod.
    """

    cpu: str = "500m"
    memory: str = "2Gi"
    secrets: tuple[str, ...] = ()
    logs: bool = False
    signs: bool = False


PODS = {
    "ingest": Pod(cpu="2", memory="12Gi", secrets=("object-storage",)),
    "features": Pod(cpu="2", memory="12Gi", secrets=("object-storage",)),
    "plan": Pod(secrets=("object-storage", "mlflow-database")),  # where a run is recorded is in its key
    "train": Pod(cpu="1", memory="8Gi", secrets=("object-storage", "mlflow-database"), signs=True),
    "judge": Pod(memory="8Gi", secrets=("object-storage",)),
    "register": Pod(secrets=("mlflow-database",)),
    "fill-store": Pod(memory="8Gi", secrets=("object-storage", "mlflow-database", "online-store")),
    "promote": Pod(secrets=("mlflow-database",)),
    "monitor": Pod(memory="8Gi", secrets=("object-storage", "mlflow-database"), logs=True),
    "conclude": Pod(),
}

# As in the workers of the command line: figures do not depend on how many cores a node has.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def placed(task: Any, options: Options) -> Any:
    """A task with its pod. Without a limit of the CPU: a step may use what the node has to spare."""
    pod = PODS[task.component_spec.name]
    task.set_container_image(options.image)
    task.set_cpu_request(pod.cpu).set_memory_request(pod.memory).set_memory_limit(pod.memory)
    task.set_caching_options(False)
    if options.retries:
        task.set_retry(options.retries, f"{options.backoff_s}s", 2.0, f"{20 * options.backoff_s}s")
    if options.retries and task.component_spec.name in _IN_LOOPS:
        task.set_env_variable(RETRIES, f"{options.retries} {options.backoff_s}")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_timeout(task, DEADLINE_S)
    kubernetes.add_pod_annotation(task, "cluster-autoscaler.kubernetes.io/safe-to-evict", "false")
    kubernetes.add_pod_label(task, "app.kubernetes.io/name", "mlops-pipelines")
    for keys, optional in ((CONFIG_KEYS, False), (OPTIONAL_KEYS, True)):
        names = {key: key for key in keys}
        kubernetes.use_config_map_as_env(task, options.config_map, names, optional=optional)
    for secret in pod.secrets:
        kubernetes.use_secret_as_env(task, secret, _SECRETS[secret], optional=secret == "object-storage")
    kubernetes.mount_pvc(task, "home", HOME)
    kubernetes.mount_pvc(task, "deployments", f"{HOME}/deployments")
    if pod.logs:
        kubernetes.mount_pvc(task, "decisions", f"{HOME}/decisions")
    if pod.signs:
        kubernetes.use_secret_as_volume(task, "signing-keys", KEYS)
        for name in _ONE_THREAD:
            task.set_env_variable(name, "1")
    else:
        kubernetes.use_config_map_as_volume(task, "verify-key", KEYS)
    kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit="20Gi")
    return task


def on_accelerator(task: Any, options: Options) -> Any:
    """A training task on nodes that have an accelerator, which only pods that ask for one may use."""
    task.set_container_image(options.accelerated_image)
    task.set_accelerator_type(options.accelerator).set_accelerator_limit(1)
    for label, value in options.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    kubernetes.add_toleration(task, key=options.accelerator, operator="Exists", effect="NoSchedule")
    return task
