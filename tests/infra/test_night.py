"""The nightly build: every step is tried, in a copy; its page is published, and a red night told of once."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.delivery import nightly
from infra.delivery.tell import TITLE
from tests.infra.programs import Programs

ROOT = Path(__file__).resolve().parents[2]
DELIVERY = ROOT / "infra" / "delivery"


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_a_night_tries_every_step_and_its_page_has_the_end_of_what_failed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    steps = nightly.run(
        {"good": ("true",), "bad": ("sh", "-c", "echo '<b>boom</b>'; exit 3"), "last": ("true",)}, tree
    )
    assert [step["passed"] for step in steps] == [True, False, True]
    status = {
        "day": "2026-02-03",
        "at": "2026-02-03T04:05:06+00:00",
        "commit": "f" * 40,
        "steps": steps,
        "changed": {"numpy": ("2.4.0", "2.5.0")},
    }
    text = nightly.page(status)
    assert text.startswith("# 2026-02-03: red\n")
    assert "| bad | **failed** |" in text and "\n    <b>boom</b>\n" in text
    assert "1 packages are newer" in text and "| numpy | 2.4.0 | 2.5.0 |" in text
    assert nightly.page(status | {"steps": steps[:1]}).startswith("# 2026-02-03: green\n")


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


def test_a_night_names_commands_that_are_there_and_reads_the_lock() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in nightly.STEPS.values():
        assert (ROOT / command[0]).exists() or f"\n{command[1]}:" in makefile
    found = nightly.pins(ROOT)
    assert len(found) > 100 and found["numpy"].startswith("2.")


FORGE = r"""
cat >"$HELD/stdin.$(ls "$HELD" | wc -l)" </dev/stdin
case "$*" in
    *git/ref/heads/status*) [ -f "$HELD/branch" ] ;;
    *commits*) echo '[{"sha": "abc"}]' ;;
    *"contents/nightly.md?ref"*) [ -f "$HELD/page" ] && cat "$HELD/page" ;;
    *"contents/nightly/"*"?ref"*) exit 1 ;;
    *"issue list"*) cat "$HELD/issues" ;;
esac
"""


def tell(tmp_path: Path, programs: Programs, files: Mapping[str, str], night: Mapping[str, str]) -> list[str]:
    """What `gh` was told of a night, and what it was sent, in order."""
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
    assert done.returncode == 0, done.stderr
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
