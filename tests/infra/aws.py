"""What a session asks AWS for, with moto's server in its place."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.sagemaker.models import sagemaker_backends
from urllib3 import HTTPResponse

__all__ = ["REGION", "Sent"]

REGION = "eu-central-1"


class Sent:
    """What goes out in a session, as botocore has checked it against AWS's description, by operation.

    moto's server answers, but for `UpdateEndpoint`, which it has not. That is answered here, and the endpoint of moto's
    then has the new configuration, or the old one if the update `goes_back`.
    """

    def __init__(self, session: boto3.Session, *, goes_back: bool = False) -> None:
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self._goes_back = goes_back
        session.events.register("provide-client-params.*.*", self._keep)
        session.events.register("before-send.sagemaker.UpdateEndpoint", self._update)

    def __getitem__(self, operation: str) -> list[dict[str, Any]]:
        return self.asked.get(operation, [])

    def _keep(self, params: dict[str, Any], model: Any, **rest: Any) -> None:
        self.asked.setdefault(model.name, []).append(params)

    def _update(self, request: AWSPreparedRequest, **rest: Any) -> AWSResponse:
        body = json.loads(request.body)
        if not self._goes_back:
            endpoint = sagemaker_backends["123456789012"][REGION].endpoints[body["EndpointName"]]
            endpoint.endpoint_config_name = body["EndpointConfigName"]
        answer = json.dumps({"EndpointArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/fraud"})
        raw = HTTPResponse(io.BytesIO(answer.encode()), preload_content=False)
        return AWSResponse(request.url, 200, {}, raw)
