"""Ask a server as Google's client asks an endpoint of Vertex AI; print what was answered.

Args: the server's port. Standard input: {"rows": features, "events": events}.

What the client sends its endpoint is what Vertex AI sends the container, so a container whose `AIP_PREDICT_ROUTE` is
the endpoint's own path can be asked without anything between them.
"""

import json
import sys

from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest import (
    PredictionServiceRestTransport,
)
from google.protobuf import json_format, struct_pb2

ENDPOINT = "projects/p/locations/europe-west4/endpoints/17"
asked = json.load(sys.stdin)
client = PredictionServiceClient(
    transport=PredictionServiceRestTransport(
        host=f"127.0.0.1:{sys.argv[1]}", url_scheme="http", credentials=AnonymousCredentials()
    )
)


def predict(instances):
    values = [json_format.ParseDict(instance, struct_pb2.Value()) for instance in instances]
    answer = client.predict(endpoint=ENDPOINT, instances=values, timeout=20)
    return json_format.MessageToDict(type(answer).pb(answer))["predictions"]


said = {"features": predict(asked["rows"]), "events": predict(asked["events"])}
try:
    predict([[1.0]])
except GoogleAPICallError as error:
    said["misfit"] = [int(error.code), error.response.json()["detail"]]
print(json.dumps(said))
