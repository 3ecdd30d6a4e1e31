"""SageMaker's script against moto's server: what it asks AWS for, twice, and that the archive is one that is served."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from moto.server import ThreadedMotoServer

from mlops.errors import ConfigError, MlopsError
from mlops.signing import PUBLIC_KEY
from serving.platforms import KEY_TEXT
from tests.infra.aws import REGION, Sent
from tests.serving.example import ROOT, World, payment

SCRIPT = ROOT / "infra" / "sagemaker" / "deploy.py"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
KMS = "arn:aws:kms:eu-central-1:123456789012:key/0"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
IN_VPC = ("--subnets", "subnet-1", "subnet-2", "--security-groups", "sg-1")
REDIS = "rediss://fraud:s3cret@redis.internal:6379"


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
def account(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """A session of an account with a bucket, empty otherwise."""
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLOPS_STORE", raising=False)
    session = boto3.Session()
    session.client("s3").create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    yield session
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=10)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("deploy", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(world: World, *more: str) -> list[str]:
    return [
        *("--name", "fraud", "--image", "registry/mlops-serving:1", "--role", ROLE, "--bucket", "models"),
        *("--home", str(world.home), "--instance-type", "ml.c5.large", *more),  # one that moto knows
    ]


def sent(script: ModuleType, world: World, *more: str, store: str = "", goes_back: bool = False) -> Sent:
    """What a deployment asks AWS for."""
    session = boto3.Session()
    asked = Sent(session, goes_back=goes_back)
    script.deploy(script.arguments(line(world, *more)), session, store)
    return asked


def deployed(world: World, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *line(world, *more)],
        cwd=ROOT,
        env=os.environ | path | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_champion_is_put_on_an_endpoint_and_the_archive_is_served(
    account: boto3.Session, world: World, tmp_path: Path
) -> None:
    done = deployed(world)
    assert done.returncode == 0, done.stderr
    api = account.client("sagemaker")
    config = api.describe_endpoint(EndpointName="fraud")["EndpointConfigName"]
    (variant,) = api.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    container = api.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]
    told = container["Environment"]
    assert told["MLOPS_SERVING_POINTER"] == "/opt/ml/model/current.json"
    bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
    archive = account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    unpacked = tmp_path / "opt"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(unpacked, filter="data")
    pointer = str(unpacked / "current.json")
    command = world.command(0, "--pointer", pointer)
    at = command.index("--public-key")
    env = os.environ | {KEY_TEXT: told[KEY_TEXT]}
    with world.server(args=[*command[:at], *command[at + 2 :]], env=env) as server:
        assert server.get("/ping").status == 200
        assert server.post("/invocations", payment(1)).body["version"] == "1"


def test_run_again_it_changes_nothing(account: boto3.Session, world: World) -> None:
    first, second = deployed(world), deployed(world)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stdout == second.stdout
    api = account.client("sagemaker")
    assert len(api.list_models()["Models"]) == len(api.list_endpoint_configs()["EndpointConfigs"]) == 1
    assert len(account.client("cloudwatch").describe_alarms()["MetricAlarms"]) == 2


@pytest.mark.usefixtures("account")
def test_without_options_nothing_is_captured_and_the_container_reaches_nobody(
    script: ModuleType, world: World
) -> None:
    asked = sent(script, world)
    (model,) = asked["CreateModel"]
    assert model["ExecutionRoleArn"] == ROLE
    assert model["PrimaryContainer"]["Image"] == "registry/mlops-serving:1"
    assert model["PrimaryContainer"]["Environment"] == {
        "MLOPS_SERVING_POINTER": "/opt/ml/model/current.json",
        KEY_TEXT: (world.keys / PUBLIC_KEY).read_text(),
        "MLOPS_SERVING_TRUST_NETWORK": "true",
    }
    assert model["EnableNetworkIsolation"] is True and "VpcConfig" not in model
    (config,) = asked["CreateEndpointConfig"]
    assert config.keys() == {"EndpointConfigName", "ProductionVariants"}
    (variant,) = config["ProductionVariants"]
    assert (variant["VariantName"], variant["ModelName"]) == ("champion", model["ModelName"])
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.large", 1)
    (endpoint,) = asked["CreateEndpoint"]
    assert endpoint == {"EndpointName": "fraud", "EndpointConfigName": config["EndpointConfigName"]}
    assert not asked["UpdateEndpoint"]


@pytest.mark.usefixtures("account")
def test_network_key_and_capture_arrive_where_they_are_asked_for(script: ModuleType, world: World) -> None:
    options = (*IN_VPC, "--kms-key", KMS, "--capture-percent", "25", "--instances", "3")
    asked = sent(script, world, *options, store=REDIS)
    (model,) = asked["CreateModel"]
    assert model["PrimaryContainer"]["Environment"]["MLOPS_STORE"] == REDIS
    assert model["EnableNetworkIsolation"] is False
    assert model["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    (config,) = asked["CreateEndpointConfig"]
    assert config["KmsKeyId"] == KMS
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == 3
    capture = config["DataCaptureConfig"]
    assert (capture["EnableCapture"], capture["InitialSamplingPercentage"]) == (True, 25)
    assert (capture["KmsKeyId"], capture["DestinationS3Uri"]) == (KMS, "s3://models/fraud/captured")
    assert [option["CaptureMode"] for option in capture["CaptureOptions"]] == ["Input", "Output"]


@pytest.mark.usefixtures("account")
def test_a_challenger_gets_its_share_as_a_variant(script: ModuleType, world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.deploy("2", other.bundle("second", seed=1))
    two = ("--challenger", str(other.home), "--share", "0.2", *IN_VPC)
    asked = sent(script, world, *two, store=REDIS)
    champion, challenger = asked["CreateEndpointConfig"][0]["ProductionVariants"]
    assert [champion["InitialVariantWeight"], challenger["InitialVariantWeight"]] == [0.8, 0.2]
    models = asked["CreateModel"]
    assert [champion["ModelName"], challenger["ModelName"]] == [model["ModelName"] for model in models]
    data = [model["PrimaryContainer"]["ModelDataUrl"] for model in models]
    assert len(set(data)) == 2
    keys = [model["PrimaryContainer"]["Environment"][KEY_TEXT] for model in models]
    assert keys == [(w.keys / PUBLIC_KEY).read_text() for w in (world, other)]
    watched = {alarm["Dimensions"][1]["Value"] for alarm in asked["PutMetricAlarm"]}
    assert watched == {"champion", "challenger"}


@pytest.mark.parametrize(("instances", "routing"), [(1, "ALL_AT_ONCE"), (2, "CANARY")])
def test_an_endpoint_that_is_there_is_moved_over_while_its_alarms_watch(
    account: boto3.Session, script: ModuleType, world: World, instances: int, routing: str
) -> None:
    options = ("--instances", str(instances), *IN_VPC)
    sent(script, world, *options, store=REDIS)
    world.deploy("2", world.bundle("second", seed=1))
    limits = ("--alarm-errors", "0.05", "--alarm-latency-ms", "80")
    asked = sent(script, world, *options, *limits, store=REDIS)
    (update,) = asked["UpdateEndpoint"]
    assert update["EndpointConfigName"] == asked["CreateEndpointConfig"][0]["EndpointConfigName"]
    policy = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    shifted = policy["TrafficRoutingConfiguration"]
    assert shifted["Type"] == routing
    if routing == "CANARY":
        assert shifted["CanarySize"] == {"Type": "INSTANCE_COUNT", "Value": 1}
        assert shifted["WaitIntervalInSeconds"] > 2 * 60  # the alarms look at two minutes
    assert policy["TerminationWaitInSeconds"] > 2 * 60
    stored = {a["AlarmName"]: a for a in account.client("cloudwatch").describe_alarms()["MetricAlarms"]}
    rollback = update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert {alarm["AlarmName"] for alarm in rollback} == set(stored)
    errors, latency = (stored[f"fraud-champion-{m}"] for m in ("Invocation5XXErrors", "ModelLatency"))
    assert (errors["Statistic"], errors["Threshold"]) == ("Average", 0.05)
    assert (latency["ExtendedStatistic"], latency["Threshold"]) == ("p99", 80_000.0)  # microseconds
    for alarm in stored.values():
        assert (alarm["Namespace"], alarm["ComparisonOperator"]) == ("AWS/SageMaker", "GreaterThanThreshold")
        assert {d["Name"]: d["Value"] for d in alarm["Dimensions"]} == {
            "EndpointName": "fraud",
            "VariantName": "champion",
        }


@pytest.mark.usefixtures("account")
def test_an_update_that_aws_took_back_is_no_success(script: ModuleType, world: World) -> None:
    first = sent(script, world)["CreateEndpoint"][0]["EndpointConfigName"]
    world.deploy("2", world.bundle("second", seed=1))
    with pytest.raises(MlopsError, match=f"endpoint fraud: answers with {first} again"):
        sent(script, world, goes_back=True)


@pytest.mark.parametrize(
    ("options", "store", "said"),
    [
        (("--instances", "2"), "", "$MLOPS_STORE: each instance would count"),
        ((), REDIS, "$MLOPS_STORE: is not reached without --subnets"),
        (IN_VPC, "/var/lib/store", "$MLOPS_STORE: is no Redis"),
        (("--subnets", "subnet-1"), "", "--subnets and --security-groups: come together"),
        (("--capture-percent", "100"), "", "--capture-percent: would write events"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(
    script: ModuleType, world: World, options: tuple[str, ...], store: str, said: str
) -> None:
    session = boto3.Session()
    asked = Sent(session)
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        script.deploy(script.arguments(line(world, *options)), session, store)
    assert asked.asked == {}
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_a_number_of_instances_that_cannot_be_is_refused_before_anything_is_sent(
    script: ModuleType, world: World, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        script.arguments(line(world, f"--instances={count}"))
    assert ended.value.code == 2 and "--instances" in capsys.readouterr().err


def test_the_store_is_read_from_the_environment_and_shown_nowhere(
    account: boto3.Session, world: World
) -> None:
    done = deployed(world, *IN_VPC, MLOPS_STORE=REDIS)
    assert done.returncode == 0, done.stderr
    (model,) = account.client("sagemaker").list_models()["Models"]
    described = account.client("sagemaker").describe_model(ModelName=model["ModelName"])
    assert described["PrimaryContainer"]["Environment"]["MLOPS_STORE"] == REDIS
    assert "s3cret" not in done.stdout + done.stderr
    refused = deployed(world, "--store", REDIS)
    assert (refused.returncode, "--store" in refused.stderr) == (2, True)


def test_a_bundle_that_is_not_what_was_signed_is_not_sent(account: boto3.Session, world: World) -> None:
    with (world.home / "bundles" / "first" / "model.onnx").open("ab") as model:
        model.write(b" ")
    done = deployed(world)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert account.client("s3").list_objects_v2(Bucket="models")["KeyCount"] == 0


def test_what_aws_refuses_is_said_without_a_traceback(account: boto3.Session, world: World) -> None:
    account.client("s3").delete_bucket(Bucket="models")
    done = deployed(world)
    assert done.returncode == 2
    assert done.stderr.startswith("AWS: ")
