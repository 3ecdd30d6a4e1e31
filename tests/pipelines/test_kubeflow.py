"""The compiled pipeline: what a cluster is told, and what no local runner shows."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.errors import ConfigError
from pipelines import kubeflow_components, lifecycle
from pipelines.kubeflow import COMPILED, compile_pipeline
from pipelines.kubeflow_pods import CONFIG_KEYS, PODS, Options
from pipelines.kubeflow_runs import checked
from tests.k8s.manifests import K8S, load

ENGINE_STEPS = {
    "ingest", "update_features", "candidates", "default_training_day", "train_one", "judge", "register", "fill_store",
    "promote", "monitor", "conclude",
}  # fmt: skip
HARMLESS = {"datetime.now", "datetime.now(UTC).date", "first_day.isoformat"}


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


def test_the_compiled_pipeline_is_that_of_the_code(tmp_path: Path) -> None:
    compile_pipeline(Options(), tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == COMPILED.read_text(), "run mlops kubeflow compile"


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
    calls = _calls(name)
    steps = [call.removeprefix("lifecycle.") for call in calls if call.startswith("lifecycle.")]
    assert steps and len(set(steps)) == len(steps)
    assert all(getattr(lifecycle, step).__name__ and step in lifecycle.__all__ for step in steps)
    assert {call for call in calls if not call.startswith(("lifecycle.", "artifacts."))} <= HARMLESS


def test_every_step_is_used_and_once() -> None:
    used = [
        call.removeprefix("lifecycle.")
        for name in COMPONENTS
        for call in _calls(name)
        if "lifecycle." in call
    ]
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
    assert set(train["parameters"]) == {"candidate", "first_day", "fingerprint", "effort", "seed"}


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


def test_nothing_is_deployed_without_an_admitted_version_and_monitoring_comes_after() -> None:
    ((_, admitted),) = _tasks("comp-deploy").items()
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
        assert {"resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(resources)
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
        (settings,) = pod["configMapAsEnv"]
        assert {key["configMapKey"]: key["envVar"] for key in settings["keyToEnv"]} == {
            k: k for k in CONFIG_KEYS
        }
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
        image="registry.example.com/pipeline@sha256:aa",
        accelerated=("mlp-torch",),
        accelerated_image="registry.example.com/cuda@sha256:bb",
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
    assert second["only"]["runtimeValue"]["constant"] == ["mlp-torch"]
    assert set(tasks["register"]["inputs"]["artifacts"]) == {
        "models", "verdicts", "more_models", "more_verdicts",
    }  # fmt: skip


def test_an_accelerator_wants_an_image_that_knows_it() -> None:
    with pytest.raises(ConfigError, match="trains on the CPU; name an image"):
        Options(accelerated=("mlp-torch",))


def _environment() -> dict[str, str]:
    lines = (K8S / "components/pipelines/pipelines.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_arguments_are_checked_against_the_compiled_pipeline(tmp_path: Path) -> None:
    assert checked(COMPILED, {"seed": 3, "monitor": True, "candidates": ["a"]}) == {
        "seed": 3, "monitor": True, "candidates": ["a"],
    }  # fmt: skip
    for arguments, said in (
        ({"sed": 3}, "sed: no such parameter; it has against, as_of"),
        ({"seed": True}, "seed: True is not of type int"),
        ({"events": 3}, "events: 3 is not of type str"),
    ):
        with pytest.raises(ConfigError, match=said):
            checked(COMPILED, arguments)
    with pytest.raises(ConfigError, match="is no compiled pipeline"):
        checked(tmp_path / "none.yaml", {})
