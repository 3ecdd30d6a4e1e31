"""What Kubeflow's Spark operator and Trainer are given: current, of the cron jobs' kind, and what their models know."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from infra import manifests
from infra.spark import application
from infra.trainer import train_job
from mlops.settings import Settings
from tests.serving.protocols.environments import installed, said_by
from training.__main__ import spec_of

ROOT = Path(__file__).resolve().parents[2]
OPERATORS = Path(__file__).with_name("operators")
WRITERS = [application, train_job]
SETTINGS = Settings(home=Path(manifests.HOME))

Resource = dict[str, Any]


def spark_application(settings: Settings = SETTINGS, **options: Any) -> Resource:
    return application.rendered(settings, application.Options(**options))[0]["spec"]


def training(**options: Any) -> Resource:
    return train_job.rendered(SETTINGS, train_job.Options(**options))[0]["spec"]


def pod_of(job: Resource) -> Resource:
    (patch,) = job["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return node["template"]["spec"]["template"]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_what_is_committed_is_what_is_written(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(f"MLOPS_{name.upper()}", raising=False)
    out = tmp_path / "out.yaml"
    manifests.main(writer.MODULE, writer.TARGET, writer.Options, writer.rendered, ["--out", str(out)])
    assert out.read_text() == writer.TARGET.read_text()


def test_settings_and_options_are_in_it_and_nothing_that_may_be_secret() -> None:
    settings = msgspec.structs.replace(
        SETTINGS,
        usecase="usecases.other",
        spark_memory="8g",
        spark_conf="spark.sql.shuffle.partitions=200",
        store="redis://:secret@redis",
        tracking_uri="postgresql://u:secret@db",
    )
    made = spark_application(settings, image="r/spark@sha256:1", executors=8, cores=4, memory="3g")
    assert made["image"] == "r/spark@sha256:1"
    assert {name: made["executor"][name] for name in ("instances", "cores", "memory", "memoryOverhead")} == {
        "instances": 8,
        "cores": 4,
        "memory": "3g",
        "memoryOverhead": "4g",
    }
    assert made["driver"]["memory"] == "8g"
    assert {variable["name"]: variable["value"] for variable in made["driver"]["env"]} == {
        "MLOPS_HOME": "/mlops/home",
        "MLOPS_USECASE": "usecases.other",
        "MLOPS_SPARK_MASTER": "k8s://https://kubernetes.default.svc",
        "MLOPS_SPARK_MEMORY": "8g",
        "MLOPS_SPARK_CONF": "spark.sql.shuffle.partitions=200",
    }
    assert "secret@" not in yaml.safe_dump(made)


def test_an_accelerator_is_asked_for_once_a_process() -> None:
    limits = training(accelerator="nvidia.com/gpu", processes=4)["trainer"]["resourcesPerNode"]["limits"]
    assert limits["nvidia.com/gpu"] == "4"
    assert set(training()["trainer"]["resourcesPerNode"]["limits"]) == {"memory"}


def test_torchrun_s_words_are_a_training_s() -> None:
    trainer = training(candidate="gru-torch", effort="standard")["trainer"]
    assert trainer["command"] == ["torchrun"] and trainer["args"][:2] == ["-m", "training"]
    spec = spec_of(trainer["args"][2:])
    assert (spec.candidate, spec.effort, spec.first_day) == ("gru-torch", "standard", "2018-07-25")


@pytest.mark.parametrize("words", [["--executors", "0"], ["--memory", "2 GB"], ["--cores", "many"]])
def test_an_option_that_does_not_fit_is_said_in_a_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manifests.main(application.MODULE, tmp_path / "x", application.Options, application.rendered, words)
    assert ended.value.code == 2 and f"`$.{words[0][2:]}`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pods_are_the_cron_jobs_user_with_their_volumes_and_secrets() -> None:
    pod = yaml.safe_load((ROOT / "k8s/components/pipelines/pod.yaml").read_text())
    theirs = pod["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = theirs["containers"]
    assert theirs["securityContext"] == manifests.POD_SECURITY
    assert container["securityContext"].items() <= manifests.CONTAINER_SECURITY.items()
    volumes = {volume["name"]: volume for volume in theirs["volumes"]}
    mounts = container["volumeMounts"]
    features, trained = spark_application(), pod_of(training())["spec"]
    for mine in (features["driver"], features["executor"], trained["containers"][0]):
        assert all(mount in mounts for mount in mine["volumeMounts"])
    assert all(volume == volumes[volume["name"]] for volume in (*features["volumes"], *trained["volumes"]))
    secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
    assert {source["secretRef"]["name"] for source in features["driver"]["envFrom"]} <= secrets
    variables = training()["trainer"]["env"]
    assert all(variable in container["env"] for variable in variables if "valueFrom" in variable)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_its_pods_may_talk_to_each_other_by_a_policy_that_is_valid(writer: Any) -> None:
    _, policy = writer.rendered(SETTINGS, writer.Options())
    kubernetes_validate.validate(policy, "1.34", strict=True)
    assert policy["spec"]["podSelector"]["matchLabels"] == writer.LABELS
    labelled = [spark_application()["driver"]["labels"], spark_application()["executor"]["labels"]]
    if writer is train_job:
        labelled = [pod_of(training())["metadata"]["labels"]]
    assert all(labels == writer.LABELS for labels in labelled)


def test_hadolint_has_nothing_to_say_of_the_image() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    file = ROOT / "infra" / "spark" / "Dockerfile"
    done = subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.system
def test_the_projects_own_models_know_every_field(tmp_path: Path) -> None:
    """The models that are made from the Go types of which the CRDs are made, too; not the CRDs' own rules."""
    python = installed(tmp_path / "environment", OPERATORS / "lock.txt")

    def findings(resources: list[Resource]) -> list[str]:
        return list(said_by(python, OPERATORS / "check.py", send=resources))

    everything = [
        application.rendered(SETTINGS, application.Options()),
        train_job.rendered(SETTINGS, train_job.Options(accelerator="nvidia.com/gpu", processes=4)),
    ]
    resources = [rendered[0] for rendered in everything]
    assert findings(resources) == []
    wrong = copy.deepcopy(resources)
    wrong[0]["spec"]["executor"]["memoryOverHead"] = "1g"
    wrong[0]["spec"]["driver"]["volumeMounts"][0]["path"] = "/x"
    wrong[1]["spec"]["trainer"]["numNodes"] = "two"
    found = "\n".join(findings(wrong))
    assert "SparkApplication.spec.executor.memoryOverHead: unknown" in found
    assert "SparkApplication.spec.driver.volumeMounts[0].path: unknown" in found
    assert "numNodes" in found and "valid integer" in found
