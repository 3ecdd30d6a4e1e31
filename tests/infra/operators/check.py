"""Reads custom resources, a JSON list on standard input, by their projects' models; prints what is wrong, as a list.

The models refuse what is missing or of another type, and drop what they do not know: which is wrong, too.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from kubeflow_spark_api import models as spark
from kubeflow_trainer_api import models as trainer
from pydantic import ValidationError

MODELS: dict[tuple[str, str], Any] = {
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): spark.SparkV1beta2SparkApplication,
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): trainer.TrainerV1alpha1TrainJob,
}


def lost(given: Any, known: Any, path: str) -> list[str]:
    """The paths of what is given and not known."""
    if isinstance(given, dict) and isinstance(known, dict):
        return [
            found
            for name, value in given.items()
            for found in (
                lost(value, known[name], f"{path}.{name}") if name in known else [f"{path}.{name}: unknown"]
            )
        ]
    if isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        pairs = enumerate(zip(given, known, strict=True))
        return [found for place, (g, k) in pairs for found in lost(g, k, f"{path}[{place}]")]
    return [] if given == known else [f"{path}: {given!r} became {known!r}"]


findings: list[str] = []
for resource in json.load(sys.stdin):
    kind = resource["kind"]
    try:
        read = MODELS[resource["apiVersion"], kind].from_dict(resource).to_dict()
    except ValidationError as error:
        findings += [f"{kind}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    else:
        findings += lost(resource, read, kind)
print(json.dumps(findings))
