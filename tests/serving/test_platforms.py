"""What managed platforms say by variables: the port, where the bundle lies, the key, that they keep the door."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.signing import PUBLIC_KEY, ensure_keys, load_public_key
from serving.options import options_of
from serving.platforms import KEY_TEXT, environment
from tests.serving.example import ROOT, World, payment

IMAGE = {
    "MLOPS_SERVING_HOST": "0.0.0.0",
    "MLOPS_SERVING_PORT": "8080",
    "MLOPS_SERVING_POINTER": "/deployments/current.json",
    "MLOPS_SERVING_PUBLIC_KEY": "/keys/verify-key.pem",
    "MLOPS_SERVING_KEYS": "/keys/api-keys.json",
    "MLOPS_SERVING_DECISIONS": "/state/decisions",
    "MLOPS_STORE": "/state/store",
}
"""As the image has them."""


@pytest.mark.parametrize("name", ["SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT"])
@pytest.mark.parametrize("value", ["http", "0", "-1", "8080\n"])
def test_a_port_that_is_none_is_told_by_the_variable_that_holds_it(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*is not a port"):
        environment({name: value})


@pytest.mark.parametrize("name", ["SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT"])
def test_the_platform_s_port_wins_over_the_image_s(name: str) -> None:
    assert options_of(["--no-keys", "--host", "127.0.0.1"], environment(IMAGE | {name: "9999"})).port == 9999
    assert options_of(["--no-keys", "--host", "127.0.0.1"], environment(IMAGE | {name: ""})).port == 8080


@pytest.mark.parametrize("said", [{}, {"SAGEMAKER_BIND_TO_PORT": "1"}, {"AIP_HTTP_PORT": "2"}])
@pytest.mark.parametrize("more", [{}, {"SAGEMAKER_BIND_TO_PORT": "3", "AIP_HTTP_PORT": "4"}])
def test_the_health_check_asks_at_the_port_that_is_served(
    tmp_path: Path, said: dict[str, str], more: dict[str, str]
) -> None:
    """The check says whom it asked, as the connection is one that only writes that down."""
    env = IMAGE | more | said
    (tmp_path / "check.py").write_text(
        "import http.client, runpy\n"
        "class Asked(http.client.HTTPConnection):\n"
        "    def connect(self): raise OSError(f'at {self.port}')\n"
        "http.client.HTTPConnection = Asked\n"
        f"runpy.run_path({str(ROOT / 'infra/docker/healthy')!r})\n"
    )
    line = [sys.executable, "-IS", str(tmp_path / "check.py")]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60)
    assert done.stderr == f"no answer: at {environment(env)['MLOPS_SERVING_PORT']}\n"


@pytest.mark.parametrize("folder", ["", "deployments", "shop"])
def test_the_pointer_is_found_in_what_azure_mounts(tmp_path: Path, folder: str) -> None:
    pointer = tmp_path / folder / "current.json"
    pointer.parent.mkdir(exist_ok=True)
    pointer.write_text("{}")
    said = environment(IMAGE | {"AZUREML_MODEL_DIR": str(tmp_path)})
    assert said["MLOPS_SERVING_POINTER"] == str(pointer)


def test_a_folder_without_a_pointer_is_told_by_its_path(tmp_path: Path) -> None:
    said = environment(IMAGE | {"AZUREML_MODEL_DIR": str(tmp_path)})
    assert said["MLOPS_SERVING_POINTER"] == str(tmp_path / "current.json")


@pytest.mark.parametrize("lines", ["\n", "\\n"], ids=["lines", "written as one line"])
def test_the_key_can_be_a_variable(tmp_path: Path, lines: str) -> None:
    ensure_keys(tmp_path)
    text = (tmp_path / PUBLIC_KEY).read_text()
    path = Path(environment(IMAGE | {KEY_TEXT: text.replace("\n", lines)})["MLOPS_SERVING_PUBLIC_KEY"])
    assert load_public_key(path) == load_public_key(tmp_path / PUBLIC_KEY)


def test_where_there_are_no_files_in_memory_the_key_lies_in_one_that_goes_with_the_process(
    tmp_path: Path,
) -> None:
    """As on macOS."""
    ensure_keys(tmp_path)
    script = (
        "import os, sys\nif sys.platform == 'linux': del os.memfd_create\n"
        "from serving.platforms import environment\n"
        "path = environment(os.environ)['MLOPS_SERVING_PUBLIC_KEY']\n"
        "print(path, oct(os.stat(path).st_mode)[-3:], open(path).read(), sep='\\n')"
    )
    text = (tmp_path / PUBLIC_KEY).read_text()
    env = os.environ | {KEY_TEXT: text, "TMPDIR": str(tmp_path)}
    line = [sys.executable, "-c", script]
    said = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60)
    name, mode, rest = said.stdout.split("\n", 2)
    assert (Path(name).parent, mode, rest.strip()) == (tmp_path, "600", text.strip())
    assert not Path(name).exists()


def test_a_variable_that_holds_no_key_is_named() -> None:
    with pytest.raises(ConfigError, match=f"^{KEY_TEXT}: not a public key"):
        environment(IMAGE | {KEY_TEXT: "/keys/verify-key.pem"})


def test_a_bundle_that_would_have_to_be_fetched_is_told_not_to_be() -> None:
    with pytest.raises(ConfigError, match=r"^AIP_STORAGE_URI: is not read"):
        environment(IMAGE | {"AIP_STORAGE_URI": "gs://bucket/model"})


@pytest.mark.parametrize("name", ["AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"])
def test_a_route_that_no_request_would_have_is_told(name: str) -> None:
    for path in ("/predict", "/v1/endpoints/17/deployedModels/42:predict", ""):
        environment(IMAGE | {name: path})
    for path in ("predict", "/a b", "/a?b=c", "/%61", "/ä", "https://host/predict"):
        with pytest.raises(ConfigError, match=f"^{name}: .* is not a path"):
            environment(IMAGE | {name: path})


def test_where_the_network_is_trusted_no_keys_are_asked_for_on_any_address() -> None:
    trusting = options_of([], IMAGE | {"MLOPS_SERVING_TRUST_NETWORK": "true"})
    assert (trusting.host, trusting.no_keys, trusting.keys) == ("0.0.0.0", True, None)
    assert options_of(["--keys", "/k"], IMAGE | {"MLOPS_SERVING_TRUST_NETWORK": "true"}).keys == Path("/k")
    assert options_of([], IMAGE | {"MLOPS_SERVING_TRUST_NETWORK": "false"}).keys is not None
    with pytest.raises(ConfigError, match="--no-keys lets everybody in"):
        options_of(["--no-keys"], IMAGE)


def test_a_server_starts_with_nothing_but_variables(tmp_path: Path) -> None:
    """As on SageMaker: the image's, the platform's and those that infra/sagemaker gives it."""
    world = World(tmp_path)
    world.deploy("7", world.bundle())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = {
        "MLOPS_SERVING_HOST": "0.0.0.0",
        "MLOPS_SERVING_POINTER": str(world.pointer),
        "MLOPS_SERVING_DECISIONS": str(world.decisions),
        "MLOPS_STORE": str(world.store),
        "MLOPS_SERVING_TRUST_NETWORK": "true",
        KEY_TEXT: (world.keys / PUBLIC_KEY).read_text(),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    command = world.command()[:3]
    with world.server(args=command, env=os.environ | IMAGE | told) as server:
        assert server.port == port
        assert server.get("/ping").status == 200
        assert server.post("/invocations", payment(1)).body["version"] == "7"


def test_a_bundle_signed_by_another_key_is_not_served(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deploy("1", world.bundle())
    ensure_keys(tmp_path / "others")
    env = os.environ | {KEY_TEXT: (tmp_path / "others" / PUBLIC_KEY).read_text()}
    line = world.command()
    at = line.index("--public-key")
    with world.server(args=[*line[:at], *line[at + 2 :]], env=env) as server:
        assert "another key" in server.wait_for("refused", ...)["reason"]
        assert server.get("/ping").status == 503
