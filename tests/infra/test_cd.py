"""From a commit to a cluster and back: who waits for whom, who gets which secret, who signs, what may be released."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.programs import Programs
from tests.infra.workflows import ROOT, WORKFLOWS, jobs, load, steps

JOBS = dict(job for path in WORKFLOWS for job in jobs(path))
CD = load(ROOT / ".github" / "workflows" / "cd.yml")["jobs"]
ROLLOUT = load(ROOT / ".github" / "workflows" / "rollout.yml")


def test_a_released_image_is_built_from_no_cache() -> None:
    """Whoever can write a cache, as a pull request's run can, must not get into what is signed."""
    for name in ("cd.yml", "rollout.yml"):
        path = ROOT / ".github" / "workflows" / name
        assert "actions/cache" not in path.read_text() and "actions/prepare" not in path.read_text()
        builders = [step for step in steps(path) if "setup-buildx" in step.get("uses", "")]
        assert all(step["with"]["cache-binary"] is False for step in builders)


def test_production_follows_staging_waits_for_a_person_and_can_be_taken_back() -> None:
    assert CD["staging"]["needs"] == "sign" and CD["production"]["needs"] == ["staging", "guarded"]
    assert CD["production"]["if"] == "github.ref_type == 'tag'"
    (_, guarded) = CD["guarded"]["steps"]
    assert guarded["env"]["ENVIRONMENT"] == CD["production"]["with"]["environment"]
    for role in ("staging", "production"):
        assert CD[role]["uses"] == "./.github/workflows/rollout.yml"
        assert CD[role]["with"]["environment"] == role
    rollout = ROLLOUT["jobs"]
    assert all(job["environment"] == "${{ inputs.environment }}" for job in rollout.values())
    # A person is asked for each job of an environment, so nothing of a rollout may be a second one.
    assert rollout["deploy"]["if"] == "github.event_name == 'push'"
    assert rollout["roll-back"]["if"] == "github.event_name == 'workflow_dispatch'" and len(rollout) == 2


def test_nothing_is_signed_before_ci_has_passed_for_it_on_main() -> None:
    assert CD["sign"]["needs"] == ["index", "checked"]
    (checkout, check) = CD["checked"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0 and check["env"]["COMMIT"] == "${{ github.sha }}"
    on = load(ROOT / ".github" / "workflows" / "ci.yml")["on"]
    assert on["push"]["branches"] == ["main"]


def test_nothing_leaves_a_repository_before_its_owner_has_said_so() -> None:
    """A fork's first push would fill its owner's registry, and write its name into a public log."""
    first = {name: job for name, job in CD.items() if "needs" not in job}
    assert set(first) == {"checked", "build"}
    assert {job["if"] for job in first.values()} == {"vars.PUBLISH == 'on'"}
    assert not [job for job in CD.values() if re.search(r"always\(|failure\(|cancelled\(", job.get("if", ""))]


def test_a_called_workflow_is_handed_each_secret_that_it_reads() -> None:
    """Of an environment's secrets it gets those whose names its caller passes on; the others are empty there."""
    text = (ROOT / ".github" / "workflows" / "rollout.yml").read_text()
    read = set(re.findall(r"secrets\.(\w+)", text)) - {"GITHUB_TOKEN"}
    assert read == {"KUBE_CONFIG", "SMOKE_KEY"} == set(ROLLOUT["on"]["workflow_call"]["secrets"])
    for role in ("staging", "production"):
        assert CD[role]["secrets"] == {name: f"${{{{ secrets.{name} }}}}" for name in read}


def test_what_is_deployed_was_signed_by_cd_for_the_very_ref_that_it_is_deployed_for() -> None:
    (step,) = [step for step in ROLLOUT["jobs"]["deploy"]["steps"] if step.get("run") == "make deploy"]
    signer = "https://github.com/${{ github.repository }}/.github/workflows/cd.yml@${{ github.ref }}"
    assert step["env"]["SIGNED_BY"] == signer
    for job in (CD["staging"], CD["production"], ROLLOUT["jobs"]["deploy"]):
        assert job["permissions"] == {"contents": "read", "packages": "read", "attestations": "read"}


def test_taking_a_cluster_back_does_not_wait_for_a_release_that_nobody_approves() -> None:
    assert ROLLOUT["concurrency"] == {
        "group": "rollout-${{ inputs.environment }}",
        "cancel-in-progress": "${{ github.event_name == 'workflow_dispatch' }}",
    }
    (cancelled,) = [step for step in ROLLOUT["jobs"]["deploy"]["steps"] if step.get("if") == "cancelled()"]
    (deploy,) = [step for step in ROLLOUT["jobs"]["deploy"]["steps"] if step.get("run") == "make deploy"]
    assert cancelled["run"] == "make roll-back" and cancelled["env"]["RELEASE"] == deploy["env"]["VERSION"]
    assert cancelled["env"]["CANCELLED"]
    (by_hand,) = [step for step in ROLLOUT["jobs"]["roll-back"]["steps"] if "run" in step]
    assert by_hand["env"]["RELEASE"] == "${{ inputs.release }}"
    smoke = {name for name in deploy["env"] if name.startswith("SMOKE")}
    assert smoke == {name for name in by_hand["env"] if name.startswith("SMOKE")}
    asked = re.search(r"^smoke:.*\n(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert asked is not None and smoke == set(re.findall(r"SMOKE_\w+", asked[1])) | {"SMOKE_KEY"}


def test_each_part_is_scanned_before_it_is_joined_and_all_is_attested_before_it_is_signed() -> None:
    def order(name: str, *words: str) -> list[int]:
        used = [step.get("uses", step.get("run", "")) for step in JOBS[name]["steps"]]
        return [next(n for n, text in enumerate(used) if what in text) for what in words]

    for places in (
        order("cd.yml: build", "make publish", "scan-action", "upload-artifact"),
        order("cd.yml: sign", "attest-build-provenance", "cosign-installer", "make sign"),
    ):
        assert places == sorted(places)


def test_what_is_built_for_several_processors_has_one_list_of_packages_for_all() -> None:
    """Bills of materials are written with amd64's markers, infra/supply/sbom.py."""
    matrix = JOBS["cd.yml: build"]["strategy"]["matrix"]["include"]
    several = {line["image"] for line in matrix if line["arch"] != "amd64"}
    assert several == {"serving"}
    for name in several:
        assert "platform_machine" not in (ROOT / "infra" / "lock" / f"{name}.txt").read_text()


def test_the_machine_that_retrains_runs_main_alone() -> None:
    assert JOBS["retrain.yml: retrain"]["if"] == (
        "vars.RETRAIN_RUNNER != '' && github.ref == 'refs/heads/main'"
    )


def test_each_variable_of_the_repository_that_a_workflow_reads_is_among_the_settings() -> None:
    settings = (ROOT / "docs" / "delivery.md").read_text().partition("## What to set in a repository")[2]
    read = {name for path in WORKFLOWS for name in re.findall(r"vars\.(\w+)", path.read_text())}
    assert {"PUBLISH", "DEPLOY"} <= read
    assert not {name for name in read if f"`{name}`" not in settings.partition("\n## ")[0]}


def test_the_settings_say_from_where_each_environment_may_be_used_and_who_sets_tags() -> None:
    """Without such a rule a branch of anybody who may push reads an environment's secrets."""
    text = (ROOT / "docs" / "delivery.md").read_text()
    for name, refs in (
        ("staging", "`main`, tags `v*`"),
        ("production", "tags `v*`"),
        ("retraining", "`main`"),
    ):
        assert f"| environment `{name}` | deployment branches and tags | only {refs}" in text
    assert "| rules of tags `v*` |" in text
    named = {"staging", "production", "retraining"}
    used = {job["environment"] for job in JOBS.values() if "environment" in job} - {
        "${{ inputs.environment }}"
    }
    assert used <= named and {CD[role]["with"]["environment"] for role in ("staging", "production")} <= named


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def commits(tmp_path: Path) -> Path:
    """A clone of a repository whose main has two commits, with a third beside it."""
    origin = tmp_path / "origin"
    git = [
        "git",
        "-C",
        str(origin),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True)
    for number in ("one", "two"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", number], check=True)
    subprocess.run([*git, "-c", "tag.gpgsign=false", "tag", "-a", "v1", "-m", "one", "main~1"], check=True)
    subprocess.run([*git, "checkout", "-q", "-b", "side"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "three"], check=True)
    subprocess.run(["git", "clone", "-q", origin, tmp_path / "clone"], check=True)
    return tmp_path / "clone"


CHECKED = Path(__file__).resolve().parents[2] / "infra" / "delivery" / "checked"


def test_a_commit_is_released_when_it_is_on_main_and_ci_passed_there(
    commits: Path, programs: Programs
) -> None:
    programs.add("gh", '[ "$2" != list ] || echo 77')
    for commit in ("origin/main", "v1"):
        done = programs.run([CHECKED, commit], commits)
        assert done.returncode == 0, done.stderr
    listed, watched = programs.calls[-2:]
    one = subprocess.run(
        ["git", "rev-parse", "origin/main~1"], cwd=commits, capture_output=True, text=True, check=True
    )
    assert f"--workflow ci.yml --commit {one.stdout.strip()} --branch main --event push" in listed
    assert watched.startswith("gh run watch 77 --exit-status")


@pytest.mark.parametrize("commit", ["origin/side", "nothing"])
def test_a_commit_that_is_not_on_main_is_not_released(commits: Path, programs: Programs, commit: str) -> None:
    assert programs.run([CHECKED, commit], commits).returncode != 0
    assert programs.calls == []


def test_a_commit_that_ci_failed_or_never_ran_for_is_not_released(commits: Path, programs: Programs) -> None:
    programs.add("gh", "case $2 in list) echo 77 ;; watch) exit 1 ;; esac")
    done = programs.run([CHECKED, "origin/main"], commits)
    assert done.returncode == 1 and "ci did not pass" in done.stderr
    programs.add("gh")
    programs.add("sleep")
    done = programs.run([CHECKED, "origin/main"], commits)
    assert done.returncode == 1 and "ci did not run" in done.stderr
    assert programs.calls.count("sleep 15") == 19


def test_a_gh_that_is_not_there_or_is_refused_is_said_at_once(commits: Path, programs: Programs) -> None:
    programs.add("sleep")
    programs.add("gh", "echo HTTP 401: Bad credentials >&2; exit 1")
    done = programs.run([CHECKED, "origin/main"], commits)
    assert done.returncode == 2 and "HTTP 401" in done.stderr and "gh does not tell" in done.stderr
    (programs.folder / "gh").unlink()
    (programs.folder / "dirname").symlink_to("/usr/bin/dirname")
    done = programs.run([CHECKED, "origin/main"], commits, PATH=str(programs.folder))
    assert done.returncode == 2 and done.stderr == "checked: gh is not installed\n"
    assert not [call for call in programs.calls if call.startswith("sleep")]


ASKS = {"type": "required_reviewers", "reviewers": [{"type": "Team", "reviewer": {"slug": "operators"}}]}
BRANCHES = {"type": "branch_policy"}


@pytest.mark.parametrize(
    ("rules", "code"),
    [([BRANCHES, ASKS], 0), ([BRANCHES], 1), ([ASKS | {"reviewers": []}], 1), ([], 1), (None, 1)],
)
def test_an_environment_is_guarded_where_a_person_is_asked(
    tmp_path: Path, programs: Programs, rules: object, code: int
) -> None:
    answer = {"name": "production"} | ({} if rules is None else {"protection_rules": rules})
    programs.add("gh", f"echo '{json.dumps(answer)}'")
    done = programs.run([CHECKED.with_name("guarded"), "production"], tmp_path)
    assert done.returncode == code and (code == 0 or "nobody is asked before production" in done.stderr)
    assert programs.calls == ["gh api repos/{owner}/{repo}/environments/production"]


def test_an_environment_of_which_nothing_is_told_is_not_guarded(tmp_path: Path, programs: Programs) -> None:
    programs.add("gh", "echo 'gh: Not Found (HTTP 404)' >&2; exit 1")
    done = programs.run([CHECKED.with_name("guarded"), "production"], tmp_path)
    assert done.returncode == 2 and "gh does not tell who is asked before production" in done.stderr
