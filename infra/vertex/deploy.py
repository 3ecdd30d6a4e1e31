"""Uploads the image as a model of Vertex AI and deploys it: three requests, in the API's own terms.

    python infra/vertex/deploy.py --project P --location europe-west4 --image REGION-docker.pkg.dev/P/…@sha256:…
    python infra/vertex/deploy.py … --print    # only shows the requests

The URI of a Redis that replicas share is read from $MLOPS_STORE, as it may hold a password. The script wants
`google-cloud-aiplatform`, which is not among the platform's packages. Rendered only: a test has Google's own client
check the requests; none was ever sent to Google.
"""

from __future__ import annotations

import argparse
import json
import os

from google.cloud import aiplatform_v1 as vertex

NAME = "fraud"
PORT = 8080
STORE = "MLOPS_STORE"


def model(given: argparse.Namespace, store: str) -> vertex.Model:
    """The image, the routes that are asked, and what the server is told; `store` may be empty."""
    told = {
        "MLOPS_SERVING_TRUST_NETWORK": "true",  # Vertex AI asks who calls, and keeps Authorization for itself
        **({STORE: store} if store else {}),
    }
    ready = vertex.Probe(
        http_get=vertex.Probe.HttpGetAction(path="/readyz", port=PORT), period_seconds=2, timeout_seconds=2
    )
    return vertex.Model(
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


def deployed(name: str, replicas: int) -> vertex.DeployedModel:
    """The model on at most so many machines."""
    return vertex.DeployedModel(
        model=name,
        display_name=NAME,
        dedicated_resources=vertex.DedicatedResources(
            machine_spec=vertex.MachineSpec(machine_type="n2-standard-2"),
            min_replica_count=1,
            max_replica_count=replicas,
        ),
    )


def main() -> None:
    """Upload, create the endpoint, deploy; or print the three requests, without the store's URI."""
    given = _arguments()
    store = os.environ.get(STORE, "")
    parent = f"projects/{given.project}/locations/{given.location}"
    upload = vertex.UploadModelRequest(
        parent=parent, model=model(given, f"${STORE}" if given.print and store else store)
    )
    create = vertex.CreateEndpointRequest(parent=parent, endpoint=vertex.Endpoint(display_name=NAME))
    # One replica, unless they share a store: each would count events of its own.
    replicas = given.replicas if store else 1
    if given.print:
        deploy = _deploy(f"{parent}/endpoints/ENDPOINT", f"{parent}/models/MODEL", replicas)
        shown = [type(request).to_dict(request) for request in (upload, create, deploy)]
        print(json.dumps(shown, indent=1))
        return
    options = {"api_endpoint": f"{given.location}-aiplatform.googleapis.com"}
    endpoints = vertex.EndpointServiceClient(client_options=options)
    uploaded = vertex.ModelServiceClient(client_options=options).upload_model(upload).result()
    endpoint = endpoints.create_endpoint(create).result()
    endpoints.deploy_model(_deploy(endpoint.name, uploaded.model, replicas)).result()
    print(endpoint.name)


def _deploy(endpoint: str, name: str, replicas: int) -> vertex.DeployModelRequest:
    return vertex.DeployModelRequest(
        endpoint=endpoint,
        deployed_model=deployed(name, replicas),
        traffic_split={"0": 100},  # 0 is the one that this request deploys
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Upload the image as a model of Vertex AI and deploy it.",
        epilog=f"${STORE}: URI of a Redis that all replicas reach",
    )
    add = parser.add_argument
    add("--project", required=True)
    add("--location", required=True)
    add("--image", required=True, help="made of infra/vertex/Dockerfile, by its digest")
    add("--replicas", type=int, default=4, help=f"at most, with a Redis in ${STORE} (4)")
    add("--print", action="store_true", help="only show the requests")
    return parser.parse_args()


if __name__ == "__main__":
    main()
