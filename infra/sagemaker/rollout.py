"""Moves an endpoint to another configuration: one instance of several first, and back where an alarm goes off.

AWS makes the new fleet beside the old one, and takes that away when all traffic has been on the new one for a while:
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from mlops.errors import MlopsError

__all__ = ["put_alarms", "roll_out"]

_NAMESPACE = "AWS/SageMaker"
_BAKE_S = 300
"""How long the alarms watch the canary, and then the whole new fleet, before the next step."""


def put_alarms(
    cloudwatch: Any, endpoint: str, variants: Sequence[str], *, errors: float, latency_ms: float
) -> list[str]:
    """Make the alarms of each variant, or bring them up to date; return their names.

    Args:
        errors: the share of 5xx among a minute's answers above which a variant is not well.
        latency_ms: the same of the slowest hundredth's time in the container.
    """
    # In CloudWatch an error is 1 and any other answer 0, so their average is the share; times are microseconds.
    watched: dict[str, dict[str, Any]] = {
        "Invocation5XXErrors": {"Statistic": "Average", "Threshold": errors},
        "ModelLatency": {"ExtendedStatistic": "p99", "Threshold": 1000 * latency_ms},
    }
    names = []
    for variant in variants:
        for metric, limit in watched.items():
            names.append(f"{endpoint}-{variant}-{metric}")
            cloudwatch.put_metric_alarm(
                AlarmName=names[-1],
                AlarmDescription=f"An update of the endpoint {endpoint} goes back while this is on.",
                Namespace=_NAMESPACE,
                MetricName=metric,
                Dimensions=[
                    {"Name": "EndpointName", "Value": endpoint},
                    {"Name": "VariantName", "Value": variant},
                ],
                ComparisonOperator="GreaterThanThreshold",
                Period=60,
                EvaluationPeriods=2,
                DatapointsToAlarm=2,
                TreatMissingData="notBreaching",  # nobody asked
                **limit,
            )
    return names


def roll_out(api: Any, endpoint: str, config: str, alarms: Sequence[str], *, instances: int) -> None:
    """Create the endpoint, or move it over; return when it answers with this configuration.

    Args:
        instances: of each variant.

    Raises:
        MlopsError: AWS went back to the old one.
    """
    now = _configuration(api, endpoint)
    if now is None:
        api.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    elif now != config:
        guarded = _guarded(alarms, instances)
        api.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, DeploymentConfig=guarded)
    api.get_waiter("endpoint_in_service").wait(EndpointName=endpoint)
    answers = _configuration(api, endpoint)
    if answers != config:
        raise MlopsError(
            f"answers with {answers} again, and not with {config}",
            where=f"endpoint {endpoint}",
            todo="its alarms in CloudWatch and its log say why",
        )


def _configuration(api: Any, endpoint: str) -> str | None:
    """The name of what the endpoint answers with, if there is such an endpoint."""
    try:
        return str(api.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"])
    except ClientError as error:
        if "Could not find endpoint" not in error.response["Error"]["Message"]:
            raise
        return None


def _guarded(alarms: Sequence[str], instances: int) -> dict[str, Any]:
    """The old fleet stands by until the alarms have watched the new one."""
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    if instances > 1:  # a canary is half of a variant's instances at most
        size = {"Type": "INSTANCE_COUNT", "Value": 1}
        routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": _BAKE_S}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": _BAKE_S,
            "MaximumExecutionTimeoutInSeconds": 1800,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]},
    }
