"""Posts the model's report as a comment of its pull request, in place of the one before; with GitHub's `gh`.

    GH_REPO=owner/name GH_TOKEN=… HEAD_SHA=… RUN_URL=… python3 infra/delivery/comment.py

It reads runs/model/report/report.md, which a stranger's code may have written: it may format and draw one chart, and
neither link, nor show pictures, nor call anybody. For whom it is, it does not say itself: that is the open pull request
with the head HEAD_SHA. Where that commit has no report, the comment on the commit before it is not left to be taken for
one: it says so from then on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["MARK", "inert", "main"]

REPORT = Path("runs/model/report/report.md")
MARK = "<!-- the model's report -->"
LIMIT = 60_000  # of GitHub's 65,536 characters
# A forge runs what is in a fence: of that, only the chart that `mlops compare` draws, made of words and numbers.
CHART = re.compile(
    r'(^```mermaid\nxychart-beta\n(?: {4}(?:title|x-axis|y-axis|bar|line) [\w .,:"\[\]-]*\n)+```$)',
    re.MULTILINE,
)
MARKUP = re.compile(r"<|\]\(|\]:|&[#\w]|```|~~~|\x00")
# What GitHub makes a link or a call of, without markup: names, issues here and elsewhere, commits, addresses.
CALLS = re.compile(r"@|#(?=\d)|GH\\?-(?=\d)|[0-9a-f]{6}(?=[0-9a-f])|:(?=\\?/)|www(?=\\?\.)", re.IGNORECASE)


def inert(text: str) -> str:
    """The report, with what would act by itself cut apart, and no dollar that begins a formula.

    Raises:
        ValueError: there is HTML, a link or a fence in it that `mlops compare` does not write.
    """
    return "".join(part if n == 1 else _words(part) for n, part in enumerate(CHART.split(text, maxsplit=1)))


def _words(text: str) -> str:
    if found := MARKUP.search(re.sub(r"\\.", " ", text)):
        raise ValueError(f"the report has {found[0]!r} in it, which mlops compare does not write")
    apart = CALLS.sub(lambda call: call[0] + "\N{ZERO WIDTH SPACE}", text)
    return apart.replace("$", "\N{FULLWIDTH DOLLAR SIGN}")


def main() -> int:
    """Post it; 0 also where there is nothing to post."""
    repository, head, run = (_told(name) for name in ("GH_REPO", "HEAD_SHA", "RUN_URL"))
    report, refused = REPORT.is_file() and not REPORT.is_symlink(), ""
    try:
        text = inert(REPORT.read_text(errors="replace")) if report else ""
    except ValueError as error:
        text, refused = "", str(error)
    if len(text) > LIMIT:
        text = text[:LIMIT].rpartition("\n")[0]
    if text:
        said = (
            f"Of {head[:12]}, by its own code:\n\n{text}\n\nPictures, and the whole of it: [the run]({run})"
        )
    else:
        said = f"There is no report of {head[:12]}; [the run]({run}) says why."
    body = json.dumps({"body": f"{MARK}\n{said}\n"})
    opened = _gh(
        f"repos/{repository}/pulls?state=open&per_page=100",
        "--paginate",
        *("--jq", '.[] | "\\(.number) \\(.head.sha)"'),
    )
    posted = 0
    for number in [number for number, sha in map(str.split, opened.splitlines()) if sha == head]:
        comments = f"repos/{repository}/issues/{number}/comments"
        own = f'select(.user.login == "github-actions[bot]" and (.body | startswith("{MARK}")))'
        held = _gh(f"{comments}?per_page=100", "--paginate", "--jq", f".[] | {own} | .id").split()
        if held:
            comment = f"repos/{repository}/issues/comments/{held[0]}"
            _gh(comment, "--method", "PATCH", "--input", "-", said=body)
        elif text:
            _gh(comments, "--method", "POST", "--input", "-", said=body)
        posted += bool(held or text)
    if refused:
        sys.exit(f"comment: {refused}")
    print(f"comment: posted to {posted} pull requests{'' if text else ', without a report'}")
    return 0


def _told(name: str) -> str:
    return os.environ.get(name) or sys.exit(f"comment: {name} is not set")


def _gh(*words: str, said: str | None = None) -> str:
    try:
        ran = subprocess.run(["gh", "api", *words], input=said, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("comment: gh is not installed")
    if ran.returncode:
        sys.exit(f"comment: gh api {' '.join(words)}: {ran.stderr.strip()}")
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
