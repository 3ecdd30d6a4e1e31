"""The model's report in its pull request: one comment, whoever wrote the report, and nothing in it that acts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.delivery.comment import MARK, inert
from tests.infra.programs import Programs

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "delivery" / "comment.py"
GENUINE = """## Fraud: the gate would keep the champion

| on the test events | **champion** (trees) |
| --- | --- |
| average precision | .59 (.51–.67) |

```mermaid
xychart-beta
    x-axis ["trees", "mlp"]
    bar [0.00010, -0.10300]
```
"""
FORGE = r"""
case "$*" in
    *pulls*) printf '7 %040d\n8 bbbbbbbbbbbbbbbb\n' 0 ;;
    *per_page*) cat "$HELD" ;;
    *) cat >"$SENT" ;;
esac
"""


def posted(
    tmp_path: Path, report: str | None, held: str = "", head: str = "b" * 16
) -> tuple[subprocess.CompletedProcess[str], list[str], str]:
    """How it ended, what `gh` was asked to write, and what it was sent."""
    programs = Programs(tmp_path)
    programs.add("gh", FORGE)
    if report is not None:
        folder = tmp_path / "runs" / "model" / "report"
        folder.mkdir(parents=True)
        (folder / "report.md").write_text(report)
    (tmp_path / "held").write_text(held)
    told = {"GH_REPO": "o/n", "GH_TOKEN": "none", "HEAD_SHA": head, "RUN_URL": "https://forge/run/1"}
    files = {"HELD": str(tmp_path / "held"), "SENT": str(tmp_path / "sent")}
    done = programs.run([sys.executable, SCRIPT], tmp_path, **told, **files)
    wrote = [call for call in programs.calls if "--method" in call]
    sent = (tmp_path / "sent").read_text() if (tmp_path / "sent").exists() else ""
    return done, wrote, sent


def test_it_is_posted_to_the_pull_request_with_that_head_and_the_next_one_takes_its_place(
    tmp_path: Path,
) -> None:
    done, wrote, sent = posted(tmp_path, GENUINE)
    assert done.returncode == 0, done.stderr
    assert wrote == ["gh api repos/o/n/issues/8/comments --method POST --input -"]
    body = json.loads(sent)["body"]
    assert body.startswith(f"{MARK}\nOf {'b' * 12}, ") and GENUINE in body and "https://forge/run/1" in body
    again = tmp_path / "again"
    again.mkdir()
    _, wrote, _ = posted(again, GENUINE, held="41\n")
    assert wrote == ["gh api repos/o/n/issues/comments/41 --method PATCH --input -"]


@pytest.mark.parametrize(
    ("report", "held", "head"),
    [(None, "", "b" * 16), (GENUINE, "41\n", "c" * 16)],
    ids=["no report", "closed"],
)
def test_where_there_is_nothing_to_post_nothing_is(
    tmp_path: Path, report: str | None, held: str, head: str
) -> None:
    done, wrote, _ = posted(tmp_path, report, held, head)
    assert done.returncode == 0 and not wrote


@pytest.mark.parametrize(("report", "code"), [(None, 0), (GENUINE + "<b>", 1)], ids=["none", "refused"])
def test_a_report_of_the_commit_before_does_not_stand_for_one_that_has_none(
    tmp_path: Path, report: str | None, code: int
) -> None:
    done, wrote, sent = posted(tmp_path, report, held="41\n")
    assert done.returncode == code
    assert wrote == ["gh api repos/o/n/issues/comments/41 --method PATCH --input -"]
    body = json.loads(sent)["body"]
    assert body.startswith(f"{MARK}\nThere is no report of {'b' * 12}; ") and "average" not in body


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x>",
        "[here](//evil)",
        "![](x)",
        "[here][a]\n\n[a]: //evil",
        r"[here\\](//evil)",
        r"\\<b>",
        "&commat;everybody",
        "&#35;3",
        '```mermaid\ngraph TD\nclick A href "//evil.com"\n```',
        '```mermaid\nxychart-beta\n    bar [1]\n    click A href "//evil.com"\n```',
        "~~~geojson\n{}\n~~~",
        GENUINE,
    ],
)
def test_a_report_that_is_not_only_text_is_not_posted(tmp_path: Path, text: str) -> None:
    done, wrote, _ = posted(tmp_path, GENUINE + text)
    assert done.returncode == 1 and "mlops compare does not write" in done.stderr and not wrote


def test_whoever_is_named_is_not_called_and_a_long_report_is_cut_at_a_line(tmp_path: Path) -> None:
    _, _, sent = posted(tmp_path, "@everybody\n" + "a line\n" * 20_000)
    body = json.loads(sent)["body"]
    assert "@everybody" not in body and "@\N{ZERO WIDTH SPACE}everybody" in body
    assert len(body) < 65_536 and body.count("a line\n") == body.count("a line")


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://evil", "://"),
        (r"https:\//evil", r":\/"),
        ("www.evil.com", "www."),
        (r"www\.evil.com", r"www\."),
        ("evil/payload#1", "#1"),
        ("#3", "#3"),
        (r"\#3", "#3"),
        ("GH-12", "GH-1"),
        (r"gh\-12", r"\-1"),
        ("evil/payload@0123abc", "@0"),
        ("0123abc", "0123abc"),
        (r"$\href{//evil.com}{approve}$", "$"),
    ],
)
def test_what_a_forge_would_make_a_link_of_is_shown_and_is_none(text: str, link: str) -> None:
    shown = inert(GENUINE + text)
    assert link in text and link not in shown and shown.startswith(GENUINE)
    put = shown.replace("\N{ZERO WIDTH SPACE}", "").replace("\N{FULLWIDTH DOLLAR SIGN}", "$")
    assert put == GENUINE + text
