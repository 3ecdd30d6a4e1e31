"""One demo for the whole system tier: run where there is no network, no Java and no home folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from pipelines.demo_results import Summary
from tests.e2e.demo import run_demo


class Offline(msgspec.Struct, frozen=True):
    """A finished demo."""

    home: Path
    summary: Summary


@pytest.fixture(scope="session")
def offline_demo(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """The demo in a network namespace that has loopback only, without JAVA_HOME, java on PATH or a home folder."""
    folder = tmp_path_factory.mktemp("offline")
    path = [_without_java(Path(d), folder) for d in os.environ["PATH"].split(os.pathsep)]
    unshare = shutil.which("unshare")
    assert unshare is not None, "no unshare: install the Debian packages of infra/system-packages"
    summary = run_demo(
        folder / "demo",
        prefix=[unshare, "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"],
        env={"PATH": os.pathsep.join(path), "HOME": str(folder / "nobody"), "JAVA_HOME": ""},
    )
    return Offline(folder / "demo", summary)


def _without_java(directory: Path, scratch: Path) -> str:
    """The directory, or one that stands for it if a java lies there."""
    if not (directory / "java").exists():
        return str(directory)
    stand_in = scratch / directory.relative_to("/")
    stand_in.mkdir(parents=True, exist_ok=True)
    for tool in directory.iterdir():
        if tool.name != "java" and not (stand_in / tool.name).is_symlink():
            (stand_in / tool.name).symlink_to(tool)
    return str(stand_in)
