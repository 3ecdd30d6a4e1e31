"""Puts what a home has promoted on a SageMaker endpoint: one Model a bundle, an endpoint configuration, the endpoint.

    python infra/sagemaker/deploy.py --name fraud --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/mlops-serving:1 \\
        --role arn:aws:iam::ACCOUNT:role/sagemaker --bucket BUCKET --home runs/main

What it was tried on: moto's server (tests/infra/test_sagemaker.py), and, where moto lacks an operation, AWS's own
description of it. It never ran in an account. Names follow from contents: run again, it changes nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from mlops.bundle import Bundle, open_bundle
from mlops.deployment import Deployed, Deployment, bundle_path, read_deployment
from mlops.errors import ConfigError, MlopsError
from mlops.signing import PUBLIC_KEY

POINTER = "current.json"
UNPACKED = f"/opt/ml/model/{POINTER}"
"""Where SageMaker puts what is in the archive."""


def main() -> int:
    """Deploy; return the exit code: 0, or 2 where something that was given does not fit, or AWS refused."""
    given = _arguments()
    try:
        deploy(given, boto3.Session(region_name=given.region))
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        return 2
    return 0


def deploy(given: argparse.Namespace, session: boto3.Session) -> None:
    """See to it that the endpoint answers with the home's champion, and a share with another home's, if there is one.

    Raises:
        ConfigError: nothing was promoted, or several instances would each count events of their own.
        MlopsError: a bundle is not what its signature says.
    """
    api, s3 = session.client("sagemaker"), session.client("s3")
    homes = [given.home, *([given.challenger] if given.challenger else [])]
    opened = [_champion(home) for home in homes]
    _check_counts(given, [bundle for _, bundle in opened])
    variants = []
    shares = [1.0 - given.share, given.share] if given.challenger else [1.0]
    for home, (deployment, bundle), share, role in zip(
        homes, opened, shares, ("champion", "challenger"), strict=False
    ):
        key = f"{given.name}/{bundle.digest}.tar.gz"
        s3.put_object(Bucket=given.bucket, Key=key, Body=_archive(deployment, bundle))
        model = _model(given, f"s3://{given.bucket}/{key}", (home / "keys" / PUBLIC_KEY).read_text())
        name = _named(given.name, model)
        _once(api.create_model, ModelName=name, ExecutionRoleArn=given.role, **model)
        variants.append(
            {
                "VariantName": role,
                "ModelName": name,
                "InstanceType": given.instance_type,
                "InitialInstanceCount": given.instances,
                "InitialVariantWeight": share,
                "ContainerStartupHealthCheckTimeoutInSeconds": 120,
            }
        )
    wanted = {"ProductionVariants": variants, "DataCaptureConfig": _capture(given)}
    config = _named(given.name, wanted)
    _once(api.create_endpoint_config, EndpointConfigName=config, **wanted)
    _point(api, given.name, config)
    print(f"{given.name}: waiting for {config}", file=sys.stderr)
    api.get_waiter("endpoint_in_service").wait(EndpointName=given.name)
    print(f"{given.name}: {config} is in service")


def _champion(home: Path) -> tuple[Deployment, Bundle]:
    """What a home has promoted; its bundle is verified before it is sent anywhere."""
    pointer = home / "deployments" / POINTER
    deployment = read_deployment(pointer)
    if deployment is None:
        raise ConfigError("nothing was promoted", where=pointer, todo="promote a model first")
    return deployment, open_bundle(
        bundle_path(pointer, deployment.champion), public_key=home / "keys" / PUBLIC_KEY
    )


def _check_counts(given: argparse.Namespace, bundles: list[Bundle]) -> None:
    several = given.instances > 1 or len(bundles) > 1
    if several and not given.store and any(bundle.features.horizon_us for bundle in bundles):
        raise ConfigError(
            "each instance would count only the events that it saw itself, and the features look back",
            where="--store",
            todo="name a Redis that all reach, with its --subnets and --security-groups, or take one instance",
        )
    if given.store and not (given.subnets and given.security_groups):
        raise ConfigError("is not reached without --subnets and --security-groups", where="--store")


def _archive(deployment: Deployment, bundle: Bundle) -> bytes:
    """model.tar.gz: a pointer to the champion and its bundle beside it; the same bytes for the same bundle."""
    champion = deployment.champion
    uri = f"bundles/{bundle.digest}"
    moved = Deployed(
        version=champion.version,
        candidate=champion.candidate,
        framework=champion.framework,
        uri=uri,
        digest=bundle.digest,
    )
    pointer = json.dumps(
        {"name": deployment.name, "champion": {f: getattr(moved, f) for f in moved.__struct_fields__}}
    )
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        _add(tar, POINTER, pointer.encode())
        for path in sorted(bundle.path.iterdir()):
            _add(tar, f"{uri}/{path.name}", path.read_bytes())
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


def _model(given: argparse.Namespace, data: str, public_key: str) -> dict[str, Any]:
    """A Model: the key comes apart from the bundle, and the network is there for a shared store only."""
    told = {
        "MLOPS_SERVING_POINTER": UNPACKED,
        "MLOPS_SERVING_PUBLIC_KEY_PEM": public_key,
        "MLOPS_SERVING_TRUST_NETWORK": "true",  # SageMaker asks who calls, and lets no header of ours through
        **({"MLOPS_STORE": given.store} if given.store else {}),
    }
    network: dict[str, Any] = {"EnableNetworkIsolation": not given.store}
    if given.store:
        network["VpcConfig"] = {"Subnets": given.subnets, "SecurityGroupIds": given.security_groups}
    container = {"Image": given.image, "ModelDataUrl": data, "Environment": told}
    return {"PrimaryContainer": container, **network}


def _capture(given: argparse.Namespace) -> dict[str, Any]:
    """Requests and answers to S3: the decision log lies on the instance, and goes with it."""
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{given.bucket}/{given.name}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {
            "CsvContentTypes": ["text/csv"],
            "JsonContentTypes": ["application/json"],
        },
    }


def _point(api: Any, name: str, config: str) -> None:
    """Create the endpoint, or move it over: a tenth of the traffic first.

    It goes back by itself only where the account's CloudWatch alarms are named to it, which this does not do.
    """
    try:
        now = api.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    except ClientError as error:
        if "Could not find endpoint" not in error.response["Error"]["Message"]:
            raise
        api.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return
    if now == config:
        return
    canary = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        "WaitIntervalInSeconds": 300,
    }
    api.update_endpoint(
        EndpointName=name,
        EndpointConfigName=config,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": canary,
                "TerminationWaitInSeconds": 60,
                "MaximumExecutionTimeoutInSeconds": 1800,
            }
        },
    )


def _once(create: Any, **what: Any) -> None:
    """Create what is named for its contents, unless it is there."""
    try:
        create(**what)
    except ClientError as error:
        if "already exist" not in error.response["Error"]["Message"]:
            raise


def _named(name: str, what: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:16]}"


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must be above 0 and below 1")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Put what a home has promoted on a SageMaker endpoint.")
    add = parser.add_argument
    add("--name", required=True, help="of the endpoint; names of everything else begin with it")
    add("--image", required=True, help="URI of mlops-serving in ECR")
    add("--role", required=True, help="ARN of the role that SageMaker takes on")
    add("--bucket", required=True, help="where archives and captured requests go")
    add("--home", type=Path, default=Path("runs/main"), help="whose champion is deployed (runs/main)")
    add("--challenger", type=Path, help="a home whose champion gets a share of the requests, as a variant")
    add("--share", type=_share, default=0.1, help="of the requests (0.1)")
    add("--instance-type", default="ml.c7i.large", help="(ml.c7i.large)")
    add("--instances", type=int, default=1, help="of each variant (1)")
    add("--store", default="", help="URI of a Redis that all instances share")
    add("--subnets", nargs="+", default=[], help="from which the store is reached")
    add("--security-groups", nargs="+", default=[], help="that may reach it")
    add("--region", help="(AWS's own variables and files)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
