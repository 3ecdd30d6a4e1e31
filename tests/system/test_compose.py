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

from tests.system.compose_stack import INFRA, SECRETS, config, mounts, nginx_in, rendered

pytestmark = pytest.mark.system

OURS = ("mlops-serving", "mlops-pipeline")
ONE_SHOT = {"prepare", "pipelines"}
UNASKED = {"collector"}  # its image has nothing that could ask; Prometheus scrapes it
NETWORKS = {
    "prepare": set(),
    "proxy": {"front", "scoring"},
    "serving-1": {"scoring", "online"},
    "serving-2": {"scoring", "online"},
    "redis": {"online"},
    "postgres": {"data"},
    "objects": {"data"},
    "mlflow": {"front", "data"},
    "prefect": {"front", "data"},
    "pipelines": {"online", "data"},
    "prometheus": {"scoring", "watch"},
    "grafana": {"front", "watch"},
    "collector": {"online", "data", "watch"},
}


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
    assert set(stack["services"]) == set(NETWORKS)
    for name, service in stack["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc", "devices"} & set(service), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        if name == "prepare":
            assert (service["user"], service["cap_add"]) == ("0:0", ["CHOWN"])
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
    assert scraped >= UNASKED | {"serving-1", "serving-2"}


def test_networks_are_apart_and_only_this_machine_gets_in(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        assert set(service.get("networks", {})) == NETWORKS[name], name
        ports = service.get("ports", [])
        assert bool(ports) == ("front" in NETWORKS[name]), name
        assert all(port.startswith("127.0.0.1:") for port in ports), name
    inside = {name for name, network in stack["networks"].items() if (network or {}).get("internal")}
    assert inside == set(stack["networks"]) - {"front"}


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
    assert written == {"prepare", "pipelines"}
    assert not any("home" in mounts(stack["services"][f"serving-{n}"]).values() for n in (1, 2))


def test_the_two_servers_are_the_same(stack: dict[str, Any]) -> None:
    assert stack["services"]["serving-1"] == stack["services"]["serving-2"]


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


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is not set"),
        ("ab3-ff90-qk", "fewer than 16"),
        ("changeme-changeme", "anybody would try"),
        ("Password1234567890", "anybody would try"),
        ("1234567890123456", "anybody would try"),
        ("drawn@for/the:test", "other than letters"),
        (SECRETS["S3_SECRET_KEY"], "the same as another"),
    ],
)
def test_a_secret_that_is_weak_is_refused_and_not_told(tmp_path: Path, value: str, why: str) -> None:
    ran = prepared(tmp_path, GRAFANA_PASSWORD=value)
    assert ran.returncode == 1 and "GRAFANA_PASSWORD" in ran.stderr and why in ran.stderr
    assert not value or value not in ran.stdout + ran.stderr
    assert not list((tmp_path / "access").iterdir())


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


def test_nginx_finds_the_proxy_s_configuration_sound() -> None:
    with nginx_in([1, 2]) as (command, _, _, popen):
        ran = subprocess.run(
            [*command, "-t"], capture_output=True, text=True, timeout=30, check=False, **popen
        )
        assert ran.returncode == 0 and "test is successful" in ran.stderr, ran.stderr


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
    assert NETWORKS["grafana"] & NETWORKS["prometheus"]


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
        assert NETWORKS[endpoint.partition(":")[0]] & NETWORKS["collector"]
    assert "--web.enable-remote-write-receiver" in stack["services"]["prometheus"]["command"]
