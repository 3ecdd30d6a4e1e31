"""A full disk is one clear line, and what was there before stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from usecases.fraud.simulator import write_days
from usecases.fraud.world import World

pytestmark = pytest.mark.system

MLOPS = Path(sys.executable).with_name("mlops")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_exit_code_2_and_leaves_nothing_half_written(
    small_disk: Path, tmp_path: Path
) -> None:
    write_days(World(customers=1000, days=30), tmp_path / "world")
    done = subprocess.run(
        [MLOPS, "--home", small_disk / "home", "validate", "--events", tmp_path / "world"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr and "Traceback" not in done.stderr
    assert not (small_disk / "home" / "events").exists()
    assert list((small_disk / "home").glob(".tmp-*")) == []
