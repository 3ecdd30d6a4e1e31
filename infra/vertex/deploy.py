"""Uploads the image as a model of Vertex AI and deploys it, in the API's own terms.

    CLIENT/bin/python infra/vertex/deploy.py --project P --location europe-west4 --image …@sha256:…
    CLIENT/bin/python infra/vertex/deploy.py … --print    # only shows the requests

The model's id follows from what it is made of, the endpoint's is its name: run again, it changes nothing. Once the
model answers, what the endpoint had before is undeployed, as it would go on costing.

The URI of a Redis that replicas share is read from $MLOPS_STORE, as it may hold a password. The script wants
`google-cloud-aiplatform`, which is not among the platform's packages: CLIENT is an environment of its own. Rendered
only: a test has Google's own client check the requests; none was ever sent to Google.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

try:
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import aiplatform_v1 as vertex
except ImportError:
    vertex = None  # options are explained, and refused, without it

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy; or print the three requests of a first time, without the store's URI.

    Returns the exit code: 0, 1 where the client is missing, 2 where Google refused.
    """
    store = os.environ.get(STORE, "")
    given = _arguments(arguments, store)
    if vertex is None:
        print(
            "vertex: google-cloud-aiplatform is not here; install it into an environment of its own, and run this"
            " with that one's Python (docs/protocols.md)",
            file=sys.stderr,
        )
        return 1
    try:
        _deploy_or_print(given, store)
    except (GoogleAuthError, GoogleAPIError) as error:
        print(f"Google: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def _deploy_or_print(given: argparse.Namespace, store: str) -> None:
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
    return given.replicas or (4 if store else 1)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _by_digest(text: str) -> str:
    if "@sha256:" not in text:
        raise argparse.ArgumentTypeError("names no digest (…@sha256:…): a tag may be another image tomorrow")
    return text


def _arguments(arguments: Sequence[str] | None, store: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Upload the image as a model of Vertex AI and deploy it.",
        epilog=f"${STORE}: URI of a Redis that all replicas reach",
    )
    add = parser.add_argument
    add("--project", required=True)
    add("--location", required=True)
    add("--image", required=True, type=_by_digest, help="made of infra/vertex/Dockerfile, by its digest")
    add(
        "--replicas",
        type=_count,
        help=f"at most (4 with a Redis in ${STORE}, else 1); where the image is deployed already, it keeps its own",
    )
    add("--print", action="store_true", help="only show the requests")
    given = parser.parse_args(arguments)
    if store and not store.startswith(("redis://", "rediss://")):
        parser.error(f"${STORE} is no Redis that replicas could share: rediss://…, or unset it")
    if _replicas(given, store) > 1 and not store:
        parser.error(
            f"--replicas {given.replicas}: each would count only the events that it saw itself; name a Redis that all"
            f" reach in ${STORE}, or take one"
        )
    return given


if __name__ == "__main__":
    sys.exit(main())
