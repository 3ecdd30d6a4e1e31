"""The compiled pipeline: what a cluster is told, and what no local runner shows."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from kfp.dsl import Dataset

from mlops.errors import ConfigError, InputError
from mlops.settings import Settings
from mlops.tables import EventTable
from pipelines import kubeflow_artifacts as artifacts
from pipelines import kubeflow_components, lifecycle
from pipelines.kubeflow import COMPILED, compile_pipeline
from pipelines.kubeflow_pods import CONFIG_KEYS, OPTIONAL_KEYS, PODS, Options
from pipelines.kubeflow_steps import RETRIES
from pipelines.training_plan import TrainingPlan
from tests.k8s.manifests import K8S, load

ENGINE_STEPS = {
    "ingest", "update_features", "plan", "train_one", "judge", "register", "fill_store", "promote", "monitor",
    "conclude",
}  # fmt: skip
AGAIN = "compile it again: mlops kubeflow compile --out pipelines/kubeflow.yaml"
HARMLESS = {"datetime.now", "datetime.now(UTC).date"}


def _parts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all(path.read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


SPEC, PLATFORM = _parts(COMPILED)
EXECUTORS = {
    name.removeprefix("exec-"): each["container"]
    for name, each in SPEC["deploymentSpec"]["executors"].items()
}
POD = load("components/pipelines/pod.yaml")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def _tasks(name: str) -> dict[str, Any]:
    dag: dict[str, Any] = SPEC["components"][name]["dag"]["tasks"]
    return dag


def _all_tasks(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every task that runs a container, by the name of its executor."""
    dags = [spec["root"], *spec["components"].values()]
    return [
        (spec["components"][task["componentRef"]["name"]]["executorLabel"].removeprefix("exec-"), task)
        for dag in dags
        for task in dag.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    ]


def _component(name: str) -> ast.FunctionDef:
    component = getattr(kubeflow_components, name)
    tree = ast.parse(inspect.getsource(component.python_func))
    assert isinstance(tree.body[0], ast.FunctionDef)
    return tree.body[0]


COMPONENTS = [name for name in kubeflow_components.__all__ if name != "IMAGE"]


def _calls(name: str) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(_component(name)) if isinstance(node, ast.Call)]


def _steps(name: str) -> list[str]:
    named = [ast.unparse(node) for node in ast.walk(_component(name)) if isinstance(node, ast.Attribute)]
    return [each.removeprefix("lifecycle.") for each in named if each.startswith("lifecycle.")]


def test_the_compiled_pipeline_is_that_of_the_code(tmp_path: Path) -> None:
    compile_pipeline(Options(), tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == COMPILED.read_text(), AGAIN


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_calls_steps_of_the_lifecycle_and_does_nothing_else(name: str) -> None:
    body = _component(name).body
    imports = {
        (node.module, alias.name, alias.asname)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert ("pipelines", "lifecycle", None) in imports
    assert imports <= {
        ("pipelines", "lifecycle", None),
        ("pipelines", "kubeflow_artifacts", "artifacts"),
        ("datetime", "UTC", None),
        ("datetime", "datetime", None),
    }
    kinds = [type(node) for node in body if not isinstance(node, ast.ImportFrom)]
    assert kinds == [ast.Expr, ast.With]  # the docstring, and what is told of its errors
    calls, steps = _calls(name), _steps(name)
    assert steps and len(set(steps)) == len(steps)
    assert all(getattr(lifecycle, step).__name__ and step in lifecycle.__all__ for step in steps)
    assert {call for call in calls if not call.startswith(("lifecycle.", "artifacts."))} <= HARMLESS


def test_a_delivery_is_judged_as_of_the_day_that_the_run_says() -> None:
    assert "artifacts.fresh_day" in _calls("ingest")


def test_every_step_is_used_and_once() -> None:
    used = [step for name in COMPONENTS for step in _steps(name)]
    assert sorted(used) == sorted(ENGINE_STEPS)


def test_nothing_is_installed_when_a_task_starts() -> None:
    assert set(EXECUTORS) == set(PODS)
    for container in EXECUTORS.values():
        assert "pip" not in "".join(container["command"][:-1])
        assert container["image"] == kubeflow_components.IMAGE


def test_artifacts_have_types() -> None:
    def of(component: str, side: str) -> dict[str, str]:
        found = SPEC["components"][f"comp-{component}"][f"{side}Definitions"]["artifacts"]
        return {
            name: each["artifactType"]["schemaTitle"].removeprefix("system.") for name, each in found.items()
        }

    assert of("ingest", "output") == {"events": "Dataset", "validation": "Artifact"}
    assert of("features", "output") == {"table": "Dataset"}
    assert of("train", "output") == {
        "model": "Model", "figures": "Metrics", "decided": "ClassificationMetrics", "report": "HTML",
    }  # fmt: skip
    assert of("judge", "input") == {"model": "Model"}
    assert of("judge", "output") == {"verdict": "Artifact", "figures": "Metrics"}
    assert of("register", "output") == {"release": "Artifact", "model": "Model"}
    assert of("monitor", "output") == {"look": "Artifact", "figures": "Metrics", "report": "HTML"}


def test_only_training_is_cached_and_it_is_known_by_parameters_alone() -> None:
    cached = {name for name, task in _all_tasks(SPEC) if task["cachingOptions"].get("enableCache")}
    assert cached == {"train"}
    train = SPEC["components"]["comp-train"]["inputDefinitions"]
    assert set(train) == {"parameters"}  # an artifact of an earlier task is another one in every run
    assert set(train["parameters"]) == {"candidate", "first_day", "fingerprint", "key", "effort", "seed"}
    asked = _tasks("comp-for-loop-2")["train"]["inputs"]["parameters"]
    assert asked["key"]["parameterExpressionSelector"] == 'parseJson(string_value)["key"]'


@pytest.mark.parametrize("accelerated", [(), ("mlp-torch",)])
def test_a_task_is_shown_under_the_name_by_which_a_cluster_looks_for_its_outputs(
    tmp_path: Path, accelerated: tuple[str, ...]
) -> None:
    compile_pipeline(Options(accelerated=accelerated, accelerated_image="cuda"), tmp_path / "any.yaml")
    spec, _ = _parts(tmp_path / "any.yaml")
    dags = [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]
    for dag in dags:
        shown = {name: task["taskInfo"]["name"] for name, task in dag["tasks"].items()}
        assert all(name == key for key, name in shown.items())
        assert {name for key, name in _references(dag) if key in PRODUCERS} <= set(shown)


PRODUCERS = {"producerTask", "producerSubtask"}


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Every text under a key, however deep."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                yield key, each
            else:
                yield from _references(each)


def test_every_task_is_tried_again_later_and_later() -> None:
    policy = {
        "maxRetryCount": 2,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }
    tasks = _all_tasks(SPEC)
    assert len(tasks) == len(PODS)
    assert all(task["retryPolicy"] == policy for _, task in tasks)


def test_a_step_in_a_loop_is_tried_again_in_its_process_as_a_cluster_may_not() -> None:
    told = {
        name: [each["value"] for each in container.get("env", ()) if each["name"] == RETRIES]
        for name, container in EXECUTORS.items()
    }
    (loop,) = (
        tasks for name in SPEC["components"] if name.startswith("comp-for-loop") for tasks in [_tasks(name)]
    )
    assert {name for name, value in told.items() if value} == set(loop) == {"train", "judge"}
    assert told["train"] == told["judge"] == ["2 30"]
    assert all("artifacts.tried" in _calls(name) for name in loop)


def test_whatever_happens_the_run_is_concluded() -> None:
    conclude = SPEC["root"]["dag"]["tasks"]["conclude"]
    (around,) = set(SPEC["root"]["dag"]["tasks"]) - {"conclude"}
    assert conclude["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert conclude["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == around
    assert "register" in _tasks(SPEC["root"]["dag"]["tasks"][around]["componentRef"]["name"])


def test_candidates_train_side_by_side_and_all_are_entered_together() -> None:
    tasks = _tasks("comp-exit-handler-1")
    (loop,) = (name for name, task in tasks.items() if "parameterIterator" in task)
    assert tasks[loop]["iteratorPolicy"]["parallelismLimit"] == 2
    assert set(_tasks(tasks[loop]["componentRef"]["name"])) == {"train", "judge"}
    entered = tasks["register"]["inputs"]["artifacts"]
    assert {each["taskOutputArtifact"]["producerTask"] for each in entered.values()} == {loop}
    inputs = SPEC["components"]["comp-register"]["inputDefinitions"]["artifacts"]
    assert inputs["models"]["isArtifactList"] and inputs["verdicts"]["isArtifactList"]


def test_nothing_is_deployed_unasked_or_without_an_admitted_version_and_monitoring_comes_after() -> None:
    assert SPEC["root"]["inputDefinitions"]["parameters"]["promote"]["defaultValue"] is False
    ((_, asked),) = _tasks("comp-deploy").items()
    assert (
        asked["triggerPolicy"]["condition"] == "inputs.parameter_values['pipelinechannel--promote'] == true"
    )
    ((_, admitted),) = _tasks(asked["componentRef"]["name"]).items()
    assert (
        admitted["triggerPolicy"]["condition"] == "inputs.parameter_values['pipelinechannel--version'] != ''"
    )
    deployed = _tasks(admitted["componentRef"]["name"])
    assert deployed["promote"]["dependentTasks"] == ["fill-store"]
    looks = [task for task in _tasks("comp-exit-handler-1").values() if "triggerPolicy" in task]
    (look,) = looks
    assert look["triggerPolicy"]["condition"] == "inputs.parameter_values['pipelinechannel--monitor'] == true"
    assert look["dependentTasks"] == ["deploy"]


def test_every_pod_says_what_it_needs() -> None:
    for name, container in EXECUTORS.items():
        resources = container["resources"]
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"]  # as in pod.yaml
        assert resources["resourceCpuRequest"]
        assert "resourceCpuLimit" not in resources and "accelerator" not in resources, name
    memory = {
        n: int(c["resources"]["resourceMemoryRequest"].removesuffix("Gi")) for n, c in EXECUTORS.items()
    }
    heap = int(_environment()["MLOPS_SPARK_MEMORY"].removesuffix("g"))
    assert memory["ingest"] > heap and memory["features"] > heap


def test_pods_mount_what_the_cron_jobs_mount_and_no_more_than_they_need() -> None:
    theirs = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    for name, pod in PLATFORM.items():
        step = name.removeprefix("exec-")
        claims = {mount["mountPath"]: mount["constant"] for mount in pod["pvcMount"]}
        logs = {"/mlops/home/decisions"} if step == "monitor" else set()
        assert set(claims) == {"/mlops/home", "/mlops/home/deployments"} | logs
        assert all(theirs[path] == claim for path, claim in claims.items())
        secrets = [each["secretName"] for each in pod.get("secretAsVolume", ())]
        maps = [each["configMapName"] for each in pod.get("configMapAsVolume", ())]
        assert (secrets, maps) == ((["signing-keys"], []) if step == "train" else ([], ["verify-key"]))
        assert [mount["mountPath"] for mount in pod["emptyDirMounts"]] == ["/tmp"]


def test_settings_and_secrets_are_those_of_the_cron_jobs() -> None:
    theirs = {
        (each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"]): each["name"]
        for each in CONTAINER["env"]
    }
    ours = {
        (secret["secretName"], key["secretKey"]): key["envVar"]
        for pod in PLATFORM.values()
        for secret in pod.get("secretAsEnv", ())
        for key in secret["keyToEnv"]
        if not secret["optional"]
    }
    assert ours == theirs
    assert set(CONFIG_KEYS) == set(_environment()) - {"DELIVERIES", "PREFECT_HOME"}
    for pod in PLATFORM.values():
        needed, more = pod["configMapAsEnv"]
        for settings, keys in ((needed, CONFIG_KEYS), (more, OPTIONAL_KEYS)):
            assert {key["configMapKey"]: key["envVar"] for key in settings["keyToEnv"]} == {
                k: k for k in keys
            }
        assert (needed.get("optional", False), more["optional"]) == (False, True)
        of_secrets = {key["envVar"] for secret in pod.get("secretAsEnv", ()) for key in secret["keyToEnv"]}
        assert not of_secrets.intersection(CONFIG_KEYS)
    every = {f"MLOPS_{field.upper()}" for field in Settings.__struct_fields__}
    assert every == {*CONFIG_KEYS, *OPTIONAL_KEYS, "MLOPS_STORE", "MLOPS_TRACKING_URI"} - {"HOME"}
    delivered = SPEC["root"]["inputDefinitions"]["parameters"]["events"]["defaultValue"]
    assert delivered == _environment()["DELIVERIES"]


def test_pods_run_as_the_user_of_the_image_for_so_long_at_most() -> None:
    user = POD["securityContext"]
    for pod in PLATFORM.values():
        assert pod["securityContext"] == {
            "runAsUser": str(user["runAsUser"]),
            "runAsGroup": str(user["runAsGroup"]),
            "runAsNonRoot": True,
        }
        assert int(pod["activeDeadlineSeconds"]) == 14400


def test_a_candidate_on_an_accelerator_has_its_own_image_nodes_and_loop(tmp_path: Path) -> None:
    options = Options(
        image="registry.example.com/pipeline@sha256:" + "a" * 64,
        accelerated=("mlp-torch",),
        accelerated_image="registry.example.com/cuda@sha256:" + "b" * 64,
        node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
    )
    compile_pipeline(options, tmp_path / "gpu.yaml")
    spec, platform = _parts(tmp_path / "gpu.yaml")
    images = {n: each["container"] for n, each in spec["deploymentSpec"]["executors"].items()}
    (special,) = (n for n, container in images.items() if container["image"] == options.accelerated_image)
    assert all(c["image"] == options.image for n, c in images.items() if n != special)
    accelerator = images[special]["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "1")
    assert platform[special]["nodeSelector"]["labels"] == options.node_selector
    assert platform[special]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    first, second = tasks["plan"]["inputs"]["parameters"], tasks["plan-2"]["inputs"]["parameters"]
    assert first["besides"]["runtimeValue"]["constant"] == ["mlp-torch"]
    assert second["among"]["runtimeValue"]["constant"] == ["mlp-torch"]
    assert first["only"] == second["only"] == {"componentInputParameter": "pipelinechannel--candidates"}
    assert set(tasks["register"]["inputs"]["artifacts"]) == {
        "models", "verdicts", "more_models", "more_verdicts",
    }  # fmt: skip


PLAN = TrainingPlan(first_day="2018-04-10", fingerprint="a", keys={"watchful-trees": "k1", "mlp-torch": "k2"})


def _dataset(fingerprint: str) -> Dataset:
    return Dataset(metadata={"fingerprint": fingerprint})


def test_a_candidate_is_trained_in_one_of_the_loops_and_only_if_it_is_asked_for() -> None:
    table, special = _dataset("a"), ["mlp-torch"]
    here = artifacts.trainings(PLAN, table, among=[], besides=special)
    there = artifacts.trainings(PLAN, table, among=special, besides=[])
    pinned = {"first_day": "2018-04-10", "fingerprint": "a"}
    assert here == [{"candidate": "watchful-trees", "key": "k1", **pinned}]
    assert there == [{"candidate": "mlp-torch", "key": "k2", **pinned}]
    trees = msgspec.structs.replace(PLAN, keys={"watchful-trees": "k1"})
    with pytest.raises(ConfigError, match="none of watchful-trees is trained with an accelerator"):
        artifacts.trainings(trees, table, among=special, besides=[])
    torch = msgspec.structs.replace(PLAN, keys={"mlp-torch": "k2"})
    with pytest.raises(ConfigError, match="none of mlp-torch is trained without an accelerator"):
        artifacts.trainings(torch, table, among=[], besides=special)


def test_no_password_comes_into_what_is_known_of_a_table(tmp_path: Path) -> None:
    kept = Dataset(uri=str(tmp_path / "table"))
    table = EventTable(rows=1, whole_number_ids=(), first_event="", last_event="", fingerprint="a")
    artifacts._keep_table(kept, table, "s3://key:secret@bucket/events?signature=x")
    assert kept.metadata == {"table": "s3://key@bucket/events", "rows": 1, "fingerprint": "a"}


def test_features_that_others_changed_since_are_not_planned_with() -> None:
    with pytest.raises(InputError, match="no longer those that this run computed"):
        artifacts.trainings(PLAN, _dataset("b"), among=[], besides=[])


def test_how_a_run_ended_is_said_in_one_word_by_the_local_runner_and_by_a_cluster() -> None:
    said = {state: artifacts.ended(state) for state in ("SUCCEEDED", "COMPLETE", "FAILED", "RUNNING")}
    assert said == {
        "SUCCEEDED": "SUCCEEDED", "COMPLETE": "SUCCEEDED", "FAILED": "FAILED", "RUNNING": "UNKNOWN",
    }  # fmt: skip


def test_an_accelerator_wants_an_image_that_knows_it() -> None:
    with pytest.raises(ConfigError, match="trains on the CPU; name an image"):
        Options(accelerated=("mlp-torch",))


def _environment() -> dict[str, str]:
    lines = (K8S / "components/pipelines/pipelines.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize(
    "image", ["r/pipeline@sha256:abc", f"r/pipeline@sha256:{'g' * 64}", f"@sha256:{'a' * 64}"]
)
def test_what_is_no_digest_is_refused(image: str) -> None:
    with pytest.raises(ConfigError, match=f"^--image: {image} is no image by digest"):
        Options(image=image)
