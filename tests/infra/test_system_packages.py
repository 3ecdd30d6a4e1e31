"""The script behind `make test-system`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "system-packages"


@pytest.mark.system
def test_all_that_it_promises_is_there_and_a_second_call_installs_nothing() -> None:
    ran = subprocess.run([SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "system packages: all there\n"
    assert all(shutil.which(tool) for tool in ("chromium", "kubectl", "unshare", "ip", "ps"))


@pytest.mark.system
@pytest.mark.parametrize(
    ("version", "code"),
    [
        (
            'Client Version: version.Info{Major:"1", Minor:"20", GitVersion:"v1.20.2", GoVersion:"go1.19.8"}',
            1,
        ),
        ("Client Version: v1.26.15\nKustomize Version: v4.5.7", 1),
        ("Client Version: v1.27.0\nKustomize Version: v5.0.1", 0),
    ],
)
def test_a_kubectl_that_cannot_render_is_told_of(tmp_path: Path, version: str, code: int) -> None:
    """As Debian 12's own says its version, and two others."""
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\ncat <<'END'\n{version}\nEND\n")
    (tmp_path / "kubectl").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code
    assert ("kubectl is too old to render k8s/, which wants 1.27" in ran.stderr) == (code == 1)


@pytest.mark.parametrize("starts", [True, False])
def test_a_compose_that_does_not_start_gets_the_package_that_it_lacks(tmp_path: Path, starts: bool) -> None:
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    (tmp_path / "docker-compose").write_text(f"#!/bin/sh\nexit {int(not starts)}\n")
    (tmp_path / "docker-compose").chmod(0o755)
    line = [tmp_path / "bash", SCRIPT]
    ran = subprocess.run(line, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    assert ("python3-setuptools" in ran.stderr) != starts and "docker-compose" not in ran.stderr


def test_without_apt_it_says_what_to_install_by_hand(tmp_path: Path) -> None:
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    ran = subprocess.run(
        [tmp_path / "bash", SCRIPT],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "no apt-get here; install what stands for chromium" in ran.stderr
