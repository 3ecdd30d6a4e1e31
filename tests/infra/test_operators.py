"""What Kubeflow's Spark operator and Trainer are given: current, of the cron jobs' kind, and what their models know."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from infra import manifests
from infra.spark import application
from infra.trainer import train_job
from mlops.contract import UseCase
from mlops.errors import InputError
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.cli import main
from pipelines.commands_model import train
from tests.serving.protocols.environments import installed, said_by

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


def cron_job() -> Resource:
    """The pod of the cron jobs."""
    pod = yaml.safe_load((ROOT / "k8s/components/pipelines/pod.yaml").read_text())
    return pod["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_what_is_committed_is_what_is_written(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(f"MLOPS_{name.upper()}", raising=False)
    out = tmp_path / "out.yaml"
    manifests.main(writer.MODULE, writer.TARGET, writer.Options, writer.rendered, ["--out", str(out)])
    assert out.read_text() == writer.TARGET.read_text()
    assert capsys.readouterr().out == f"written: {out}\n"


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_manifests_are_printed_and_the_committed_file_stays_unless_it_is_named(
    writer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "committed.yaml"
    manifests.main(writer.MODULE, target, writer.Options, writer.rendered, ["--namespace", "own"])
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [resource["metadata"]["namespace"] for resource in printed] == ["own", "own"]
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--candidate", "nope"], "no candidate 'nope'; choose one of "),
        (["--train-from", "july"], "--train-from: 'july' is no day"),
        (["--train-from", "2018-02-30"], "--train-from: '2018-02-30' is no day"),
    ],
)
def test_a_training_that_cannot_be_is_refused_where_it_is_written(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manifests.main(train_job.MODULE, train_job.TARGET, train_job.Options, train_job.rendered, words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


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


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_each_run_has_a_name_of_its_own_and_its_policy_the_same(
    writer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for name in ("run-2026-01-31", "run-2026-02-01"):
        manifests.main(writer.MODULE, writer.TARGET, writer.Options, writer.rendered, ["--name", name])
        job, policy = yaml.safe_load_all(capsys.readouterr().out)
        assert job["metadata"]["name"] == name
        made.append(policy)
    assert made[0] == made[1]
    for wrong in ("2026-01-31", "Run", "a" * 41, "run-"):
        with pytest.raises(SystemExit) as ended:
            manifests.main(writer.MODULE, writer.TARGET, writer.Options, writer.rendered, ["--name", wrong])
        assert ended.value.code == 2 and "argument --name: " in capsys.readouterr().err


def test_a_candidate_whose_name_is_no_train_job_s_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UseCase, "candidate", lambda *_: None)
    with pytest.raises(InputError, match="'MLP_torch' is no name of a TrainJob; give one with --name"):
        training(candidate="MLP_torch")
    assert training(candidate="MLP_torch", name="mlp")


def test_an_accelerator_is_asked_for_once_a_process() -> None:
    limits = training(accelerator="nvidia.com/gpu", processes=4)["trainer"]["resourcesPerNode"]["limits"]
    assert limits["nvidia.com/gpu"] == "4"
    assert set(training()["trainer"]["resourcesPerNode"]["limits"]) == {"memory"}


def test_the_driver_s_words_take_the_lifecycle_s_own_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that does on a cluster is tests/system/test_spark_cluster.py's."""
    taken: list[Settings] = []

    def step(settings: Settings, **_: object) -> dict[str, int]:
        taken.append(settings)
        return {}

    monkeypatch.setattr(lifecycle, "compute_features", step)
    main(["--home", str(tmp_path), *spark_application()["arguments"]])
    assert [settings.home for settings in taken] == [tmp_path]


def test_torchrun_s_words_are_a_training_s() -> None:
    trainer = training(candidate="gru-torch", effort="standard", train_from="2018-07-25")["trainer"]
    assert trainer["command"] == ["torchrun"] and trainer["args"][:3] == ["-m", "pipelines", "train"]
    told = train.make_context("train", trainer["args"][3:]).params
    assert (told["only"], told["effort"]) == (("gru-torch",), "standard")
    assert told["train_from"] == date(2018, 7, 25)
    assert train.make_context("train", training()["trainer"]["args"][3:]).params["train_from"] is None


def test_a_training_is_told_of_tables_elsewhere_as_the_cron_jobs_are() -> None:
    (container,) = cron_job()["containers"]
    (secret,) = (each["secretRef"] for each in container["envFrom"] if "secretRef" in each)
    of_storage = [
        variable["valueFrom"]["secretKeyRef"]
        for variable in training()["trainer"]["env"]
        if variable["name"].startswith(("AWS_", "MLOPS_EVENTS", "MLOPS_FEATURES"))
    ]
    assert {each["key"] for each in of_storage} >= {
        "MLOPS_EVENTS_URI",
        "MLOPS_FEATURES_URI",
        "AWS_ENDPOINT_URL",
    }
    assert all(each == secret | {"key": each["key"]} for each in of_storage)
    told = msgspec.structs.replace(SETTINGS, features_uri="s3://bucket/features")
    job, policy = train_job.rendered(told, train_job.Options())
    names = [variable["name"] for variable in job["spec"]["trainer"]["env"]]
    assert len(names) == len(set(names))
    assert {"protocol": "TCP", "port": 443} in [
        port for rule in policy["spec"]["egress"] for port in rule.get("ports", ())
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--executors", "0"], "--executors: '0' is not a whole number of at least 1"),
        (["--python-memory", "2 GB"], "--python-memory: '2 GB' is not such as 512m or 2g"),
        (["--cores", "many"], "--cores: 'many' is not a whole number"),
        (["--name", "A"], "--name: 'A' is not a name of small letters, digits and hyphens"),
    ],
)
def test_an_option_that_does_not_fit_is_said_in_a_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        manifests.main(application.MODULE, tmp_path / "x", application.Options, application.rendered, words)
    assert ended.value.code == 2 and f"error: argument {said}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [application, train_job])
def test_help_tells_of_each_option(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        manifests.main(module.MODULE, module.TARGET, module.Options, module.rendered, ["--help"])
    said = capsys.readouterr().out
    options = [field.name.replace("_", "-") for field in msgspec.structs.fields(module.Options)]
    assert all(re.search(rf"--{name} \w+\s+\w", said) for name in options)


def test_pods_are_the_cron_jobs_user_with_their_volumes_and_secrets() -> None:
    theirs = cron_job()
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
    assert trained["serviceAccountName"] == theirs["serviceAccountName"]
    own = [
        variable
        for variable in training()["trainer"]["env"]
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "mlflow-database"
    ]
    assert len(own) == 2 and all(variable in container["env"] for variable in own)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.TARGET.name)
def test_its_pods_may_talk_to_each_other_by_a_policy_that_is_valid(writer: Any) -> None:
    _, policy = writer.rendered(SETTINGS, writer.Options())
    kubernetes_validate.validate(policy, "1.34", strict=True)
    assert policy["spec"]["podSelector"]["matchLabels"] == writer.LABELS
    labelled = [spark_application()["driver"]["labels"], spark_application()["executor"]["labels"]]
    if writer is train_job:
        labelled = [pod_of(training())["metadata"]["labels"]]
    assert all(labels == writer.LABELS for labels in labelled)


def test_a_train_job_meets_the_rules_beside_its_types() -> None:
    """Those that kubeflow/trainer's trainjob_types.go states for its CRD, as read there; no API server was asked."""
    job = train_job.rendered(SETTINGS, train_job.Options(accelerator="nvidia.com/gpu", processes=4))[0]
    trainer, pod = job["spec"]["trainer"], pod_of(job["spec"])
    (node,) = pod["spec"]["containers"]
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    assert len(job["metadata"]["name"]) <= 63 and len(trainer["image"]) <= 500
    assert job["spec"]["activeDeadlineSeconds"] >= 1
    assert pod["metadata"].keys() <= {"labels", "annotations"}
    assert node.keys() <= {"name", "volumeMounts", "securityContext"}  # its environment is the trainer's
    for lists in (trainer["env"], pod["spec"]["volumes"], node["volumeMounts"]):
        names = [each["name"] for each in lists]
        assert len(names) == len(set(names)) <= 128
    assert max(len(trainer["command"]), len(trainer["args"])) <= 128


def test_a_spark_application_meets_the_rules_beside_its_types() -> None:
    """Those that kubeflow/spark-operator's sparkapplication_types.go states for its CRD, as read there."""
    made = spark_application()
    assert made["type"] in {"Java", "Python", "Scala", "R"} and made["mode"] in {"cluster", "client"}
    assert made["pythonVersion"] in {"2", "3"}
    restart = made["restartPolicy"]
    assert restart["type"] in {"Never", "Always", "OnFailure"}
    assert min(restart["onFailureRetries"], restart["onSubmissionFailureRetries"]) >= 0
    assert min(restart["onFailureRetryInterval"], restart["onSubmissionFailureRetryInterval"]) >= 1
    assert min(made["driver"]["cores"], made["executor"]["cores"], made["executor"]["instances"]) >= 1
    assert "podName" not in made["driver"]  # for a client in the cluster alone


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
