"""The rules of the house: who may import whom, how large a module may be, how quickly the command answers."""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MIDDLE = ("usecases", "training", "serving", "monitoring")
PACKAGES = ("mlops", *MIDDLE, "pipelines")
MAY_IMPORT = {
    "mlops": {"mlops"},
    **{name: {"mlops", name} for name in MIDDLE},
    "pipelines": set(PACKAGES),
}
NOT_IN_SERVING = {
    "keras", "mlflow", "model_signing", "pandas", "pydantic", "pyspark", "requests", "sigstore", "sklearn",
    "tensorflow", "torch", "usecases",
}  # fmt: skip
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = sorted(
    path
    for folder in (*PACKAGES, "tests", "infra", "k8s", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
    and path.parent.name not in ("lock", "__pycache__")
    and path.suffix != ".pyc"
    and path.name != "kubeflow.yaml"  # compiled
)


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of all imports in a file, those inside functions too; relative ones made absolute."""
    package = _module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_the_packages_point_one_way(package: str) -> None:
    wrong = [
        f"{_name(path)} imports {name}"
        for path in MODULES
        if path.is_relative_to(ROOT / package)
        for name in _imports(path)
        if (top := name.partition(".")[0]) in (*PACKAGES, "tests") and top not in MAY_IMPORT[package]
    ]
    assert not wrong


def test_nobody_outside_the_use_cases_imports_one_by_name() -> None:
    wrong = [
        f"{_name(path)} imports {name}"
        for path in MODULES
        if not path.is_relative_to(ROOT / "usecases")
        for name in _imports(path)
        if name.startswith("usecases.")
    ]
    assert not wrong


def test_no_module_of_serving_imports_a_training_library() -> None:
    wrong = [
        f"{_name(path)} imports {name}"
        for path in MODULES
        if path.is_relative_to(ROOT / "serving")
        for name in _imports(path)
        if name.partition(".")[0] in NOT_IN_SERVING
    ]
    assert not wrong


def test_the_serving_process_loads_no_training_library_through_others() -> None:
    names = sorted(_module_name(path) for path in (ROOT / "serving").rglob("*.py"))
    code = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "serving.__main__" in names
    assert not NOT_IN_SERVING & set(json.loads(ran.stdout))


def test_no_file_has_more_than_400_lines() -> None:
    assert not [_name(path) for path in SOURCES if len(path.read_text().splitlines()) > 400]


def test_coverage_has_a_floor() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["report"]["fail_under"] >= 90


def test_every_module_says_what_it_is_for() -> None:
    assert not [_name(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]


def test_every_module_lists_what_it_offers() -> None:
    wrong = [
        _name(path)
        for path in MODULES
        if path.name not in ("__init__.py", "__main__.py")
        and not any(
            isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
            for node in ast.parse(path.read_text()).body
        )
    ]
    assert not wrong


def test_the_command_answers_help_in_under_half_a_second() -> None:
    """Of processor time, which does not depend on what else the machine does."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "--help"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "Usage" in ran.stdout
    assert min(seconds) < 0.5
