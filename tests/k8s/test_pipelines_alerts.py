"""The rules about the pipelines' jobs: what fires when, and that they speak of what is deployed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import K8S, load

RULE = "components/pipelines-alerts/prometheus-rule.yaml"
WEEKLY = "WeeklyPipelineLate"


def rules() -> list[dict[str, Any]]:
    (resource,) = load(RULE)
    return [rule for group in resource["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.system
def test_promtool_lets_each_thing_happen_and_sees_what_fires(tmp_path: Path) -> None:
    (resource,) = load(RULE)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(resource["spec"]))
    shutil.copy(Path(__file__).parent / "pipelines_alerts_test.yml", tmp_path)
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "pipelines_alerts_test.yml"]):
        ran = subprocess.run(
            ["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "SUCCESS" in ran.stdout


def test_every_series_is_asked_for_in_the_namespace_that_is_deployed() -> None:
    (namespace,) = load("base/namespace.yaml")
    ours = f'namespace="{namespace["metadata"]["name"]}"'
    series = [s for rule in rules() for s in re.findall(r"(?<!:)\bkube_\w+(?:\{[^}]*\})?", rule["expr"])]
    assert len(series) > 8 and all(ours in each for each in series)


def test_each_cron_job_is_late_by_its_own_schedule() -> None:
    parts = yaml.safe_load((K8S / "components" / "pipelines" / "kustomization.yaml").read_text())["resources"]
    found = [resource for part in parts for resource in load(f"components/pipelines/{part}")]
    schedules = {r["metadata"]["name"]: r["spec"] for r in found if r["kind"] == "CronJob"}
    daily = {name for name, spec in schedules.items() if spec["schedule"].endswith(" * * *")}
    weekly = {name for name, spec in schedules.items() if re.search(r"\* \* \d$", spec["schedule"])}
    assert daily | weekly == {name for name, spec in schedules.items() if not spec.get("suspend")}
    (pod,) = load("components/pipelines/pod.yaml")
    hours = pod["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] / 3600
    by_name = {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}
    assert set(re.findall(r'cronjob="(\w+)"', by_name[WEEKLY])) == weekly
    assert set(re.findall(r'cronjob!="(\w+)"', by_name["PipelineLate"])) == weekly
    assert f"> {24 + hours + 2:.0f} * 3600" in by_name["PipelineLate"]


def test_each_alert_says_how_grave_it_is_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert set(rule["annotations"]) == {"summary", "runbook"}
