"""The script behind `make test-system`."""

from __future__ import annotations

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
