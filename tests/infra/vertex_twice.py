"""Run infra/vertex/deploy.py's `deploy` on a stand-in of the API, as none of Google's can be had.

Requests and answers are of Google's own types, which refuse a field that they do not know. Args: the script and two
images. Deployed are the first, the first again, the second, and the first. Printed are the calls of each time, as JSON.
"""

import argparse
import json
import runpy
import sys
from types import SimpleNamespace

from google.api_core.exceptions import NotFound
from google.cloud import aiplatform_v1 as vertex

script = runpy.run_path(sys.argv[1])
models, endpoints, calls = {}, {}, []
NUMBER = "projects/1234567/locations/europe-west4"  # as Google writes names in what it answers


def found(among, name):
    if name not in among:
        raise NotFound(name)
    return among[name]


def done(what, result=None):
    calls.append(what)
    return SimpleNamespace(result=lambda: result)


class Models:
    def get_model(self, *, name):
        return found(models, name)

    def upload_model(self, request):
        models[f"{request.parent}/models/{request.model_id}"] = request.model
        return done("upload")


class Endpoints:
    def get_endpoint(self, *, name):
        return found(endpoints, name)

    def create_endpoint(self, request):
        endpoints[f"{request.parent}/endpoints/{request.endpoint_id}"] = vertex.Endpoint(request.endpoint)
        return done("create")

    def deploy_model(self, request):
        found(models, request.deployed_model.model)
        endpoint, one = found(endpoints, request.endpoint), vertex.DeployedModel(request.deployed_model)
        one.id, one.model = str(len(calls)), f"{NUMBER}/models/{one.model.rpartition('/')[2]}"
        endpoint.deployed_models.append(one)
        endpoint.traffic_split = {one.id: request.traffic_split["0"]}
        return done("deploy")

    def undeploy_model(self, request):
        endpoint = found(endpoints, request.endpoint)
        assert request.deployed_model_id not in endpoint.traffic_split, "it still answers"
        endpoint.deployed_models = [
            one for one in endpoint.deployed_models if one.id != request.deployed_model_id
        ]
        return done("undeploy")


said = []
first, second = sys.argv[2:]
for image in (first, first, second, first):
    given = argparse.Namespace(project="p", location="europe-west4", image=image, replicas=1)
    where = script["deploy"](given, "", Models(), Endpoints())
    (one,) = endpoints[where].deployed_models
    name = f"projects/p/locations/europe-west4/models/{one.model.rpartition('/')[2]}"
    said.append([models[name].container_spec.image_uri, calls[:]])
    calls.clear()
print(json.dumps(said))
