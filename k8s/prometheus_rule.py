"""Writes the rules of infra/prometheus as the resource that Prometheus's operator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mlops.storage import replace_file

__all__ = ["SOURCES", "TARGET", "rule_text"]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = tuple(ROOT / "infra" / "prometheus" / name for name in ("recording.yml", "alerts.yml"))
TARGET = ROOT / "k8s" / "components" / "monitoring" / "prometheus-rule.yaml"
_HEAD = "# Written by `.venv/bin/python -m k8s.prometheus_rule` from infra/prometheus: change it there.\n"


def rule_text() -> str:
    """The resource as YAML: the groups of all files, as they stand there."""
    groups: list[Any] = []
    for source in SOURCES:
        groups += yaml.safe_load(source.read_text())["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "serving"},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    with replace_file(TARGET) as aside:
        aside.write_text(rule_text())
