"""Says what Databricks' typed resources make of a bundle's, where the package `databricks-bundles` is installed."""

from __future__ import annotations

import copy
import json
import sys

from databricks.bundles.cluster_policies import ClusterPolicy
from databricks.bundles.jobs import Job
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from databricks.bundles.volumes import Volume

TYPES = {
    "jobs": Job,
    "schemas": Schema,
    "volumes": Volume,
    "registered_models": RegisteredModel,
    "cluster_policies": ClusterPolicy,
}

wrong = []
for kind, made in json.load(sys.stdin).items():
    for name, resource in made.items():
        try:
            same = TYPES[kind].from_dict(copy.deepcopy(resource)).as_dict() == resource
        except (KeyError, TypeError, ValueError) as error:
            wrong.append(f"{kind}.{name}: {error}")
        else:
            wrong += [] if same else [f"{kind}.{name} comes back as another"]
print(json.dumps(wrong))
