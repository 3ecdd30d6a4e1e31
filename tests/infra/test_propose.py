"""The locks brought forward reach a pull request: one branch, one commit on main, nothing where nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.programs import Programs
from tests.infra.workflows import ROOT, load

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
FORGE = r"""
case "$*" in
    *matching-refs*) cat "$HELD/refs" ;;
    *"pr list"*) cat "$HELD/open" ;;
    *) cat >>"$HELD/sent"; echo >>"$HELD/sent"; echo "sha-of-${2##*/}" ;;
esac
"""


def proposed(
    tmp_path: Path, change: bool, refs: str = "", opened: str = "[]"
) -> tuple[list[str], list[str], str]:
    """What `gh` was told, what it was sent, and the commit that was checked out."""
    tree, held = tmp_path / "tree", tmp_path / "held"
    (tree / "infra" / "lock").mkdir(parents=True)
    held.mkdir()
    (held / "refs").write_text(refs)
    (held / "open").write_text(opened)
    for name in ("all", "serving"):
        (tree / "infra" / "lock" / f"{name}.txt").write_text("old==1\n")
    (tree / "other").write_text("as it was\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*GIT, *words], cwd=tree, check=True)
    if change:
        (tree / "infra" / "lock" / "all.txt").write_text("old==2\n")
    (tree / "other").write_text("changed\n")
    (tree / "infra" / "lock" / "stranger.txt").write_text("new==1\n")
    programs = Programs(tmp_path)
    programs.add("gh", FORGE)
    script = ROOT / "infra" / "delivery" / "propose.py"
    done = programs.run([sys.executable, script], tree, HELD=str(held), GH_REPO="o/n", GH_TOKEN="none")
    assert done.returncode == 0, done.stderr
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True)
    sent = (held / "sent").read_text().splitlines() if (held / "sent").exists() else []
    return programs.calls, [line for line in sent if line], head.stdout.strip()


def test_what_changed_is_a_commit_on_main_and_a_pull_request(tmp_path: Path) -> None:
    calls, sent, head = proposed(tmp_path, change=True)
    tree, commit, ref = (json.loads(line) for line in sent[:3])
    assert [(one["path"], one["content"]) for one in tree["tree"]] == [("infra/lock/all.txt", "old==2\n")]
    assert (commit["tree"], commit["parents"]) == ("sha-of-trees", [head])
    assert ref == {"ref": "refs/heads/locks", "sha": "sha-of-commits"}
    assert calls[-1].startswith("gh pr create --head locks --base main")


def test_the_next_week_writes_the_branch_anew_and_leaves_the_pull_request(tmp_path: Path) -> None:
    calls, sent, _ = proposed(tmp_path, True, "refs/heads/locks-old\nrefs/heads/locks\n", '[{"number": 7}]')
    assert json.loads(sent[2]) == {"sha": "sha-of-commits", "force": True}
    assert any("git/refs/heads/locks --method PATCH" in call for call in calls)
    assert not [call for call in calls if "pr create" in call]


def test_where_nothing_changed_nothing_is_proposed(tmp_path: Path) -> None:
    assert proposed(tmp_path, change=False)[0] == []


@pytest.mark.parametrize(("job", "writes"), [("compile", False), ("propose", True)])
def test_who_compiles_may_not_write_and_who_writes_compiles_nothing(job: str, writes: bool) -> None:
    told = load(ROOT / ".github" / "workflows" / "locks.yml")["jobs"][job]
    assert ("write" in told["permissions"].values()) == writes
    assert any("prepare" in step.get("uses", "") for step in told["steps"]) != writes
