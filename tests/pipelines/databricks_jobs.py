"""A job of the Databricks bundle, run here: a stand-in for the scheduler, with the real commands and notebooks."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlops.errors import MlopsError
from pipelines.cli import main
from tests.infra.bundle import BUNDLE

__all__ = ["run_job", "run_notebook"]


class _Widgets:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def get(self, name: str) -> str:
        return self._values[name]


class _TaskValues:
    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: object) -> None:
        self.values[key] = str(value).lower() if isinstance(value, bool) else str(value)


def run_notebook(path: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Run a notebook, and return the task values that it sets, as conditions compare them."""
    values = _TaskValues()
    dbutils = SimpleNamespace(widgets=_Widgets(parameters), jobs=SimpleNamespace(taskValues=values))
    runpy.run_path(str(path), init_globals={"dbutils": dbutils})
    return values.values


def run_job(
    job: dict[str, Any],
    parameters: Mapping[str, str],
    others: Mapping[str, Any],
    *,
    started: str = "2026-02-01",
) -> dict[str, str]:
    """Run a job's tasks in their order; return what became of each.

    That is `success`, `failed`, `excluded`, or of a condition `true` or `false`.

    Args:
        job: with its references to variables resolved.
        parameters: the job's, instead of their defaults.
        others: the jobs that it may start, by the key of the task that does.
        started: the day on which the run does.
    """
    known = {f"job.parameters.{each['name']}": each["default"] for each in job.get("parameters", ())}
    known |= {f"job.parameters.{name}": value for name, value in parameters.items()}
    of_run = {"job.run_id": "11", "job.start_time.iso_date": started}
    known = {name: _told(value, of_run) for name, value in known.items()} | of_run
    states: dict[str, str] = {}
    waiting = list(job["tasks"])
    while waiting:
        task = next(t for t in waiting if all(d["task_key"] in states for d in t.get("depends_on", ())))
        waiting.remove(task)
        key = task["task_key"]
        if not _may_run(task, states):
            states[key] = "excluded"
        elif "run_job_task" in task:
            asked = task["run_job_task"].get("job_parameters", {})
            told = {name: _told(value, known) for name, value in asked.items()}
            inner = run_job(others[key], told, others, started=started)
            ended = {f"{key}.{name}": state for name, state in inner.items()}
            states |= ended | {key: "failed" if "failed" in ended.values() else "success"}
        else:
            states[key] = _run(task, known)
    return states


def _may_run(task: dict[str, Any], states: Mapping[str, str]) -> bool:
    before = [states[d["task_key"]] for d in task.get("depends_on", ())]
    if task.get("run_if") == "NONE_FAILED":
        return "failed" not in before and set(before) != {"excluded"}
    met = [states[d["task_key"]] == d.get("outcome", "success") for d in task.get("depends_on", ())]
    return any(met) if task.get("run_if") == "AT_LEAST_ONE_SUCCESS" else all(met)


def _told(text: str, known: Mapping[str, str]) -> str:
    """A text with the values of its references."""
    return re.sub(r"\{\{([^}]*)\}\}", lambda match: known[match[1]], text)


def _run(task: dict[str, Any], known: dict[str, str]) -> str:
    def told(text: str) -> str:
        return _told(text, known)

    if condition := task.get("condition_task"):
        same = told(condition["left"]) == told(condition["right"])
        return str(same == (condition["op"] == "EQUAL_TO")).lower()
    try:
        if wheel := task.get("python_wheel_task"):
            main([told(word) for word in wheel["parameters"]])
        else:
            asked = task["notebook_task"]
            given = {name: told(text) for name, text in asked.get("base_parameters", {}).items()}
            path = BUNDLE / "resources" / asked["notebook_path"]
            for name, value in run_notebook(path, given).items():
                known[f"tasks.{task['task_key']}.values.{name}"] = value
    except (
        MlopsError,
        SystemExit,
    ):  # the latter with any code: Databricks is reported to take 0 for a failure
        return "failed"
    return "success"
