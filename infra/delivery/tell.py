"""Publishes the night's status page on the branch `status`, and opens an issue when it is red; with GitHub's `gh`.

    GH_REPO=owner/name GH_TOKEN=… python3 infra/delivery/tell.py

It reads runs/nightly/status.json and status.md. An issue that is open already gets a comment, and is closed by the
first green night. A night that left no page behind is red as well.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["main"]

WORK = Path("runs/nightly")
BRANCH, FILE = "status", "nightly.md"
TITLE = "The nightly build with the newest packages is red"
KEPT = 60  # days in the list
LIMIT = 60_000  # of GitHub's 65,536 characters in an issue
HEAD = "# Nightly status\n\nWith the newest packages and base images; the last day first.\n"


def main() -> int:
    """Publish and tell; 0 if both could be done, whatever the night was like."""
    repository = os.environ.get("GH_REPO") or sys.exit("tell: GH_REPO is not set: owner/name")
    try:
        status = json.loads((WORK / "status.json").read_text())
        day, green, page = status["day"], bool(status["green"]), (WORK / "status.md").read_text()
    except FileNotFoundError:
        day, green = datetime.now(UTC).date().isoformat(), False
        page = f"# {day}: red\n\nThe night left no page behind: it was cut off, or never started.\n"
    _publish(repository, day, green, page)
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    cut = page if len(page) <= LIMIT else page[:LIMIT].rpartition("\n")[0]
    _tell(green, f"{cut}\n\nThe whole page: {server}/{repository}/blob/{BRANCH}/nightly/{day}.md\n")
    return 0


def _publish(repository: str, day: str, green: bool, page: str) -> None:
    """The list of days and the page of this one, as files on a branch of their own."""
    if _gh("api", f"repos/{repository}/git/ref/heads/{BRANCH}", check=False) is None:
        first = json.loads(_gh("api", f"repos/{repository}/commits?per_page=1") or "[]")[0]["sha"]
        _gh("api", f"repos/{repository}/git/refs", "-f", f"ref=refs/heads/{BRANCH}", "-f", f"sha={first}")
    held = _gh("api", f"repos/{repository}/contents/{FILE}?ref={BRANCH}", check=False)
    old = base64.b64decode(json.loads(held)["content"]).decode() if held else HEAD
    days = [line for line in old.splitlines() if line.startswith("- ") and not line.startswith(f"- [{day}]")]
    days.insert(0, f"- [{day}](nightly/{day}.md): {'green' if green else '**red**'}")
    _put(repository, f"nightly/{day}.md", page, day)
    _put(repository, FILE, HEAD + "\n" + "\n".join(days[:KEPT]) + "\n", day)


def _put(repository: str, path: str, text: str, day: str) -> None:
    place = f"repos/{repository}/contents/{path}"
    held = _gh("api", f"{place}?ref={BRANCH}", check=False)
    body = {
        "message": f"Status of {day}",
        "branch": BRANCH,
        "content": base64.b64encode(text.encode()).decode(),
    }
    if held:
        body["sha"] = json.loads(held)["sha"]
    _gh("api", "--method", "PUT", place, "--input", "-", said=json.dumps(body))


def _tell(green: bool, page: str) -> None:
    found = json.loads(
        _gh("issue", "list", "--state", "open", "--search", f'"{TITLE}" in:title', "--json", "number,title")
        or "[]"
    )
    numbers = [str(issue["number"]) for issue in found if issue["title"] == TITLE]
    if green:
        for number in numbers:
            _gh("issue", "close", number, "--comment", "Green again.")
    elif numbers:
        _gh("issue", "comment", numbers[0], "--body-file", "-", said=page)
    else:
        _gh("issue", "create", "--title", TITLE, "--body-file", "-", said=page)


def _gh(*words: str, check: bool = True, said: str | None = None) -> str | None:
    """What `gh` answers; None where there is no such thing, and need not be."""
    try:
        ran = subprocess.run(["gh", *words], input=said, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("tell: gh is not installed")
    if ran.returncode and (check or "HTTP 404" not in ran.stderr):
        sys.exit(f"tell: gh {' '.join(words)}: {ran.stderr.strip()}")
    return None if ran.returncode else ran.stdout


if __name__ == "__main__":
    sys.exit(main())
