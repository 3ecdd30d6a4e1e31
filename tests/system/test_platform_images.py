"""The serving image as managed platforms start it: by their variables, with their folders, and no key of ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.models.containers import Container
from docker.models.images import Image

from mlops.signing import PUBLIC_KEY
from serving.platforms import KEY_TEXT
from tests.serving.example import FEATURES, ROOT, Server, payment
from tests.system.containers import Shipped, answers, build, copied, engine
from tests.system.load import until

pytestmark = [pytest.mark.system, pytest.mark.containers, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(copied(tmp_path_factory.mktemp("tree")), "serving", "mlops-serving")


@pytest.fixture
def world(tmp_path: Path) -> Shipped:
    world = Shipped(tmp_path / "home")
    world.deploy("1", world.bundle())
    return world


@contextmanager
def started(
    image: Image, port: int, told: dict[str, str], folders: dict[str, Path], *command: str
) -> Iterator[tuple[Container, Server]]:
    """A container with these variables, and folders to be read; and a client, once it is ready."""
    container = engine().containers.run(
        image.id,
        list(command) or None,
        detach=True,
        environment=told,
        ports={f"{port}/tcp": ("127.0.0.1", None)},
        volumes={str(path): {"bind": place, "mode": "ro"} for place, path in folders.items()},
    )
    try:
        container.reload()
        server = Server(None, container.ports[f"{port}/tcp"][0]["HostPort"])  # type: ignore[arg-type]
        until(lambda: answers(server), 30)
        yield container, server
    finally:
        container.remove(force=True, v=True)


def test_as_sagemaker_starts_it(image: Image, world: Shipped) -> None:
    told = {
        "SAGEMAKER_BIND_TO_PORT": "9099",
        "MLOPS_SERVING_POINTER": "/opt/ml/model/current.json",
        "MLOPS_SERVING_TRUST_NETWORK": "true",
        KEY_TEXT: (world.keys / PUBLIC_KEY).read_text(),
    }
    with started(image, 9099, told, {"/opt/ml/model": world.pointer.parent}, "serve") as (container, server):
        assert server.get("/ping").status == 200
        assert server.post("/invocations", payment(1)).body["version"] == "1"
        container.stop(timeout=30)  # SIGTERM, and SIGKILL after as many seconds as SageMaker waits
        assert container.wait(timeout=30)["StatusCode"] == 0


def test_as_azure_machine_learning_starts_it(image: Image, world: Shipped) -> None:
    files = ROOT / "infra" / "azureml"
    routes = yaml.safe_load((files / "environment.yml").read_text())["inference_config"]
    told: dict[str, Any] = yaml.safe_load((files / "deployment.yml").read_text())["environment_variables"]
    told |= {"AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/fraud/1"}
    told |= {KEY_TEXT: (world.keys / PUBLIC_KEY).read_text().replace("\n", "\\n")}
    mounted = {"/var/azureml-app/azureml-models/fraud/1/deployments": world.pointer.parent}
    with started(image, routes["scoring_route"]["port"], told, mounted) as (_, server):
        assert server.get(routes["liveness_route"]["path"]).status == 200
        assert server.get(routes["readiness_route"]["path"]).status == 200
        answered = server.post(routes["scoring_route"]["path"], {"input_data": [payment(1)]}).body
        assert [one["event_id"] for one in answered] == [1]


def test_as_vertex_ai_starts_the_image_that_is_made_of_it(
    image: Image, world: Shipped, tmp_path: Path
) -> None:
    (tmp_path / "context" / "keys").mkdir(parents=True)
    shutil.copytree(world.pointer.parent, tmp_path / "context" / "deployments")
    shutil.copy(world.keys / PUBLIC_KEY, tmp_path / "context" / "keys")
    shutil.copy(ROOT / "infra" / "vertex" / "Dockerfile", tmp_path / "context")
    made, _ = engine().images.build(
        path=str(tmp_path / "context"), buildargs={"IMAGE": image.id}, tag="mlops-serving-vertex", rm=True
    )
    path = "/v1/endpoints/17/deployedModels/42:predict"
    told = {
        "AIP_HTTP_PORT": "8501",
        "AIP_HEALTH_ROUTE": path,
        "AIP_PREDICT_ROUTE": path,
        "AIP_STORAGE_URI": "",
        "MLOPS_SERVING_TRUST_NETWORK": "true",
    }
    try:
        with started(made, 8501, told, {}) as (_, server):
            assert server.get(path).status == 200
            (answered,) = server.post(path, {"instances": [payment(1)]}).body["predictions"]
            assert answered["version"] == "1"
    finally:
        engine().images.remove(made.id, force=True)


def test_as_kserve_starts_it(image: Image, world: Shipped) -> None:
    (runtime,) = yaml.safe_load_all((ROOT / "infra" / "kserve" / "serving-runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    told = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
    keys = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}["keys"]
    folders = {"/mnt/models": world.pointer.parent, keys: world.access}
    with started(image, port, told, folders) as (_, server):
        for probe in ("livenessProbe", "readinessProbe"):
            assert server.get(container[probe]["httpGet"]["path"]).status == 200
        rows = [[1.0] * len(FEATURES.names)]
        tensor = {"name": "features", "shape": [1, len(rows[0])], "datatype": "FP32", "data": rows}
        path, body = "/v2/models/example/infer", {"inputs": [tensor]}
        assert server.post(path, body).status == 401
        answered = server.request("POST", path, body, {"authorization": f"Bearer {world.key}"})
        assert (answered.status, answered.body["model_version"]) == (200, "1")
