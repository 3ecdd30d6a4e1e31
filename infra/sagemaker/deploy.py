"""Puts what a home has promoted on a SageMaker endpoint: one Model a bundle, an endpoint configuration, the endpoint.

    .venv/bin/python infra/sagemaker/deploy.py --name fraud --role arn:aws:iam::ACCOUNT:role/sagemaker \\
        --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/mlops-serving:1 --bucket BUCKET --home runs/main

The URI of a Redis that instances share is read from $MLOPS_STORE, as it may hold a password.

What it was tried on: moto's server (tests/infra/test_sagemaker.py), and, where moto lacks an operation, AWS's own
description of it. It never ran in an account. Names follow from contents: run again, it changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from archive import POINTER, packed
from botocore.exceptions import BotoCoreError, ClientError
from rollout import put_alarms, roll_out

from mlops.bundle import Bundle, open_bundle
from mlops.deployment import Deployment, bundle_path, read_deployment
from mlops.errors import ConfigError, MlopsError
from mlops.signing import PUBLIC_KEY
from serving.option_table import PREFIX, STORE
from serving.platforms import KEY_TEXT

UNPACKED = f"/opt/ml/model/{POINTER}"
"""Where SageMaker puts what is in the archive."""

ROLES = ("champion", "challenger")
"""The names of the variants."""


def main() -> int:
    """Deploy; return the exit code: 0, 1 or 2 where something that was given does not fit, or AWS refused."""
    given = arguments()
    try:
        deploy(given, boto3.Session(region_name=given.region), os.environ.get(STORE, ""))
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (ClientError, BotoCoreError) as error:
        print(f"AWS: {error}", file=sys.stderr)
        return 2
    return 0


def deploy(given: argparse.Namespace, session: boto3.Session, store: str) -> None:
    """See to it that the endpoint answers with the home's champion, and a share with another home's, if there is one.

    Args:
        store: the URI of a Redis; empty where there is none.

    Raises:
        ConfigError: nothing was promoted, several instances would each count events of their own, or options that
            belong together are not.
        MlopsError: a bundle is not what its signature says, or AWS went back to what answered before.
    """
    homes = [given.home, *([given.challenger] if given.challenger else [])]
    opened = [_champion(home) for home in homes]
    _check(given, store, [bundle for _, bundle in opened])
    api, s3 = session.client("sagemaker"), session.client("s3")
    variants = []
    shares = [1.0 - given.share, given.share] if given.challenger else [1.0]
    for home, (deployment, bundle), share, role in zip(homes, opened, shares, ROLES, strict=False):
        key = f"{given.name}/{bundle.digest}.tar.gz"
        s3.put_object(Bucket=given.bucket, Key=key, Body=packed(deployment, bundle))
        public_key = (home / "keys" / PUBLIC_KEY).read_text()
        model = _model(given, f"s3://{given.bucket}/{key}", public_key, store)
        name = _named(given.name, model)
        _once(api.create_model, ModelName=name, **model)
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
    wanted = {"ProductionVariants": variants, **_storage(given)}
    config = _named(given.name, wanted)
    _once(api.create_endpoint_config, EndpointConfigName=config, **wanted)
    alarms = put_alarms(
        session.client("cloudwatch"),
        given.name,
        ROLES[: len(variants)],
        errors=given.alarm_errors,
        latency_ms=given.alarm_latency_ms,
    )
    print(f"{given.name}: waiting for {config}", file=sys.stderr)
    roll_out(api, given.name, config, alarms, instances=given.instances)
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


def _check(given: argparse.Namespace, store: str, bundles: Sequence[Bundle]) -> None:
    where = f"${STORE}"
    if store and not store.startswith(("redis://", "rediss://")):
        raise ConfigError(
            "is no Redis that instances could share", where=where, todo="rediss://…, or unset it"
        )
    if bool(given.subnets) != bool(given.security_groups):
        raise ConfigError("come together", where="--subnets and --security-groups")
    if store and not given.subnets:
        raise ConfigError("is not reached without --subnets and --security-groups", where=where)
    several = given.instances > 1 or len(bundles) > 1
    if several and not store and any(bundle.features.horizon_us for bundle in bundles):
        raise ConfigError(
            "each instance would count only the events that it saw itself, and the features look back",
            where=where,
            todo="name a Redis that all reach, with its --subnets and --security-groups, or take one instance",
        )
    if given.capture_percent and not given.kms_key:
        raise ConfigError(
            "would write events, which are personal data, as they came",
            where="--capture-percent",
            todo="add --kms-key",
        )


def _model(given: argparse.Namespace, data: str, public_key: str, store: str) -> dict[str, Any]:
    """A Model: the key comes apart from the bundle, and the network is there for a shared store only."""
    told = {
        f"{PREFIX}POINTER": UNPACKED,
        KEY_TEXT: public_key,
        f"{PREFIX}TRUST_NETWORK": "true",  # SageMaker asks who calls, and lets no header of ours through
        **({STORE: store} if store else {}),
    }
    network: dict[str, Any] = {"EnableNetworkIsolation": not store}
    if given.subnets:
        network["VpcConfig"] = {"Subnets": given.subnets, "SecurityGroupIds": given.security_groups}
    container = {"Image": given.image, "ModelDataUrl": data, "Environment": told}
    return {"ExecutionRoleArn": given.role, "PrimaryContainer": container, **network}


def _storage(given: argparse.Namespace) -> dict[str, Any]:
    """What is written, and encrypted: the instance's disk, with the decision log, and captured requests and answers."""
    wanted: dict[str, Any] = {"KmsKeyId": given.kms_key} if given.kms_key else {}
    if given.capture_percent:
        wanted["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": given.capture_percent,
            "DestinationS3Uri": f"s3://{given.bucket}/{given.name}/captured",
            "KmsKeyId": given.kms_key,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        }
    return wanted


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


def _percent(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 0 to 100")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of this process where no line is given."""
    parser = argparse.ArgumentParser(
        description="Put what a home has promoted on a SageMaker endpoint.",
        epilog=f"${STORE}: URI of a Redis that all instances share; it wants --subnets and --security-groups",
    )
    add = parser.add_argument
    add("--name", required=True, help="of the endpoint; names of everything else begin with it")
    add("--image", required=True, help="URI of mlops-serving in ECR")
    add("--role", required=True, help="ARN of the role that SageMaker takes on")
    add("--bucket", required=True, help="where archives and captured requests go")
    add("--home", type=Path, default=Path("runs/main"), help="whose champion is deployed (runs/main)")
    add("--challenger", type=Path, help="a home whose champion gets a share of the requests, as a variant")
    add("--share", type=_share, default=0.1, help="of the requests (0.1)")
    add("--instance-type", default="ml.c7i.large", help="(ml.c7i.large)")
    add("--instances", type=_count, default=1, help="of each variant (1)")
    add("--subnets", nargs="+", default=[], help="of the VPC that the containers are in")
    add("--security-groups", nargs="+", default=[], help="of the containers there")
    add("--kms-key", default="", help="that encrypts the instances' disks and what is captured")
    add("--capture-percent", type=_percent, default=0, help="of requests and answers, kept in S3 (0)")
    add(
        "--alarm-errors",
        type=_share,
        default=0.01,
        help="share of 5xx above which an update goes back (0.01)",
    )
    add("--alarm-latency-ms", type=float, default=250.0, help="the same of the 99th percentile (250)")
    add("--region", help="(AWS's own variables and files)")
    return parser.parse_args(line)


if __name__ == "__main__":
    sys.exit(main())
