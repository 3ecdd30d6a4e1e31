"""Nothing phones home: the libraries' telemetry is off unless `MLOPS_TELEMETRY=on`."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["SWITCHES", "telemetry_off"]

SWITCHES = {
    "DO_NOT_TRACK": "true",  # Prefect's SDK, Evidently and MLflow honour it
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def telemetry_off(env: MutableMapping[str, str] | None = None) -> None:
    """Set every switch that is not set yet; child processes inherit them."""
    env = os.environ if env is None else env
    if env.get("MLOPS_TELEMETRY", "off") == "on":
        return
    for name, value in SWITCHES.items():
        env.setdefault(name, value)
