"""infra/compose.yaml: what it renders to, and its configurations in the programs that they are for."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.compose_stack import (
    INFRA,
    SECRETS,
    config,
    mounts,
    rendered,
)

pytestmark = pytest.mark.system

OURS = ("mlops-serving", "mlops-pipeline")
ONE_SHOT = {"prepare", "pipelines"}
SCRAPED = {"collector"}  # its image has nothing that could ask; Prometheus scrapes it
UNASKED = SCRAPED | {"worker"}  # which Prefect's server hears of
# Who may talk to whom, and nobody else to anybody: those that share a network.
MEETS = {
    "prepare": set(),
    "proxy": {"serving-1", "serving-2"},
    "serving-1": {"proxy", "serving-2", "redis", "prometheus", "collector"},
    "serving-2": {"proxy", "serving-1", "redis", "prometheus", "collector"},
    "redis": {"serving-1", "serving-2", "postgres", "objects", "pipelines", "worker", "collector"},
    "postgres": {"redis", "objects", "mlflow", "prefect", "pipelines", "worker", "collector"},
    "objects": {"redis", "postgres", "pipelines", "worker", "collector"},
    "mlflow": {"postgres", "prefect", "pipelines", "worker"},
    "prefect": {"postgres", "mlflow", "pipelines", "worker"},
    "pipelines": {"redis", "postgres", "objects", "mlflow", "prefect", "worker", "collector"},
    "worker": {"redis", "postgres", "objects", "mlflow", "prefect", "pipelines", "collector"},
    "prometheus": {"serving-1", "serving-2", "grafana", "collector"},
    "grafana": {"prometheus"},
    "collector": {
        "serving-1",
        "serving-2",
        "redis",
        "postgres",
        "objects",
        "pipelines",
        "worker",
        "prometheus",
    },
}
DOORS = {"proxy", "mlflow", "prefect", "grafana"}  # who has a port of this machine's loopback


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    return rendered()


def test_it_does_not_render_without_each_of_its_secrets() -> None:
    without = [{k: v for k, v in SECRETS.items() if k != name} for name in SECRETS]
    for name, secrets in [
        *zip(SECRETS, without, strict=True),
        ("S3_SECRET_KEY", SECRETS | {"S3_SECRET_KEY": ""}),
    ]:
        ran = config(secrets)
        assert ran.returncode != 0 and name in ran.stderr and "make-secrets" in ran.stderr


def test_no_secret_has_a_value_in_the_file() -> None:
    text = (INFRA / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(SECRETS)
    assert set(re.findall(r"\$\{(\w+)(?!:\?)\b", text)) - set(SECRETS) == {
        "MLOPS_VERSION", "PROXY_PORT", "MLFLOW_PORT", "PREFECT_PORT", "GRAFANA_PORT",
    }  # fmt: skip
    for line in text.splitlines():
        if re.search(r"PASSWORD|SECRET|ACCESS_KEY|AUTH", line.split("$")[0]):
            assert "${" in line or "$$" in line, line


def test_every_service_has_as_little_as_it_needs(stack: dict[str, Any]) -> None:
    assert set(stack["services"]) == set(MEETS)
    for name, service in stack["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc", "devices"} & set(service), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        if name == "prepare":
            assert (service["user"], service["cap_add"]) == ("0:0", ["CHOWN", "DAC_OVERRIDE"])
            assert service["network_mode"] == "none"
        else:
            assert int(service["user"].split(":")[0]) > 0 and "cap_add" not in service, name
            assert "network_mode" not in service
        repository, _, tag = service["image"].rpartition(":")
        assert repository in OURS or re.match(r"docker\.io/\w+/[\w-]+$", repository), name
        assert repository in OURS or re.match(r"v?\d+\.\d+", tag), name
        assert not any("docker.sock" in source for source in mounts(service).values())


def test_every_service_is_asked_for_its_health_and_waits_for_what_it_needs(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        disabled = service["healthcheck"]["test"] == ["NONE"]
        assert disabled == (name in ONE_SHOT | UNASKED), name
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
        for needed, how in service.get("depends_on", {}).items():
            if needed == "prepare":
                assert how["condition"] == "service_completed_successfully"
            elif how["condition"] == "service_healthy":
                assert needed not in ONE_SHOT | UNASKED

    def waits_for_prepare(name: str) -> bool:
        needed = stack["services"][name].get("depends_on", {})
        return "prepare" in needed or any(map(waits_for_prepare, needed))

    assert all(waits_for_prepare(name) for name in stack["services"] if name != "prepare")
    jobs = yaml.safe_load((INFRA / "compose" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {target.partition(":")[0] for job in jobs for target in job["static_configs"][0]["targets"]}
    assert scraped >= SCRAPED | {"serving-1", "serving-2"}


def test_services_meet_only_whom_they_need(stack: dict[str, Any]) -> None:
    on: dict[str, set[str]] = {network: set() for network in stack["networks"]}
    for name, service in stack["services"].items():
        assert service.get("networks") or service.get("network_mode") == "none", (
            f"{name} is on the default network"
        )
        for network in service.get("networks", {}):
            on[network].add(name)
    met = {
        name: {other for together in on.values() if name in together for other in together} - {name}
        for name in stack["services"]
    }
    assert met == MEETS
    assert all(on.values()), "a network that nobody is on"


def test_only_who_has_a_port_is_on_a_network_that_leads_out_alone_and_unanswered(
    stack: dict[str, Any],
) -> None:
    found = set()
    for network, said in stack["networks"].items():
        on = {name for name, service in stack["services"].items() if network in service.get("networks", {})}
        if said.get("internal") is True:
            continue
        assert len(on) == 1, f"{on} meet on {network}, which leads out"
        assert said["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
        found |= on
    assert found == DOORS == {name for name, service in stack["services"].items() if service.get("ports")}
    for name in DOORS:
        (port,) = stack["services"][name]["ports"]
        assert port.startswith("127.0.0.1:"), name


def test_every_file_that_is_mounted_is_there_and_read_only(stack: dict[str, Any]) -> None:
    volumes = set(stack["volumes"])
    for name, service in stack["services"].items():
        for volume in service.get("volumes", []):
            source, _, *mode = volume.split(":")
            if source not in volumes:
                assert Path(source).is_file() and mode == ["ro"], (name, volume)
                assert Path(source).stat().st_mode & stat.S_IROTH
    written = {
        name
        for name, service in stack["services"].items()
        for volume in service.get("volumes", [])
        if volume.startswith("deployments:") and not volume.endswith(":ro")
    }
    assert written == {"prepare", "pipelines", "worker"}
    assert not any("home" in mounts(stack["services"][f"serving-{n}"]).values() for n in (1, 2))


def test_the_two_servers_are_the_same(stack: dict[str, Any]) -> None:
    assert stack["services"]["serving-1"] == stack["services"]["serving-2"]


def test_the_worker_is_there_again_after_it_died_with_what_any_command_has(stack: dict[str, Any]) -> None:
    worker, pipelines = stack["services"]["worker"], stack["services"]["pipelines"]
    assert worker["command"] == ["mlops", "prefect", "worker", "--wait"]
    assert worker["restart"] == "unless-stopped"
    assert "profiles" not in worker  # so that it is started and stopped with the others
    for same in ("image", "user", "environment", "volumes", "networks", "deploy", "tmpfs"):
        assert worker[same] == pipelines[same], same
    assert worker["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"


def prepared(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    access = folder / "access"
    access.mkdir(exist_ok=True)
    owner = f"{access.stat().st_uid}:{access.stat().st_gid}"
    return subprocess.run(
        ["sh", str(INFRA / "compose" / "prepare")],
        env={"PATH": "/usr/bin:/bin", "VOLUMES": str(folder), "OWNER": owner, **SECRETS, **changes},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_weak_is_refused_in_one_line_and_not_told(tmp_path: Path, name: str) -> None:
    another = next(value for other, value in SECRETS.items() if other != name)
    for value, why in (
        ("", "is not set"),
        (" \t ", "is not set"),
        ("changeme", "anybody would try"),
        ("changeme-changeme", "anybody would try"),
        ("Password1234567890", "anybody would try"),
        ("1234567890123456", "anybody would try"),
        ("ab3-ff90-qk", "fewer than 16"),
        ("drawn@for/the:test", "other than letters"),
        ("drawn for the test", "other than letters"),
        (another, "the same as another"),
    ):
        ran = prepared(tmp_path, **{name: value})
        assert ran.returncode == 1 and ran.stdout == ""
        (line,) = ran.stderr.splitlines()
        assert why in line and "take its line out of infra/.env and run infra/compose/make-secrets" in line
        # Of two that are the same it is the second that is named.
        assert line.startswith(f"compose: {name} ") or value == another
        assert not value.strip() or value not in line
        assert not list((tmp_path / "access").iterdir())


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    script = shutil.copy(INFRA / "compose" / "make-secrets", tmp_path / "compose")
    (tmp_path / ".env").touch()
    for mode in (0o640, 0o604, 0o666):
        (tmp_path / ".env").chmod(mode)
        ran = subprocess.run([script], timeout=30, check=False, capture_output=True, text=True)
        assert ran.returncode == 1 and "chmod 600" in ran.stderr and len(ran.stderr.splitlines()) == 1
    (tmp_path / ".env").chmod(0o600)
    assert subprocess.run([script], timeout=30, check=False, capture_output=True).returncode == 0


def test_secrets_are_drawn_once_for_their_owner_and_are_good_enough(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    script = shutil.copy(INFRA / "compose" / "make-secrets", tmp_path / "compose")
    subprocess.run([script], timeout=30, check=True, capture_output=True)
    file = tmp_path / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    drawn = dict(line.split("=") for line in file.read_text().splitlines())
    assert set(drawn) == set(SECRETS) and len(set(drawn.values())) == len(drawn)
    subprocess.run([script], timeout=30, check=True, capture_output=True)
    assert dict(line.split("=") for line in file.read_text().splitlines()) == drawn
    assert prepared(tmp_path, **drawn).returncode == 0
    keys = tmp_path / "access" / "api-keys.json"
    keys.write_text("those that were made since")
    assert prepared(tmp_path, **drawn).returncode == 0
    assert keys.read_text() == "those that were made since"


def test_a_secret_that_is_missing_is_added_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    script = shutil.copy(INFRA / "compose" / "make-secrets", tmp_path / "compose")
    file = tmp_path / ".env"
    own = "PROXY_PORT=8081\nexport REDIS_PASSWORD = mine\n# S3_ACCESS_KEY=a remark"
    file.write_text(own)
    file.chmod(0o600)
    ran = subprocess.run([script], timeout=30, check=True, capture_output=True, text=True)
    said = set(ran.stdout.partition(";")[0].split()) & set(SECRETS)
    assert said == set(SECRETS) - {"REDIS_PASSWORD"}
    lines = file.read_text().removeprefix(f"{own}\n").splitlines()
    assert {line.partition("=")[0] for line in lines} == said
    assert file.stat().st_mode & 0o777 == 0o600 and not (tmp_path / ".env.new").exists()


def test_a_secret_that_is_empty_is_not_left_to_compose_which_would_send_back_here(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    script = shutil.copy(INFRA / "compose" / "make-secrets", tmp_path / "compose")
    file = tmp_path / ".env"
    file.write_text("S3_SECRET_KEY=\n")
    file.chmod(0o600)
    ran = subprocess.run([script], timeout=30, check=False, capture_output=True, text=True)
    assert (
        ran.returncode == 1 and "S3_SECRET_KEY is empty" in ran.stderr and "take the line out" in ran.stderr
    )
    assert file.read_text() == "S3_SECRET_KEY=\n"


@pytest.mark.parametrize("version", ["", "1.29.2", "2.23.3", "v2.3.0"])
def test_without_a_compose_that_is_new_enough_one_line_says_which_is_needed(
    tmp_path: Path, version: str
) -> None:
    ran = with_docker(tmp_path, version)
    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1
    assert "Compose 2.24 or newer" in ran.stderr and (version or "none") in ran.stderr


@pytest.mark.parametrize("version", ["2.24.0", "v2.39.1", "2.100.0", "5.0.1", "10.1.0"])
def test_a_compose_that_is_new_enough_is_given_this_file_and_the_words(tmp_path: Path, version: str) -> None:
    ran = with_docker(tmp_path, version)
    _, _, file, *words = ran.stdout.split()
    assert Path(file).samefile(INFRA / "compose.yaml") and words == ["up", "--detach"]


def with_docker(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """`infra/compose/run up --detach` beside a docker whose plugin is of this version, or that has none."""
    docker = folder / "docker"
    docker.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f"    'compose version --short') {f'echo {version}' if version else 'exit 1'} ;;\n"
        '    *) echo "$@" ;;\nesac\n'
    )
    docker.chmod(0o755)
    return subprocess.run(
        [INFRA / "compose" / "run", "up", "--detach"],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_promtool_finds_prometheus_s_configuration_and_rules_sound(
    stack: dict[str, Any], tmp_path: Path
) -> None:
    service = stack["services"]["prometheus"]
    for target, source in mounts(service).items():
        if Path(source).is_file():
            copy = tmp_path / Path(target).relative_to("/etc/prometheus")
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    ran = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0 and "2 rule files found" in ran.stdout, ran.stdout + ran.stderr
    jobs = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    example = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs[0]["job_name"] == example[0]["job_name"]


def test_grafana_is_given_the_dashboard_where_its_provisioning_looks_for_it(stack: dict[str, Any]) -> None:
    files = mounts(stack["services"]["grafana"])
    provider = yaml.safe_load(Path(files["/etc/grafana/provisioning/dashboards/mlops.yml"]).read_text())
    path = provider["providers"][0]["options"]["path"]
    shown = [Path(source).name for target, source in files.items() if target.startswith(f"{path}/")]
    assert shown == ["dashboard.json"]
    source = yaml.safe_load(Path(files["/etc/grafana/provisioning/datasources/prometheus.yml"]).read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in MEETS["grafana"]


def test_the_collector_s_parts_are_there_and_reach_what_they_ask(stack: dict[str, Any]) -> None:
    (file,) = mounts(stack["services"]["collector"]).values()
    text = Path(file).read_text()
    said, environment = yaml.safe_load(text), stack["services"]["collector"]["environment"]
    assert set(re.findall(r"\$\{env:(\w+)}", text)) == set(environment)
    for pipeline in said["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(said[part])
    for endpoint in (
        said["receivers"]["redis"]["endpoint"],
        said["receivers"]["postgresql"]["endpoint"],
        said["exporters"]["prometheusremotewrite"]["endpoint"].removeprefix("http://"),
    ):
        assert endpoint.partition(":")[0] in MEETS["collector"]
    assert "--web.enable-remote-write-receiver" in stack["services"]["prometheus"]["command"]
