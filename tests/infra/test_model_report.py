"""What a change of the model is worth: each side is trained by its own code, and compared whatever the gate says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.infra.programs import Programs
from tests.infra.workflows import load

ROOT = Path(__file__).resolve().parents[2]
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
COMPARED = "compare"
# A `python` that says whose code it would run; a run of the change leaves $RELEASE and ends with $ENDS.
STAND_IN = f"""
echo "$PYTHONPATH $(pwd) $([ -f changed ] && echo new || echo old)"
case "$*" in
    *{COMPARED}*) ;;
    *"main() simulate "*) exit "${{SIMULATES:-0}}" ;;
    *"/head run "*)
        if [ -n "${{RELEASE:-}}" ]; then mkdir -p "$4"; printf '%s\n' "$RELEASE" >"$4/release.json"; fi
        exit "${{ENDS:-0}}" ;;
esac
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone that knows the branch `main` as origin's only, one commit further than that."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    (origin / "infra" / "delivery").mkdir(parents=True)
    script = origin / "infra" / "delivery" / "model-report"
    script.write_bytes((ROOT / "infra" / "delivery" / "model-report").read_bytes())
    script.chmod(0o755)
    (origin / ".gitignore").write_text("/runs/\n")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*GIT, *words], cwd=origin, check=True)
    subprocess.run([*GIT, "clone", "-q", str(origin), str(clone)], check=True)
    subprocess.run([*GIT, "checkout", "-q", "-b", "change"], cwd=clone, check=True)
    subprocess.run([*GIT, "branch", "-q", "-D", "main"], cwd=clone, check=True)
    (clone / "changed").touch()
    for words in (["add", "-A"], ["commit", "-qm", "two"]):
        subprocess.run([*GIT, *words], cwd=clone, check=True)
    return clone


def report(
    repository: Path, tmp_path: Path, base: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How the script ended, and what it told `mlops`."""
    programs = Programs(tmp_path)
    programs.add("python", STAND_IN)
    script = repository / "infra" / "delivery" / "model-report"
    done = programs.run([script, base], repository, PYTHON_BIN=str(programs.folder / "python"), **variables)
    return done, [call.partition("main() ")[2] for call in programs.calls]


@pytest.mark.parametrize("base", ["HEAD^1", "main", "origin/main"])
def test_a_model_report_trains_the_base_with_the_base_s_code(
    repository: Path, tmp_path: Path, base: str
) -> None:
    done, told = report(repository, tmp_path, base)
    assert done.returncode == 0, done.stderr
    work = repository / "runs" / "model"
    tree = work / "tree"
    assert done.stdout.splitlines() == [
        f"{tree} {tree} old",
        f"{tree} {tree} old",
        f"{repository} {repository} new",
        f"{repository} {repository} new",
    ]
    assert told == [
        f"simulate {work}/world --set customers=1500 --set days=63",
        f"--home {work}/base run --events {work}/world",
        f"--home {work}/head run --events {work}/world",
        f"--home {work}/head {COMPARED} {work}/base --out {work}/report",
    ]
    assert not tree.exists()


@pytest.mark.parametrize(
    ("given", "read"), [("a.csv", "{here}/a.csv"), ("/a.csv", "/a.csv"), ("s3://a", "s3://a")]
)
def test_events_that_are_given_are_the_same_for_both_sides(
    repository: Path, tmp_path: Path, given: str, read: str
) -> None:
    """Each side runs in a folder of its own, where the path may lead to another file."""
    done, told = report(repository, tmp_path, "main", EVENTS=given)
    assert done.returncode == 0, done.stderr
    work, events = repository / "runs" / "model", read.format(here=repository)
    assert told[:2] == [f"--home {work}/{side} run --events {events}" for side in ("base", "head")]


def test_a_use_case_without_a_simulator_is_told_to_say_where_its_events_are(
    repository: Path, tmp_path: Path
) -> None:
    done, told = report(repository, tmp_path, "main", SIMULATES="2", EVENTS="")
    assert done.returncode == 2 and "EVENTS=PATH says where" in done.stderr and len(told) == 1


@pytest.mark.parametrize("name", ["model", "retrain"])
def test_a_workflow_that_trains_knows_the_use_case_of_a_fork(name: str) -> None:
    (job,) = load(ROOT / ".github" / "workflows" / f"{name}.yml")["jobs"].values()
    (env,) = [step["env"] for step in job["steps"] if "env" in step]
    assert env["MLOPS_USECASE"] == "${{ vars.MLOPS_USECASE || 'usecases.fraud' }}"
    assert env.get("EVENTS") == ("${{ vars.EVENTS }}" if name == "model" else None)


def test_a_base_that_is_nowhere_is_an_error(repository: Path, tmp_path: Path) -> None:
    done, told = report(repository, tmp_path, "nowhere")
    assert done.returncode == 2 and "no such commit: nowhere" in done.stderr and not told


@pytest.mark.parametrize(
    ("release", "ends", "code", "compared"),
    [
        ('  "version": null', "1", 0, True),  # the gate refuses all: what the report is for
        ('  "version": "2"', "1", 1, True),  # admitted, and then it could not be promoted
        ("", "1", 1, False),  # it could not be trained
        ("", "130", 130, False),
    ],
)
def test_a_change_that_the_gate_refuses_is_compared_and_one_that_does_not_train_fails(
    repository: Path, tmp_path: Path, release: str, ends: str, code: int, compared: bool
) -> None:
    done, told = report(repository, tmp_path, "main", RELEASE=release, ENDS=ends)
    assert done.returncode == code, done.stderr
    assert any(COMPARED in call for call in told) == compared
