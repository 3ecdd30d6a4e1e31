"""The lock files: complete, checked by hash, for CPUs, and the same for everybody."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "infra" / "lock"
GPU = re.compile(r"nvidia|cuda|cudnn|cupy|triton|rocm", re.IGNORECASE)
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


@pytest.mark.parametrize("lock", ["all", "serving", "build"])
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if PIN.match(entry)]
    assert entries
    assert not [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]


@pytest.mark.parametrize("lock", ["all", "serving", "build"])
def test_no_lock_names_a_host_or_an_index(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    assert not re.findall(r"https?:|file:|@ |--(?:index|extra|find)\S*", text)


@pytest.mark.parametrize("lock", ["serving", "build"])
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
    assert _pins("torch") == {"torch": {"2.13.0"}}
    assert "torch" not in _pins("all")
    texts = [
        path.read_text() for path in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "infra" / "setup")
    ]
    assert not [text for text in texts if re.search(r"torch\s*==", text)]
    assert importlib.metadata.version("torch").partition("+")[0] == "2.13.0"
