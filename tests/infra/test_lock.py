"""The lock files: complete, checked by hash, for CPUs, and the same for everybody."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.infra.programs import LOCKING_UV, Programs

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "infra" / "lock"
GPU = re.compile(r"nvidia|cuda|cudnn|cupy|triton|rocm", re.IGNORECASE)
HASHED = sorted(
    path.stem for path in LOCKS.glob("*.txt") if path.stem != "torch"
)  # whose wheel differs by index
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def _pins(lock: str) -> dict[str, set[str]]:
    """Versions by name; a name has two where platforms differ."""
    pins: dict[str, set[str]] = {}
    for name, version in PIN.findall((LOCKS / f"{lock}.txt").read_text()):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


def _project() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


@pytest.mark.parametrize("lock", sorted(path.stem for path in LOCKS.glob("*.txt")))
def test_no_lock_names_a_gpu_library(lock: str) -> None:
    assert not [name for name in _pins(lock) if GPU.search(name)]


def test_no_gpu_library_is_installed_unless_setup_was_asked_for_one() -> None:
    names = [distribution.metadata["Name"] for distribution in importlib.metadata.distributions()]
    backends = {stamp.read_text().strip() for stamp in Path(sys.prefix).glob(".ready-*")}
    assert "torch" in names
    assert backends - {"cpu"} or not [name for name in names if GPU.search(name)]


@pytest.mark.parametrize("lock", HASHED)
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if PIN.match(entry)]
    assert entries
    assert not [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]


@pytest.mark.parametrize("lock", [*HASHED, "torch"])
def test_no_lock_names_a_host_or_an_index(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    assert not re.findall(r"https?:|file:|@ |--(?:index|extra|find)\S*", text)


@pytest.mark.parametrize("lock", sorted({*HASHED} - {"all"}))
def test_the_smaller_locks_agree_with_the_whole(lock: str) -> None:
    whole = _pins("all")
    assert not {name: found for name, found in _pins(lock).items() if not found <= whole.get(name, set())}


def test_the_lock_of_serving_holds_no_training_library() -> None:
    wrong = {"pyspark", "torch", "tensorflow", "tensorflow-cpu", "keras", "scikit-learn", "pandas", "mlflow"}
    assert not wrong & _pins("serving").keys()


@pytest.mark.parametrize("extra", sorted(_project()))
def test_every_requirement_is_in_the_whole_lock_at_a_version_it_allows(extra: str) -> None:
    pins = _pins("all")
    wanted = [Requirement(text) for text in _project()[extra]]
    wrong = [
        str(requirement)
        for requirement in wanted
        if not any(map(requirement.specifier.contains, pins.get(canonicalize_name(requirement.name), ())))
    ]
    assert not wrong


def test_torch_is_pinned_in_one_place() -> None:
    ((name, versions),) = _pins("torch").items()
    assert name == "torch" and len(versions) == 1
    assert "torch" not in _pins("all")
    texts = [
        path.read_text() for path in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "infra" / "setup")
    ]
    assert not [text for text in texts if re.search(r"torch\s*==", text)]
    assert {importlib.metadata.version("torch").partition("+")[0]} == versions


def compiled(tmp_path: Path, *words: str, **variables: str) -> list[str]:
    """What uv is told by infra/compile-locks, in a folder that has nothing but a uv that writes it down."""
    programs = Programs(tmp_path)
    programs.add("uv", LOCKING_UV)
    (programs.folder / "python").symlink_to(sys.executable)
    tree = tmp_path / "tree"
    (tree / ".venv").mkdir(parents=True)
    (tree / ".venv" / "bin").symlink_to(programs.folder)
    shutil.copytree(LOCKS, tree / "infra" / "lock")
    shutil.copy(ROOT / "infra" / "compile-locks", tree / "infra")
    (tree / "infra" / "docker").mkdir()
    shutil.copy(ROOT / "infra" / "docker" / "pipeline.Dockerfile", tree / "infra" / "docker")
    done = programs.run([tree / "infra" / "compile-locks", *words], tree, **variables)
    assert done.returncode == (1 if words else 0), done.stderr
    return [call for call in programs.calls if call.startswith("uv pip compile")]


@pytest.mark.parametrize(
    ("variables", "age"),
    [
        ({"UPGRADE": "1"}, "--exclude-newer 7 days "),
        ({"UPGRADE": "1", "MINIMUM_AGE": "1 day"}, "--exclude-newer 1 day "),
        ({"UPGRADE": "1", "MINIMUM_AGE": ""}, None),
        ({"UPGRADE": ""}, None),
    ],
)
def test_an_upgrade_takes_nothing_that_is_younger_than_a_week_unless_told(
    tmp_path: Path, variables: dict[str, str], age: str | None
) -> None:
    calls = compiled(tmp_path, **variables)
    of_registry = [
        call for call in calls if "--torch-backend" not in call
    ]  # PyTorch's own index tells no time
    assert len(of_registry) == len(HASHED) + bool(variables["UPGRADE"])
    assert all(("--exclude-newer" not in call) if age is None else (age in call) for call in of_registry)


@pytest.mark.parametrize(("upgrade", "reached"), [("1", True), ("1", False), ("", True)])
def test_an_upgrade_takes_torch_along_with_the_hash_that_the_image_asks_for(
    tmp_path: Path, upgrade: str, reached: bool
) -> None:
    compiled(tmp_path, UPGRADE=upgrade, UNREACHED="" if reached else "1")
    lock = (tmp_path / "tree" / "infra" / "lock" / "torch.txt").read_text()
    image = (tmp_path / "tree" / "infra" / "docker" / "pipeline.Dockerfile").read_text()
    changed = (lock == "new==2\n", f"\nARG TORCH_SHA256={7:064d}\n" in image)
    assert changed == ((True, True) if upgrade and reached else (False, False))
    assert len(image) == len((ROOT / "infra" / "docker" / "pipeline.Dockerfile").read_text())


def test_what_is_locked_is_checked_whatever_its_age(tmp_path: Path) -> None:
    assert not [call for call in compiled(tmp_path, "--check", UPGRADE="") if "--exclude-newer" in call]


@pytest.mark.system
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", ["aarch64-apple-darwin", "x86_64-manylinux_2_39"])
def test_all_that_is_locked_has_a_wheel_for_the_machines_of_ci(platform: str, python: str) -> None:
    """Asked of the package registry; but two, which are plain Python and come as source."""
    target = ["--python-platform", platform, "--python-version", python, "--only-binary", ":all:"]
    source = ["--no-binary", "pyspark", "--no-binary", "kfp-server-api"]
    ask = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", *target, *source]
    done = subprocess.run(
        [*ask, *(LOCKS / f"{name}.txt" for name in ("all", "torch"))],
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "15.0"},  # that of ci's runner
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "\ntorch==" in done.stdout and "\nonnxruntime==" in done.stdout
