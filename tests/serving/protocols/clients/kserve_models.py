"""Hold manifests against the models of KServe's SDK, which are generated from the types that its CRDs are.

Args: YAML files. Printed is a list of what does not fit: an unknown field, one of another type, one that is missing.
"""

import json
import re
import sys
from pathlib import Path

import kserve.models
import kubernetes.client.models
import yaml

PRIMITIVES = {"str": str, "bool": bool, "int": int, "float": (int, float), "object": object}
KINDS = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}


def faults(value, type_, at):
    if type_ in PRIMITIVES:
        fits = isinstance(value, PRIMITIVES[type_]) and (type_ == "bool" or not isinstance(value, bool))
        return [] if fits else [f"{at}: {value!r} is not a {type_}"]
    if parts := re.fullmatch(r"[lL]ist\[(.+)\]", type_):
        if not isinstance(value, list):
            return [f"{at}: not a list"]
        return [fault for n, item in enumerate(value) for fault in faults(item, parts[1], f"{at}[{n}]")]
    if parts := re.fullmatch(r"[dD]ict[\[(]str, ?(.+)[\])]", type_):
        return [fault for name, item in value.items() for fault in faults(item, parts[1], f"{at}.{name}")]
    model = getattr(kserve.models, type_, None) or getattr(kubernetes.client.models, type_, None)
    if model is None:  # of Kubernetes' own types that are written as text, such as a quantity
        return [] if isinstance(value, str | int) else [f"{at}: no {type_} is known"]
    if not isinstance(value, dict):
        return [f"{at}: not an object"]
    names = {written: name for name, written in model.attribute_map.items()}
    found = [f"{at}.{name}: is unknown" for name in value.keys() - names.keys()]
    known = {names[name]: item for name, item in value.items() if name in names}
    try:
        model(**known)
    except ValueError as error:
        found.append(f"{at}: {error}")
    for name, item in known.items():
        found += faults(item, model.openapi_types[name], f"{at}.{model.attribute_map[name]}")
    return found


said = []
for path in map(Path, sys.argv[1:]):
    for manifest in yaml.safe_load_all(path.read_text()):
        said += faults(manifest, KINDS[manifest["kind"]], manifest["kind"])
print(json.dumps(said))
