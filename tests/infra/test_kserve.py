"""infra/kserve: what the SDK's models cannot say (tests/serving/protocols/test_platform_clients.py asks those)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from serving.options import options_of
from serving.supervisor import _MARGIN_S

KSERVE = Path(__file__).resolve().parents[2] / "infra" / "kserve"


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((KSERVE / name).read_text())
    return loaded


RUNTIME, SERVICE = _load("serving-runtime.yaml"), _load("inference-service.yaml")


def test_the_runtime_s_containers_and_volumes_are_a_pod_that_kubernetes_takes() -> None:
    """The CRD repeats Kubernetes' own schema there, with its bounds and patterns."""
    spec = {"containers": RUNTIME["spec"]["containers"], "volumes": RUNTIME["spec"]["volumes"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.34", strict=True)


def test_what_kserve_s_types_bound_is_within_the_bounds() -> None:
    """By the markers and checks in KServe's pkg/apis/serving/v1beta1/component.go, which its models do not have."""
    predictor = SERVICE["spec"]["predictor"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", SERVICE["metadata"]["name"])
    assert predictor["scaleMetric"] in {"cpu", "memory", "concurrency", "rps"}
    assert 0 < predictor["minReplicas"] <= predictor["maxReplicas"]
    assert predictor["model"]["storageUri"].startswith("s3://")


def test_what_the_files_leave_to_who_applies_them_is_made_or_replaced_by_the_documented_commands() -> None:
    page = (KSERVE.parents[1] / "docs" / "protocols.md").read_text().partition("**KServe**")[2]
    texts = "".join(
        (KSERVE / name).read_text() for name in ("serving-runtime.yaml", "inference-service.yaml")
    )
    replaced = re.findall(r"s\|([^|]+)\|", page)
    assert {"registry.example.com/mlops-serving:1", "BUCKET/fraud/VERSION"} == set(replaced)
    assert all(texts.count(text) == 1 for text in replaced)
    volumes = RUNTIME["spec"]["volumes"][0]["projected"]["sources"]
    named = [source[kind]["name"] for source in volumes for kind in source]
    store = [
        e["valueFrom"]["secretKeyRef"]["name"]
        for e in RUNTIME["spec"]["containers"][0]["env"]
        if "valueFrom" in e
    ]
    for name in (*named, *store, SERVICE["spec"]["predictor"]["serviceAccountName"]):
        assert re.search(rf"create (configmap|secret generic|serviceaccount) {name}\b", page), name


def test_the_service_asks_for_what_the_runtime_offers() -> None:
    model, runtime = SERVICE["spec"]["predictor"]["model"], RUNTIME["spec"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"].items() <= runtime["supportedModelFormats"][0].items()
    assert model["protocolVersion"] in runtime["protocolVersions"]
    (container,) = runtime["containers"]
    assert container["name"] == "kserve-container"  # by this name KServe finds the one to give the model to


def test_a_pod_that_ends_has_time_to_drain_and_no_gateway_is_hung_up_on() -> None:
    predictor = SERVICE["spec"]["predictor"]
    told = RUNTIME["spec"]["containers"][0]["env"] + predictor["model"]["env"]
    image = {"STORE": "redis://redis:6379/0"} | {
        f"SERVING_{name}": f"/{name}" for name in ("DECISIONS", "PUBLIC_KEY", "KEYS")
    }
    env = {f"MLOPS_{name}": value for name, value in image.items()}
    options = options_of([], env | {e["name"]: e["value"] for e in told if "value" in e})
    ending = options.drain_seconds + options.grace_seconds + _MARGIN_S
    assert options.drain_seconds >= 10 and predictor["terminationGracePeriodSeconds"] > ending
    assert options.idle_seconds > 3600  # as long as Envoy keeps a connection that says nothing
