"""The workflows and the composite actions as data, and which files the modules that they watch are made of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ACTIONS", "ROOT", "WORKFLOWS", "closure", "jobs", "load", "make_targets", "runs", "steps"]

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))


def load(path: Path) -> dict[str, Any]:
    """The file; the key `on` is what YAML 1.1 takes for true."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def jobs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each job of a workflow, as `file: job`, but those that call another workflow."""
    for name, job in load(path)["jobs"].items():
        if "uses" not in job:
            yield f"{path.name}: {name}", job


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Every step of a workflow or a composite action."""
    document = load(path)
    if "runs" in document:
        yield from document["runs"]["steps"]
    for job in document.get("jobs", {}).values():
        yield job if "uses" in job else {}
        yield from job.get("steps", [])


def runs(job: dict[str, Any]) -> list[str]:
    """The `make` targets that a job calls, in order, with one for each time."""
    line = re.compile(r"^(?:sudo .+ )?make ([a-z-]+)(?: ARGS=\S+)?$", re.MULTILINE)
    found = [line.findall(step.get("run", "")) for step in job["steps"]]
    return [target for part in found for target in part]


def make_targets() -> set[str]:
    """The targets that the Makefile documents."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def closure(*modules: str) -> set[str]:
    """The files of these modules and of all that they import of this project."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        stem = ROOT.joinpath(*waiting.pop().split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            name = str(path.relative_to(ROOT))
            if name in found or not path.is_file():
                continue
            found.add(name)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    waiting += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
                elif isinstance(node, ast.Import):
                    waiting += [one.name for one in node.names]
    return found
