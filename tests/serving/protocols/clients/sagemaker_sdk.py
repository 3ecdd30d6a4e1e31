"""Ask a server as SageMaker's Python SDK asks a container in local mode; print what was answered.

Args: the server's port. Standard input: {"rows": features, "events": events}.
"""

# ruff: noqa: E402
import json
import logging
import sys

logging.disable(logging.WARNING)  # before the SDK, which logs to the standard output as it is imported

import boto3
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer, NumpyDeserializer
from sagemaker.local import LocalSession, local_session
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer, JSONSerializer

asked = json.load(sys.stdin)
# Docker is not asked where it runs, as the server is no container here.
local_session.get_docker_host = lambda: "127.0.0.1"
session = LocalSession(boto3.Session(region_name="eu-central-1"))
session.sagemaker_runtime_client = local_session.LocalSagemakerRuntimeClient(
    {"local": {"serving_port": int(sys.argv[1])}}
)


def predict(data, serializer, deserializer):
    predictor = Predictor("local", session, serializer=serializer, deserializer=deserializer)
    return predictor.predict(data, custom_attributes="trace=1", inference_id="17")


names = list(asked["events"][0])
table = "\n".join(
    ",".join("" if event[n] is None else str(event[n]) for n in names) for event in asked["events"]
)
print(
    json.dumps(
        {
            "csv": predict(asked["rows"], CSVSerializer(), CSVDeserializer()),
            "json": predict(asked["rows"], JSONSerializer(), JSONDeserializer()),
            "csv to json": predict(asked["rows"], CSVSerializer(), JSONDeserializer()),
            "events": predict(asked["events"], JSONSerializer(), JSONDeserializer()),
            "events in csv": predict(",".join(names) + "\n" + table, CSVSerializer(), CSVDeserializer()),
        }
    )
)
try:
    predict(asked["rows"], CSVSerializer(), NumpyDeserializer())
except ValueError:  # numpy reads no problem document
    print("refused", file=sys.stderr)
