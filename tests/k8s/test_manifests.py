"""The manifests as they stand: what can be told of them without a renderer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from k8s.load import main as load_main
from k8s.prometheus_rule import TARGET, rule_text
from monitoring.rules import REQUEST
from serving.options import Options, options_of
from serving.supervisor import _MARGIN_S
from tests.k8s.manifests import CUSTOM, K8S, load
from tests.serving.example import World, payment

KUBERNETES = "1.34"
KUSTOMIZATIONS = sorted(K8S.rglob("kustomization.yaml"))
WHOLE = sorted(
    str(path.relative_to(K8S))
    for path in K8S.rglob("*.yaml")
    if path.name != "kustomization.yaml"
    and "production" not in path.parts
    and path.parent.name != "pipelines"
)
STEPS = ("ingest", "compact", "monitor", "retrain", "forget", "backfill", "train", "promote")


def serving_pod() -> dict[str, Any]:
    (deployment,) = load("base/deployment.yaml")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def serving_options() -> Options:
    lines = (K8S / "base" / "serving.env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return options_of([], env | {"MLOPS_STORE": "redis://:secret@redis:6379/0"})


@pytest.mark.parametrize("name", WHOLE)
def test_each_file_is_valid_kubernetes(name: str) -> None:
    for resource in load(name):
        if not resource["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    (service,) = load("base/service.yaml")
    service["spec"]["prots"] = service["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_each_kustomization_uses_every_file_beside_it(path: Path) -> None:
    said = yaml.safe_load(path.read_text())
    used = {name for name in said.get("resources", []) if not name.startswith("..")}
    used |= {patch["path"] for patch in said.get("patches", []) if "path" in patch}
    for generator in said.get("configMapGenerator", []):
        used |= {*generator.get("envs", []), *generator.get("files", [])}
    assert used == {other.name for other in path.parent.iterdir() if other.is_file() and other != path}


def test_the_server_takes_these_options_and_finds_its_files_in_volumes() -> None:
    (container,) = serving_pod()["containers"]
    assert container["command"] == ["python3", "-m", "serving"]
    options = serving_options()
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert options.keys is not None
    for path, read_only in [
        (options.pointer, True),
        (options.public_key, True),
        (options.keys, True),
        (options.decisions / "log", False),
        (options.audit / "log", False),
    ]:
        assert [mounts[str(p)] for p in path.parents if str(p) in mounts] == [read_only]
    assert not options.no_keys and options.host == "0.0.0.0"
    assert options.port == container["ports"][0]["containerPort"]


def test_a_rollout_waits_for_a_ready_pod_and_gives_an_old_one_time_to_drain() -> None:
    (deployment,) = load("base/deployment.yaml")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment["spec"]  # applying it must not undo the autoscaler
    spec, options = serving_pod(), serving_options()
    (container,) = spec["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    ending = container["lifecycle"]["preStop"]["sleep"]["seconds"] + options.drain_seconds
    assert spec["terminationGracePeriodSeconds"] > ending + options.grace_seconds + _MARGIN_S
    probe = container["readinessProbe"]
    assert ending > 2 * probe["periodSeconds"] * probe["failureThreshold"]
    assert options.idle_seconds > 3600  # who balances closes an idle connection first


def test_prometheus_rule_is_what_infra_prometheus_says() -> None:
    message = "run: .venv/bin/python -m k8s.prometheus_rule"
    assert TARGET.read_text() == rule_text(), message


def test_prometheus_finds_the_service_under_the_job_that_the_rules_ask_for() -> None:
    config = yaml.safe_load((K8S.parent / "infra" / "prometheus" / "prometheus.yml").read_text())
    (service,) = load("base/service.yaml")
    (monitor,) = load("components/monitoring/service-monitor.yaml")
    labels = service["metadata"]["labels"]
    assert labels[monitor["spec"]["jobLabel"]] == config["scrape_configs"][0]["job_name"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert [e["port"] for e in monitor["spec"]["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]


def commands_of(step: str) -> tuple[list[str], list[str]]:
    (cron,) = load(f"components/pipelines/{step}.yaml")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return container["command"], container.get("args", [])


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_a_command_that_mlops_has(step: str, tmp_path: Path) -> None:
    """Each is run with an `mlops` that notes what it was told, and asks the real one for the command's help."""
    stand_in = tmp_path / "mlops"
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from itertools import takewhile\n"
        "from pipelines.cli import main\n"
        "words = sys.argv[1:]\n"
        "if words[0] == 'status':\n"
        '    print(\'{"champion": "7"}\')\n'
        "    sys.exit()\n"
        "with open('said', 'a') as said:\n"
        "    said.write(' '.join(words) + '\\n')\n"
        "sys.argv = ['mlops', *takewhile(str.isalpha, words), '--help']\n"
        "main()\n"
    )
    stand_in.chmod(0o755)
    command, arguments = commands_of(step)
    ran = subprocess.run(
        [*command, *arguments],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(K8S.parent),
            "DELIVERIES": "s3://raw",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = (tmp_path / "said").read_text()
    assert {word for word in said.split() if word.startswith("--")} <= set(ran.stdout.split())
    expected = {"ingest": "ingest --events s3://raw", "forget": "store forget", "backfill": "promote 7"}
    assert said.startswith(expected.get(step, step))


@pytest.mark.parametrize("archive", ["", "2018-09-30"])
def test_a_delivery_has_to_be_fresh_as_of_today_or_of_the_day_that_is_said(
    archive: str, tmp_path: Path
) -> None:
    stand_in = tmp_path / "mlops"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    command, arguments = commands_of("ingest")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DELIVERIES": "s3://raw"}
    days = {datetime.now(UTC).date().isoformat()}
    said = subprocess.check_output(
        [*command, *arguments], env=env | ({"AS_OF": archive} if archive else {}), text=True, timeout=60
    )
    days.add(datetime.now(UTC).date().isoformat())  # it may be midnight
    assert said.splitlines()[0] in {f"ingest --events s3://raw --as-of {archive or day}" for day in days}


def test_a_shell_stands_between_only_where_the_file_says_why() -> None:
    for step in STEPS:
        command, _ = commands_of(step)
        text = (K8S / "components" / "pipelines" / f"{step}.yaml").read_text()
        assert (command[0] == "sh") == ("A shell, as " in text), step
        assert command[0] in ("sh", "mlops"), step


def test_a_pipeline_s_pod_gets_the_memory_that_spark_s_heap_and_python_want() -> None:
    (pod,) = load("components/pipelines/pod.yaml")
    (container,) = pod["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    memory = {kind: container["resources"][kind]["memory"] for kind in ("requests", "limits")}
    assert memory["requests"] == memory["limits"]
    env = (K8S / "components" / "pipelines" / "pipelines.env").read_text()
    (heap,) = [line for line in env.splitlines() if line.startswith("MLOPS_SPARK_MEMORY=")]
    gib = int(heap.removeprefix("MLOPS_SPARK_MEMORY=").removesuffix("g"))
    assert int(memory["limits"].removesuffix("Gi")) >= gib + 1 + 5


def test_a_morning_without_a_request_is_no_failure_of_retraining(tmp_path: Path) -> None:
    stand_in = tmp_path / "mlops"
    stand_in.write_text(f"#!{sys.executable}\nfrom pipelines.cli import main\nmain()\n")
    stand_in.chmod(0o755)
    command, arguments = commands_of("retrain")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(K8S.parent)}
    env["MLOPS_HOME"] = str(tmp_path)
    (tmp_path / "monitoring").mkdir()
    for damaged in (False, True):
        if damaged:
            (tmp_path / "monitoring" / REQUEST).write_text("neither JSON")
        ran = subprocess.run(
            [*command, *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (ran.returncode > 0) == damaged, ran.stdout + ran.stderr


def test_the_load_may_spread_over_customers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, event = World(tmp_path), json.dumps(payment(1))
    world.deploy("1", world.bundle())
    vary = ["--vary", "card=3", "--vary", "shop=2"]
    with world.server() as server:
        url = f"http://127.0.0.1:{server.port}"
        assert load_main([url, "--event", event, "--id", "payment", "--seconds", "0.5", *vary]) == 0
    lines = [line for log in world.decisions.glob("*.jsonl") for line in log.read_text().splitlines()]
    events = [json.loads(line)["event"] for line in lines]
    assert {(e["card"], e["shop"]) for e in events} == {(n % 3, n % 2) for n in range(6)}
    for wrong in ("card", "card=none", "card=0", "=3"):
        with pytest.raises(SystemExit):
            load_main([url, "--event", event, "--id", "payment", "--vary", wrong])
        assert "is not COLUMN=COUNT, such as customer_id=500" in capsys.readouterr().err
    for wrong in ("{", "", "[1]", "1"):
        with pytest.raises(SystemExit) as ended:
            load_main([url, "--event", wrong, "--id", "payment"])
        assert ended.value.code == 2 and "--event: is no " in capsys.readouterr().err
    for wrong in (["--key", "mlk_secret"], ["--key-file", str(tmp_path / "none")]):
        with pytest.raises(SystemExit):
            load_main([url, "--event", event, "--id", "payment", *wrong])
        assert "--key" in capsys.readouterr().err


def test_the_load_counts_what_was_answered_and_what_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, event = World(tmp_path), json.dumps(payment(1))
    world.deploy("1", world.bundle())
    with world.server() as server:
        url = f"http://127.0.0.1:{server.port}"
        assert load_main([url, "--event", event, "--id", "payment", "--seconds", "0.5", "--first", "1"]) == 0
        assert json.loads(capsys.readouterr().out)["200"] > 4
        wrong = json.dumps(payment(1, amount="much"))
        assert load_main([url, "--event", wrong, "--id", "payment", "--seconds", "0.1"]) == 1
        assert "422" in json.loads(capsys.readouterr().out)
    assert load_main([url, "--event", event, "--id", "payment", "--seconds", "0.1"]) == 1
    assert "ConnectionRefusedError" in json.loads(capsys.readouterr().out)
