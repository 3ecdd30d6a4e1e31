"""SageMaker, Vertex AI, Azure ML and KServe by their own SDKs: a real server asked, and the files of infra/ read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.app import ROUTES
from serving.platforms import KEY_TEXT
from tests.serving.example import FEATURES, ROOT, Server, World, payments
from tests.serving.protocols.asking import ROWS
from tests.serving.protocols.environments import CLIENTS, said_by

pytestmark = pytest.mark.system  # the clients are installed

EVENTS = payments(range(7000, 7003))
ASKED = {"rows": ROWS, "events": EVENTS}
ENDPOINT = "/v1/projects/p/locations/europe-west4/endpoints/17:predict"
VERTEX = ROOT / "infra" / "vertex" / "deploy.py"
GIVEN = ("--project", "p", "--location", "europe-west4", "--image", "registry/fraud@sha256:0", "--print")
PATHS = {(route.method, route.path) for route in ROUTES}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    world = World(tmp_path_factory.mktemp("served"))
    world.deploy("1", world.bundle())
    with world.server(env=os.environ | {"AIP_PREDICT_ROUTE": ENDPOINT}) as server:
        yield server


def expected(server: Server) -> tuple[list[float], list[dict[str, Any]]]:
    """The scores of the rows, and the answers to the events, by the service's own routes."""
    scores = server.post("/v1/predict", {"features": ROWS}).body["scores"]
    return scores, server.post("/v1/score", EVENTS).body


def test_sagemaker_s_predictor_reads_what_it_is_answered(python: Path, server: Server) -> None:
    said = said_by(python, CLIENTS / "sagemaker_sdk.py", server.port, send=ASKED)
    scores, answers = expected(server)
    assert [float(line[0]) for line in said["csv"]] == scores
    assert said["json"] == scores
    assert said["csv to json"] == {"predictions": scores}
    assert said["events"] == answers
    lines = [[str(a["event_id"]), a["decision_id"], repr(a["score"]), a["decision"]] for a in answers]
    assert said["events in csv"] == lines


def test_vertex_s_client_reads_what_it_is_answered(python: Path, server: Server) -> None:
    said = said_by(python, CLIENTS / "vertex_ai.py", server.port, send=ASKED)
    scores, answers = expected(server)
    assert said["features"] == scores
    assert said["events"] == answers  # though every number went through a double
    assert said["misfit"] == [422, f"[0]: has 1 features, and the model {len(FEATURES.names)}"]


def test_vertex_s_client_has_every_field_of_what_is_deployed(python: Path) -> None:
    upload, create, deploy = said_by(python, VERTEX, *GIVEN)
    container = upload["model"]["container_spec"]
    assert ("POST", container["predict_route"]) in PATHS
    assert ("GET", container["health_route"]) in PATHS
    assert ("GET", container["health_probe"]["http_get"]["path"]) in PATHS
    assert container["env"] == [{"name": "MLOPS_SERVING_TRUST_NETWORK", "value": "true"}]
    assert create["endpoint"]["display_name"] == "fraud"
    assert deploy["deployed_model"]["dedicated_resources"]["max_replica_count"] == 1


def test_vertex_s_replicas_share_a_store_whose_password_is_not_printed(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_STORE", "rediss://fraud:s3cret@r:6379")
    upload, _, deploy = said_by(python, VERTEX, *GIVEN)
    told = {item["name"]: item["value"] for item in upload["model"]["container_spec"]["env"]}
    assert told["MLOPS_STORE"] == "$MLOPS_STORE"
    assert deploy["deployed_model"]["dedicated_resources"]["max_replica_count"] == 4


def test_azure_s_sdk_reads_its_files_and_the_routes_are_there(python: Path) -> None:
    said = said_by(python, CLIENTS / "azure_ml.py", ROOT / "infra" / "azureml")
    routes = said["environment"]["properties"]["inferenceConfig"]
    assert ("GET", routes["livenessRoute"]["path"]) in PATHS
    assert ("GET", routes["readinessRoute"]["path"]) in PATHS
    assert ("POST", routes["scoringRoute"]["path"]) in PATHS
    assert {route["port"] for route in routes.values()} == {8080}
    deployment = said["deployment"]["properties"]
    assert deployment["requestSettings"]["maxConcurrentRequestsPerInstance"] > 1
    assert said["deployment"]["sku"]["capacity"] == 1
    assert said["endpoint"]["properties"]["authMode"] == "Key"
    assert f"environment_variables.{KEY_TEXT}=" in (ROOT / "infra/azureml/deployment.yml").read_text()


def test_azure_s_sdk_leaves_the_store_s_secret_in_the_key_vault(python: Path) -> None:
    secret = "${{keyvault:https://VAULT.vault.azure.net/secrets/NAME/VERSION}}"
    documented = (ROOT / "docs" / "protocols.md").read_text()
    assert f"environment_variables.MLOPS_STORE='{secret}'" in documented
    name = "environment_variables.MLOPS_STORE"
    said = said_by(python, CLIENTS / "azure_ml.py", ROOT / "infra" / "azureml", name, secret)
    told = said["deployment"]["properties"]["environmentVariables"]
    assert told == {"MLOPS_STORE": secret, "MLOPS_SERVING_TRUST_NETWORK": "true"}


def test_azure_s_sdk_would_have_told_of_a_field_that_it_does_not_know(python: Path, tmp_path: Path) -> None:
    for path in (ROOT / "infra" / "azureml").iterdir():
        text = path.read_text().replace("readiness_probe:", "readyness_probe:")
        (tmp_path / path.name).write_text(text)
    with pytest.raises(AssertionError, match="readyness_probe"):
        said_by(python, CLIENTS / "azure_ml.py", tmp_path)


def test_kserve_s_models_have_every_field_of_its_files(python: Path) -> None:
    files = sorted((ROOT / "infra" / "kserve").glob("*.yaml"))
    assert len(files) == 2
    assert said_by(python, CLIENTS / "kserve_models.py", *files) == []


def test_kserve_s_models_would_have_told_of_what_does_not_fit(python: Path, tmp_path: Path) -> None:
    text = (ROOT / "infra" / "kserve" / "serving-runtime.yaml").read_text()
    for right, wrong in (
        ("protocolVersions:", "protocols:"),
        ("containerPort", "port"),
        ("10001", "'10001'"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "runtime.yaml").write_text(text)
    said = "\n".join(said_by(python, CLIENTS / "kserve_models.py", tmp_path / "runtime.yaml"))
    for field in ("spec.protocols: is unknown", "ports[0].port: is unknown", "runAsUser"):
        assert field in said
