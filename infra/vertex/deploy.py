"""Uploads the image as a model of Vertex AI and deploys it, in the API's own terms.

    python infra/vertex/deploy.py --project P --location europe-west4 --image REGION-docker.pkg.dev/P/…@sha256:…
    python infra/vertex/deploy.py … --print    # only shows the requests

The model's id follows from what it is made of, the endpoint's is its name: run again, it changes nothing. Once the
model answers, what the endpoint had before is undeployed, as it would go on costing.

The URI of a Redis that replicas share is read from $MLOPS_STORE, as it may hold a password. The script wants
`google-cloud-aiplatform`, which is not among the platform's packages. Rendered only: a test has Google's own client
check the requests; none was ever sent to Google.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import aiplatform_v1 as vertex

NAME = "fraud"
PORT = 8080
STORE = "MLOPS_STORE"


def upload_of(given: argparse.Namespace, store: str) -> vertex.UploadModelRequest:
    """The image, the routes that are asked, and what the server is told; `store` may be empty."""
    told = {
        "MLOPS_SERVING_TRUST_NETWORK": "true",  # Vertex AI asks who calls, and keeps Authorization for itself
        **({STORE: store} if store else {}),
    }
    ready = vertex.Probe(
        http_get=vertex.Probe.HttpGetAction(path="/readyz", port=PORT), period_seconds=2, timeout_seconds=2
    )
    model = vertex.Model(
        display_name=NAME,
        container_spec=vertex.ModelContainerSpec(
            image_uri=given.image,
            ports=[vertex.Port(container_port=PORT)],
            predict_route="/predict",
            health_route="/health",
            health_probe=ready,
            env=[vertex.EnvVar(name=name, value=value) for name, value in told.items()],
        ),
    )
    digest = hashlib.sha256(json.dumps(vertex.Model.to_dict(model), sort_keys=True).encode()).hexdigest()
    return vertex.UploadModelRequest(parent=_parent(given), model=model, model_id=f"{NAME}-{digest[:16]}")


def endpoint_of(given: argparse.Namespace) -> vertex.CreateEndpointRequest:
    """The endpoint, without a model yet."""
    endpoint = vertex.Endpoint(display_name=NAME)
    return vertex.CreateEndpointRequest(parent=_parent(given), endpoint=endpoint, endpoint_id=NAME)


def deploy_of(endpoint: str, model: str, replicas: int) -> vertex.DeployModelRequest:
    """The model on at most so many machines, with all traffic."""
    return vertex.DeployModelRequest(
        endpoint=endpoint,
        deployed_model=vertex.DeployedModel(
            model=model,
            display_name=NAME,
            dedicated_resources=vertex.DedicatedResources(
                machine_spec=vertex.MachineSpec(machine_type="n2-standard-2"),
                min_replica_count=1,
                max_replica_count=replicas,
            ),
        ),
        traffic_split={"0": 100},  # 0 is the one that this request deploys
    )


def deploy(given: argparse.Namespace, store: str, models: Any, endpoints: Any) -> str:
    """See to it that the endpoint answers with the image, and with nothing else; return the endpoint's name.

    Args:
        models: a `vertex.ModelServiceClient`.
        endpoints: a `vertex.EndpointServiceClient`.
    """
    upload, create = upload_of(given, store), endpoint_of(given)
    name = f"{upload.parent}/models/{upload.model_id}"
    _there(lambda: models.get_model(name=name), lambda: models.upload_model(upload))
    where = f"{create.parent}/endpoints/{create.endpoint_id}"
    endpoint = _there(lambda: endpoints.get_endpoint(name=where), lambda: endpoints.create_endpoint(create))
    # Google may write the project's number where we write its name.
    before = [one for one in endpoint.deployed_models if one.model.rpartition("/")[2] != upload.model_id]
    if len(before) == len(endpoint.deployed_models):
        endpoints.deploy_model(deploy_of(where, name, _replicas(given, store))).result()
    for one in before:
        endpoints.undeploy_model(
            vertex.UndeployModelRequest(endpoint=where, deployed_model_id=one.id)
        ).result()
    return where


def main(arguments: Sequence[str] | None = None) -> None:
    """Deploy; or print the three requests of a first time, without the store's URI."""
    given = _arguments(arguments)
    store = os.environ.get(STORE, "")
    if given.print:
        upload = upload_of(given, f"${STORE}" if store else "")
        place = _parent(given)
        last = deploy_of(
            f"{place}/endpoints/{NAME}", f"{place}/models/{upload.model_id}", _replicas(given, store)
        )
        shown = [type(request).to_dict(request) for request in (upload, endpoint_of(given), last)]
        print(json.dumps(shown, indent=1))
        return
    options = {"api_endpoint": f"{given.location}-aiplatform.googleapis.com"}
    models = vertex.ModelServiceClient(client_options=options)
    print(deploy(given, store, models, vertex.EndpointServiceClient(client_options=options)))


def _there(get: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """What is there; made, and then asked for, where it is not."""
    try:
        return get()
    except NotFound:
        make().result()
        return get()


def _parent(given: argparse.Namespace) -> str:
    return f"projects/{given.project}/locations/{given.location}"


def _replicas(given: argparse.Namespace, store: str) -> int:
    """One, unless they share a store: each would count events of its own."""
    replicas: int = given.replicas if store else 1
    return replicas


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Upload the image as a model of Vertex AI and deploy it.",
        epilog=f"${STORE}: URI of a Redis that all replicas reach",
    )
    add = parser.add_argument
    add("--project", required=True)
    add("--location", required=True)
    add("--image", required=True, help="made of infra/vertex/Dockerfile, by its digest")
    add(
        "--replicas",
        type=int,
        default=4,
        help=f"at most, with a Redis in ${STORE}; where the image is deployed already, it keeps its own (4)",
    )
    add("--print", action="store_true", help="only show the requests")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
