"""SageMaker's script, run against moto's server: what it creates, twice, and that the archive is one that is served."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from mlops.signing import PUBLIC_KEY
from serving.platforms import KEY_TEXT
from tests.serving.example import ROOT, World, payment

SCRIPT = ROOT / "infra" / "sagemaker" / "deploy.py"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "home")
    world.deploy("1", world.bundle())
    return world


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def account(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A session of an account with a bucket, empty otherwise."""
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    session.client("s3").create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield session
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=10)


def deployed(world: World, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--name", "fraud", "--image", "registry/mlops-serving:1"),
            *("--role", ROLE, "--bucket", "models", "--home", str(world.home)),
            *("--instance-type", "ml.c5.large", *more),  # one that moto knows
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def variants(session: Any) -> list[dict[str, Any]]:
    """Those of the endpoint, each with its model."""
    api = session.client("sagemaker")
    config = api.describe_endpoint(EndpointName="fraud")["EndpointConfigName"]
    found = api.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    return [v | {"model": api.describe_model(ModelName=v["ModelName"])} for v in found]


def test_the_champion_is_put_on_an_endpoint_and_the_archive_is_served(
    account: Any, world: World, tmp_path: Path
) -> None:
    done = deployed(world)
    assert done.returncode == 0, done.stderr
    (variant,) = variants(account)
    container = variant["model"]["PrimaryContainer"]
    assert container["Image"] == "registry/mlops-serving:1"
    told = container["Environment"]
    assert told["MLOPS_SERVING_POINTER"] == "/opt/ml/model/current.json"
    bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
    archive = account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    unpacked = tmp_path / "opt"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(unpacked, filter="data")
    pointer = str(unpacked / "current.json")
    line = world.command(0, "--pointer", pointer)
    at = line.index("--public-key")
    env = os.environ | {KEY_TEXT: told[KEY_TEXT]}
    with world.server(args=[*line[:at], *line[at + 2 :]], env=env) as server:
        assert server.get("/ping").status == 200
        assert server.post("/invocations", payment(1)).body["version"] == "1"


def test_run_again_it_changes_nothing(account: Any, world: World) -> None:
    first, second = deployed(world), deployed(world)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stdout == second.stdout
    api = account.client("sagemaker")
    assert len(api.list_models()["Models"]) == len(api.list_endpoint_configs()["EndpointConfigs"]) == 1


def test_a_challenger_gets_its_share_as_a_variant(account: Any, world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.deploy("2", other.bundle("second", seed=1))
    redis = ("--store", "redis://r:6379", "--subnets", "subnet-1", "--security-groups", "sg-1")
    done = deployed(world, "--challenger", str(other.home), "--share", "0.2", *redis)
    assert done.returncode == 0, done.stderr
    champion, challenger = variants(account)
    assert [champion["InitialVariantWeight"], challenger["InitialVariantWeight"]] == [0.8, 0.2]
    models = champion["model"], challenger["model"]
    assert models[0]["PrimaryContainer"]["ModelDataUrl"] != models[1]["PrimaryContainer"]["ModelDataUrl"]
    keys = [model["PrimaryContainer"]["Environment"][KEY_TEXT] for model in models]
    assert keys == [(w.keys / PUBLIC_KEY).read_text() for w in (world, other)]
    assert models[0]["VpcConfig"]["Subnets"] == ["subnet-1"]


def test_instances_that_would_each_count_for_themselves_are_refused(account: Any, world: World) -> None:
    done = deployed(world, "--instances", "2")
    assert (done.returncode, done.stderr.splitlines()[0][:9]) == (2, "--store: ")
    assert account.client("sagemaker").list_models()["Models"] == []


def test_a_bundle_that_is_not_what_was_signed_is_not_sent(account: Any, world: World) -> None:
    with (world.home / "bundles" / "first" / "model.onnx").open("ab") as model:
        model.write(b" ")
    done = deployed(world)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert account.client("s3").list_objects_v2(Bucket="models")["KeyCount"] == 0


def test_what_aws_refuses_is_said_without_a_traceback(account: Any, world: World) -> None:
    account.client("s3").delete_bucket(Bucket="models")
    done = deployed(world)
    assert done.returncode == 2
    assert done.stderr.startswith("AWS: ")


def test_an_endpoint_that_is_there_is_moved_over_by_a_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """By AWS's own description of the operation, as moto has it not."""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    api = boto3.Session().client("sagemaker")
    described = {
        "EndpointName": "fraud",
        "EndpointArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/fraud",
        "EndpointConfigName": "fraud-old",
        "EndpointStatus": "InService",
        "CreationTime": 0,
        "LastModifiedTime": 0,
    }
    with Stubber(api) as aws:
        aws.add_response("describe_endpoint", described, {"EndpointName": "fraud"})
        aws.add_response("update_endpoint", {"EndpointArn": described["EndpointArn"]})
        _script()._point(api, "fraud", "fraud-new")
        aws.assert_no_pending_responses()


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
