"""Uploads the image as a model of Vertex AI and deploys it: three requests, in the API's own terms.

    python infra/vertex/deploy.py --project P --location europe-west4 --image REGION-docker.pkg.dev/P/…@sha256:…
    python infra/vertex/deploy.py … --print    # only shows the requests

It wants `google-cloud-aiplatform`, which is not among the platform's packages. Rendered only: a test has Google's own
client check the requests; none was ever sent to Google.
"""

from __future__ import annotations

import argparse
import json

from google.cloud import aiplatform_v1 as vertex

NAME = "fraud"
PORT = 8080


def model(given: argparse.Namespace) -> vertex.Model:
    """The image, the routes that are asked, and what the server is told."""
    told = {
        "MLOPS_SERVING_TRUST_NETWORK": "true",  # Vertex AI asks who calls, and keeps Authorization for itself
        **({"MLOPS_STORE": given.store} if given.store else {}),
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


def deployed(given: argparse.Namespace, name: str) -> vertex.DeployedModel:
    """One replica, unless they share a store: each would count events of its own."""
    return vertex.DeployedModel(
        model=name,
        display_name=NAME,
        dedicated_resources=vertex.DedicatedResources(
            machine_spec=vertex.MachineSpec(machine_type="n2-standard-2"),
            min_replica_count=1,
            max_replica_count=given.replicas if given.store else 1,
        ),
    )


def main() -> None:
    """Upload, create the endpoint, deploy; or print the three requests."""
    given = _arguments()
    parent = f"projects/{given.project}/locations/{given.location}"
    upload = vertex.UploadModelRequest(parent=parent, model=model(given))
    create = vertex.CreateEndpointRequest(parent=parent, endpoint=vertex.Endpoint(display_name=NAME))
    if given.print:
        deploy = _deploy(given, f"{parent}/endpoints/ENDPOINT", f"{parent}/models/MODEL")
        shown = [type(request).to_dict(request) for request in (upload, create, deploy)]
        print(json.dumps(shown, indent=1))
        return
    options = {"api_endpoint": f"{given.location}-aiplatform.googleapis.com"}
    endpoints = vertex.EndpointServiceClient(client_options=options)
    uploaded = vertex.ModelServiceClient(client_options=options).upload_model(upload).result()
    endpoint = endpoints.create_endpoint(create).result()
    endpoints.deploy_model(_deploy(given, endpoint.name, uploaded.model)).result()
    print(endpoint.name)


def _deploy(given: argparse.Namespace, endpoint: str, name: str) -> vertex.DeployModelRequest:
    return vertex.DeployModelRequest(
        endpoint=endpoint,
        deployed_model=deployed(given, name),
        traffic_split={"0": 100},  # 0 is the one that this request deploys
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Upload the image as a model of Vertex AI and deploy it.")
    add = parser.add_argument
    add("--project", required=True)
    add("--location", required=True)
    add("--image", required=True, help="made of infra/vertex/Dockerfile, by its digest")
    add("--store", default="", help="URI of a Redis that all replicas reach")
    add("--replicas", type=int, default=4, help="at most, with a store (4)")
    add("--print", action="store_true", help="only show the requests")
    return parser.parse_args()


if __name__ == "__main__":
    main()
