"""The nightly build: every step is tried, in a copy; its page is published, and a red night told of once."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.delivery import nightly
from infra.delivery.tell import TITLE
from tests.infra.programs import LOCKING_UV, Programs
from tests.infra.workflows import load, make_targets
from tests.signals import hear_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
DELIVERY = ROOT / "infra" / "delivery"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_a_night_tries_every_step_and_its_page_has_the_end_of_what_failed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    steps = nightly.run(
        {
            "good": ("true",),
            "bad": ("sh", "-c", "echo '<b>boom</b>'; exit 5"),
            "absent": (".venv/bin/python", "-c", ""),
            "unseen": ("sh", "-c", "echo 'audit: NOT RUN: nobody answers'; exit 3"),
            "last": ("true",),
        },
        tree,
    )
    assert [step["result"] for step in steps] == ["passed", "failed", "failed", "not run", "passed"]
    status = {
        "day": "2026-02-03",
        "at": "2026-02-03T04:05:06+00:00",
        "commit": "f" * 40,
        "green": False,
        "steps": steps,
        "changed": {"numpy": ("2.4.0", "2.5.0")},
    }
    text = nightly.page(status)
    assert text.startswith("# 2026-02-03: red\n")
    assert "| bad | **failed** |" in text and "\n    <b>boom</b>\n" in text
    assert "1 packages are newer" in text and "| numpy | 2.4.0 | 2.5.0 |" in text
    assert "| unseen | **NOT RUN** |" in text and "\n    audit: NOT RUN: nobody answers\n" in text
    assert "No such file" in text


def test_a_step_that_hangs_is_ended_with_all_that_it_started_and_the_night_before_its_job(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    beats = "while :; do date >>../beats; sleep 0.1; done"
    hangs = ("sh", "-c", f"sh -c '{beats}' & wait")
    first, second = nightly.run({"hangs": hangs, "next": ("true",)}, tree, budget_s=2)
    assert (first["result"], second["result"]) == ("failed", "not run")
    assert "the night's time was up" in first["tail"][-1] and second["tail"] == ["there was no time left"]
    beaten = (tmp_path / "beats").stat().st_size
    time.sleep(1)
    assert (tmp_path / "beats").stat().st_size == beaten
    workflow = load(ROOT / ".github" / "workflows" / "nightly.yml")["jobs"]
    assert workflow["newest"]["timeout-minutes"] >= nightly.BUDGET_S / 60 + 15


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_night_that_is_interrupted_says_so_and_leaves_nothing_that_goes_on(
    tmp_path: Path, programs: Programs, sent: signal.Signals
) -> None:
    """The script itself, in a repository of its own, while its first step runs."""
    checkout = tmp_path / "checkout"
    for name in ("infra/delivery/nightly.py", "infra/lock/all.txt", "infra/lock/torch.txt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=checkout, check=True)
    beats = tmp_path / "beats"
    programs.add("python3", f"while :; do date >>'{beats}'; sleep 0.1; done")
    without = [word for name in nightly.STEPS if name != "lock" for word in ("--without", name)]
    started = subprocess.Popen(
        [sys.executable, checkout / "infra" / "delivery" / "nightly.py", *without],
        env={**os.environ, "PATH": f"{programs.folder}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    until = time.monotonic() + 60
    while not beats.exists() and time.monotonic() < until:
        time.sleep(0.05)
    started.send_signal(sent)
    _, said = started.communicate(timeout=60)
    assert (started.returncode, len(said.splitlines())) == (130, 1) and "interrupted" in said
    beaten = beats.stat().st_size
    time.sleep(1)
    assert beats.stat().st_size == beaten
    assert not (checkout / "runs" / "nightly" / "tree").exists()


def test_a_step_that_was_started_in_the_moment_of_the_interruption_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    begun: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def interrupted(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        begun.append(real(*words, **more))
        signal.raise_signal(signal.SIGTERM)
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the script has it
    try:
        with pytest.raises(KeyboardInterrupt):
            nightly.run({"waits": ("sleep", "600")}, tmp_path / "tree")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert begun[0].returncode == -signal.SIGKILL


def test_a_step_that_says_much_in_few_lines_has_a_page_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    shouts = f"import sys; print(('x' * 100_000 + chr(10)) * {nightly.LINES + 1}); sys.exit(1)"
    (step,) = nightly.run({"shouts": (sys.executable, "-c", shouts)}, tmp_path / "tree")
    assert len(step["tail"]) == nightly.LINES
    assert {len(line) for line in step["tail"] if line} == {nightly.WIDTH + len(" …")}


def test_only_a_night_of_the_main_branch_is_told_of() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "nightly.yml")["jobs"]
    assert workflow["tell"]["if"] == "${{ !cancelled() && github.ref == 'refs/heads/main' }}"


def test_a_night_works_in_a_copy_that_it_takes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step in place of those that take hours: one that changes the lock of the copy."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(nightly, "WORK", tmp_path / "nightly")
    lock = (ROOT / "infra" / "lock" / "all.txt").read_bytes()
    newer = "sed -i.old 's/^numpy==2/numpy==99/' infra/lock/all.txt"
    monkeypatch.setattr(nightly, "STEPS", {"lock": ("sh", "-c", newer)})
    assert nightly.main([]) == 0
    status = json.loads((tmp_path / "nightly" / "status.json").read_text())
    assert status["green"] and list(status["changed"]) == ["numpy"]
    assert status["changed"]["numpy"][1].startswith("99.")
    assert (tmp_path / "nightly" / "status.md").read_text() == nightly.page(status)
    assert not (tmp_path / "nightly" / "tree").exists()
    assert (ROOT / "infra" / "lock" / "all.txt").read_bytes() == lock


def test_a_night_of_which_anything_could_not_be_tried_is_not_green(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the audit where its database does not answer: nothing was looked up, and nothing is known."""
    monkeypatch.setattr(nightly, "WORK", tmp_path / "nightly")
    monkeypatch.setattr(nightly, "STEPS", {"audit": ("sh", "-c", "exit 3")})
    assert nightly.main([]) == 1
    assert not json.loads((tmp_path / "nightly" / "status.json").read_text())["green"]
    assert (tmp_path / "nightly" / "status.md").read_text().splitlines()[0].endswith(": red")


def test_a_step_that_is_left_out_stands_as_such_and_the_night_is_neither_green_nor_of_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(nightly, "WORK", tmp_path / "nightly")
    monkeypatch.setattr(nightly, "STEPS", {"lock": ("false",), "test": ("true",)})
    assert nightly.main(["--without", "lock"]) == 0
    assert not json.loads((tmp_path / "nightly" / "status.json").read_text())["green"]
    text = (tmp_path / "nightly" / "status.md").read_text()
    assert "| lock | left out |" in text and text.splitlines()[0].endswith(": in part")
    assert "green" not in text and "newe" not in text
    with pytest.raises(SystemExit):
        nightly.main(["--without", "lock", "--without", "test"])
    assert "nothing is left to try" in capsys.readouterr().err


def test_the_help_keeps_its_lines_and_names_the_steps_that_can_be_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        nightly.main(["--help"])
    said = capsys.readouterr().out
    assert "\n    python3 infra/delivery/nightly.py --without images\n" in said
    assert "a step to leave out, of lock, setup, audit" in " ".join(said.split())


def test_the_audit_is_asked_itself_as_make_would_hide_that_it_was_not_run() -> None:
    assert nightly.STEPS["audit"] == (".venv/bin/python", "-m", "infra.supply.audit")


def test_the_packages_are_set_up_once_of_the_newest_of_this_minute(
    tmp_path: Path, programs: Programs
) -> None:
    """The lock is compiled by a uv of its own: an environment of the old lock would be mended, not made."""
    tree = tmp_path / "tree"
    (tree / "infra" / "lock").mkdir(parents=True)
    shutil.copy(ROOT / "infra" / "compile-locks", tree / "infra")
    for lock in ("all", "serving", "build", "supply", "pipeline", "torch"):
        (tree / "infra" / "lock" / f"{lock}.txt").write_text("old==1\n")
    (tree / "infra" / "docker").mkdir()
    shutil.copy(ROOT / "infra" / "docker" / "pipeline.Dockerfile", tree / "infra" / "docker")
    programs.add("pip")
    programs.add("uv", LOCKING_UV)
    (programs.folder / "python").symlink_to(sys.executable)
    programs.add("python3", f'mkdir -p "$3/bin" && ln -s "{programs.folder}"/* "$3/bin"')
    done = programs.run(nightly.STEPS["lock"], tree)
    assert done.returncode == 0, done.stderr
    compiled = [call for call in programs.calls if call.startswith("uv pip compile")]
    assert len(compiled) == 7 and not any("--exclude-newer" in call for call in compiled)
    assert all("--python ../uv/bin/python" in call for call in compiled)
    assert {path.read_text() for path in (tree / "infra" / "lock").glob("*.txt")} == {"new==2\n"}
    assert not (tree / ".venv").exists()
    assert list(nightly.STEPS)[:2] == ["lock", "setup"]


def test_a_night_names_commands_that_are_there_and_reads_the_lock() -> None:
    for command in nightly.STEPS.values():
        if command[0] == "make":
            assert command[1] in make_targets()
        elif "/" in command[0] and not command[0].startswith(".venv/"):
            assert (ROOT / command[0]).exists()
    started = [word for command in nightly.STEPS.values() for word in command if word.endswith(":local")]
    built = [command[1] for command in nightly.STEPS.values() if command[0] == "infra/docker/build"]
    assert (
        [f"mlops-{target}:local" for target in built]
        == started
        == [
            "mlops-serving:local",
            "mlops-pipeline:local",
        ]
    )
    found = nightly.pins(ROOT)
    assert len(found) > 100 and found["numpy"].startswith("2.")


FORGE = r"""
cat >"$HELD/stdin.$(ls "$HELD" | wc -l)" </dev/stdin
case "$*" in
    *git/ref/heads/status*) [ -f "$HELD/branch" ] || { echo "gh: Not Found (HTTP 404)" >&2; exit 1; } ;;
    *commits*) echo '[{"sha": "abc"}]' ;;
    *"contents/nightly.md?ref"*)
        [ ! -f "$HELD/sick" ] || { echo "gh: Server Error (HTTP 502)" >&2; exit 1; }
        [ -f "$HELD/page" ] || { echo "gh: Not Found (HTTP 404)" >&2; exit 1; }
        cat "$HELD/page" ;;
    *"contents/nightly/"*"?ref"*) echo "gh: Not Found (HTTP 404)" >&2; exit 1 ;;
    *"issue list"*) cat "$HELD/issues" ;;
esac
"""


def tell(
    tmp_path: Path, programs: Programs, files: Mapping[str, str], night: Mapping[str, str], *, error: str = ""
) -> list[str]:
    """What `gh` was told of a night, and what it was sent, in order; `error` is how it ends."""
    held, work = tmp_path / "held", tmp_path / "runs" / "nightly"
    held.mkdir()
    work.mkdir(parents=True)
    for folder, contents in ((held, files), (work, night)):
        for name, text in contents.items():
            (folder / name).write_text(text)
    programs.add("gh", FORGE)
    done = programs.run(
        [sys.executable, DELIVERY / "tell.py"], tmp_path, HELD=str(held), GH_REPO="o/n", GH_TOKEN="none"
    )
    assert (done.returncode, done.stderr) == (int(bool(error)), error)
    sent = [path.read_text() for path in held.glob("stdin.*")]
    return [*programs.calls, *(text for text in sent if text)]


def night(green: bool) -> dict[str, str]:
    return {
        "status.json": json.dumps({"day": "2026-02-03", "green": green}),
        "status.md": "# 2026-02-03: as it was\n",
    }


def test_a_red_night_makes_the_branch_lists_the_day_and_opens_an_issue(
    tmp_path: Path, programs: Programs
) -> None:
    said = tell(tmp_path, programs, {"issues": "[]"}, night(green=False))
    assert any("git/refs -f ref=refs/heads/status -f sha=abc" in call for call in said)
    bodies = [json.loads(text) for text in said if text.startswith("{")]
    pages = [base64.b64decode(body["content"]).decode() for body in bodies]
    assert all(body["branch"] == "status" for body in bodies)
    assert any("- [2026-02-03](nightly/2026-02-03.md): **red**" in page for page in pages)
    assert night(green=False)["status.md"] in pages
    assert any(call.startswith("gh issue create") for call in said)


def test_of_a_page_that_is_longer_than_an_issue_may_be_the_issue_has_the_beginning_and_where_it_goes_on(
    tmp_path: Path, programs: Programs
) -> None:
    page = "# 2026-02-03: as it was\n" + "    a line\n" * 20_000
    said = tell(tmp_path, programs, {"issues": "[]"}, {**night(green=False), "status.md": page})
    (issue,) = [text for text in said if text.startswith("# 2026-02-03")]
    assert len(issue) < 65_536 and issue.count("    a line\n") == issue.count("a line") > 5_000
    assert "/o/n/blob/status/nightly/2026-02-03.md" in issue
    pages = [base64.b64decode(json.loads(text)["content"]).decode() for text in said if text.startswith("{")]
    assert page in pages


def test_a_second_red_night_is_a_comment_and_a_green_one_closes_the_issue(
    tmp_path: Path, programs: Programs
) -> None:
    content = base64.b64encode(
        b"# Nightly status\n\n- [2026-02-02](nightly/2026-02-02.md): **red**\n"
    ).decode()
    files = {
        "branch": "",
        "page": json.dumps({"content": content, "sha": "s1"}),
        "issues": json.dumps([{"number": 5, "title": "another"}, {"number": 7, "title": TITLE}]),
    }
    said = tell(tmp_path, programs, files, night(green=False))
    assert [call.split()[2:4] for call in said if call.startswith("gh issue")][1:] == [["comment", "7"]]
    bodies = [json.loads(text) for text in said if text.startswith("{")]
    (listed,) = [body for body in bodies if body.get("sha") == "s1"]
    days = base64.b64decode(listed["content"]).decode().splitlines()
    assert [line[:14] for line in days if line.startswith("- ")] == ["- [2026-02-03]", "- [2026-02-02]"]

    other = Programs(tmp_path / "held")
    said = tell(tmp_path / "held", other, files, night(green=True))
    assert [call.split()[2:4] for call in said if call.startswith("gh issue")][1:] == [["close", "7"]]


def test_a_night_that_left_no_page_is_red(tmp_path: Path, programs: Programs) -> None:
    said = tell(tmp_path, programs, {"issues": "[]"}, {})
    assert any(call.startswith("gh issue create") for call in said)
    assert any("left no page behind" in text for text in said)


def test_a_forge_that_fails_for_once_loses_no_night(tmp_path: Path, programs: Programs) -> None:
    files = {"branch": "", "page": "the list of nights", "sick": "", "issues": "[]"}
    error = "tell: gh api repos/o/n/contents/nightly.md?ref=status: gh: Server Error (HTTP 502)\n"
    assert not any("PUT" in call for call in tell(tmp_path, programs, files, night(green=True), error=error))
