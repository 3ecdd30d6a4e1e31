"""The bundle in `infra/databricks` as Databricks' command line reads it: files merged, references resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["BUNDLE", "GIVEN", "NOTEBOOKS", "TARGETS", "load", "references", "resolved", "upstream"]

BUNDLE = Path(__file__).resolve().parents[2] / "infra" / "databricks"
NOTEBOOKS = BUNDLE / "notebooks"
TARGETS = ("dev", "staging", "prod")
# What the caller gives: variables without a default.
GIVEN = {
    "catalog": "main",
    "group": "analysts",
    "service_principal": "00000000-0000-0000-0000-000000000001",
    "notify": "somebody@example.com",
    "normal_from": "2026-01-01",
    "node_type_id": "i3.xlarge",
}
_REFERENCE = re.compile(r"\$\{([^}]*)\}")


def load() -> dict[str, Any]:
    """`databricks.yml` with what it includes, references as they are written."""
    whole = yaml.safe_load((BUNDLE / "databricks.yml").read_text())
    whole["resources"] = {}
    for pattern in whole["include"]:
        for path in sorted(BUNDLE.glob(pattern)):
            for kind, made in yaml.safe_load(path.read_text())["resources"].items():
                there = whole["resources"].setdefault(kind, {})
                assert not there.keys() & made.keys()
                there.update(made)
    return whole


def references(value: Any) -> set[str]:
    """The paths of all `${path}` in a value."""
    if isinstance(value, dict):
        return {path for part in value.values() for path in references(part)}
    if isinstance(value, list):
        return {path for part in value for path in references(part)}
    return set(_REFERENCE.findall(value)) if isinstance(value, str) else set()


def resolved(bundle: dict[str, Any], target: str, part: Any = None) -> Any:
    """The resources, or another part, as a target deploys them. Ids, which only a workspace gives, are made up.

    Raises:
        LookupError: a reference leads nowhere.
    """
    said = bundle["targets"][target]
    own = said.get("variables", {})
    resources = _merged(bundle["resources"], said.get("resources", {}))

    def value_of(path: str) -> Any:
        first, *rest = path.split(".")
        if first == "var":
            (name,) = rest
            declared = bundle["variables"][name]
            value = own.get(name, declared["default"] if "default" in declared else GIVEN[name])
        elif first == "resources":
            kind, key, field = rest
            made = resources[kind][key]
            value = (1 if kind == "jobs" else key) if field == "id" else made[field]
        else:
            value = {"bundle.name": bundle["bundle"]["name"], "bundle.target": target}[path]
        return whole(value)

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(part) for key, part in value.items()}
        if isinstance(value, list):
            return [whole(part) for part in value]
        if not isinstance(value, str):
            return value
        if found := _REFERENCE.fullmatch(value):
            return value_of(found[1])
        return _REFERENCE.sub(lambda match: str(value_of(match[1])), value)

    return whole(resources if part is None else part)


def _merged(one: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(one[key], value) if isinstance(value, dict) and key in one else value
        for key, value in more.items()
    }
    return one | both


def upstream(job: dict[str, Any], key: str) -> set[str]:
    """The tasks that end before one begins.

    Raises:
        KeyError: one waits for a task that is not there.
    """
    tasks = {task["task_key"]: task for task in job["tasks"]}
    found: set[str] = set()
    waiting = [each["task_key"] for each in tasks[key].get("depends_on", ())]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += [each["task_key"] for each in tasks[one].get("depends_on", ())]
    return found
