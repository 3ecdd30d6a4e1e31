"""The feature job as a SparkApplication of Kubeflow's Spark operator (v1beta2), from the platform's settings.

    .venv/bin/python -m infra.spark.application --image registry/mlops-spark@sha256:… --executors 8 \
        --name features-$(date -u +%F) | kubectl apply -f -

It is `mlops features --full`, as it is anywhere: the driver reads the settings, the executors see the home. What comes
in afterwards needs no executors: the daily `mlops features` computes that in its own process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyspark

from infra.manifests import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    JobName,
    claim,
    main,
    scratch,
    traffic,
    variables,
)
from mlops.settings import Settings

__all__ = ["TARGET", "Options", "rendered"]

MODULE = "infra.spark.application"
TARGET = Path(__file__).with_name("spark-application.yaml")
LABELS = {"app.kubernetes.io/name": "mlops-features"}
_MASTER = "k8s://https://kubernetes.default.svc"  # as the driver's pod reaches it
_PORTS = (443, 6443, 8333)  # Kubernetes's API; object storage

Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Memory = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*[mg]$", description="such as 512m or 2g")]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings do not say.

    Fields:
        name: the SparkApplication's, another for each run: one that has ended is not run again by applying it.
        image: made by infra/spark/Dockerfile; with a digest in production.
        namespace: of the job, with the pipelines' volumes and secrets.
        service_account: of the driver, which makes the executors' pods.
        executors: how many.
        cores: how many tasks an executor runs at once.
        memory: of an executor's Java.
        python_memory: of an executor's Python processes, one a core.
    """

    name: JobName = "features"
    image: str = "mlops-spark:local"
    namespace: str = "mlops"
    service_account: str = "spark-operator-spark"
    executors: Count = 2
    cores: Count = 2
    memory: Memory = "2g"
    python_memory: Memory = "4g"


def rendered(settings: Settings, options: Options) -> list[dict[str, Any]]:
    """The SparkApplication, and what its pods may talk to.

    Args:
        settings: those of the job, with paths as its pods see them; Spark's master is this cluster.
    """
    settings = msgspec.structs.replace(settings, spark_master=_MASTER, signing_key="")
    volumes, mounts = zip(claim("home", str(settings.home)), scratch(), strict=True)
    pod: dict[str, Any] = {
        "labels": LABELS,
        "podSecurityContext": POD_SECURITY,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": list(mounts),
    }
    spec: dict[str, Any] = {
        "type": "Python",
        "pythonVersion": "3",
        "mode": "cluster",
        "sparkVersion": pyspark.__version__,
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "mainApplicationFile": "local:///opt/mlops/bin/mlops.py",
        "arguments": ["features", "--full"],
        "restartPolicy": {  # to run it again changes nothing
            "type": "OnFailure",
            "onFailureRetries": 2,
            "onFailureRetryInterval": 60,
            "onSubmissionFailureRetries": 2,
            "onSubmissionFailureRetryInterval": 20,
        },
        "timeToLiveSeconds": 604_800,
        # The first exchange is divided by how many cores there are then.
        "sparkConf": {"spark.scheduler.minRegisteredResourcesRatio": "1.0"},
        "volumes": list(volumes),
        "driver": {
            "cores": 1,
            "memory": settings.spark_memory,
            "serviceAccount": options.service_account,
            "env": variables(settings),
            "envFrom": [{"secretRef": {"name": "object-storage", "optional": True}}],
            **pod,
        },
        "executor": {
            "instances": options.executors,
            "cores": options.cores,
            "memory": options.memory,
            "memoryOverhead": options.python_memory,
            **pod,
        },
    }
    application = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": options.name or "features", "namespace": options.namespace, "labels": LABELS},
        "spec": spec,
    }
    return [application, traffic("features", options.namespace, LABELS, _PORTS)]


if __name__ == "__main__":
    main(MODULE, TARGET, Options, rendered, None)
