"""Opens a pull request with what `make lock` wrote here, if it differs from the commit's; with GitHub's `gh`.

    GH_REPO=owner/name GH_TOKEN=… python3 infra/delivery/propose.py

It writes the branch `locks` anew, one commit on the one that is checked out, and leaves a pull request that is open as
it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

WRITTEN = ("infra/lock", "infra/docker/pipeline.Dockerfile")  # by infra/compile-locks
BRANCH = "locks"
TITLE = "Bring the locks forward"
BODY = """The newest versions that were published at least seven days ago, as `make lock UPGRADE=1` found them.

GitHub starts no checks on what a workflow opens: close this and open it again, and they run.
"""


def main() -> int:
    """Propose; 0 also where there is nothing to propose."""
    repository = os.environ.get("GH_REPO") or sys.exit("propose: GH_REPO is not set: owner/name")
    changed = _said("git", "diff", "--name-only", "--", *WRITTEN).splitlines()
    if not changed:
        print("propose: the locks hold the newest that they may")
        return 0
    entries = [
        {"path": name, "mode": "100644", "type": "blob", "content": Path(name).read_text()}
        for name in changed
    ]
    base = {"base_tree": _said("git", "rev-parse", "HEAD^{tree}"), "tree": entries}
    tree = _api(repository, "POST", "trees", base)
    parents = [_said("git", "rev-parse", "HEAD")]
    commit = _api(repository, "POST", "commits", {"message": TITLE, "tree": tree, "parents": parents})
    found = f"repos/{repository}/git/matching-refs/heads/{BRANCH}"
    refs = _said("gh", "api", found, "--jq", ".[].ref").splitlines()
    if f"refs/heads/{BRANCH}" in refs:
        _api(repository, "PATCH", f"refs/heads/{BRANCH}", {"sha": commit, "force": True})
    else:
        _api(repository, "POST", "refs", {"ref": f"refs/heads/{BRANCH}", "sha": commit})
    listed = ("gh", "pr", "list", "--head", BRANCH, "--base", "main", "--state", "open", "--json", "number")
    if not json.loads(_said(*listed)):
        words = ("--head", BRANCH, "--base", "main", "--title", TITLE, "--body-file", "-")
        _said("gh", "pr", "create", *words, given=BODY)
    print(f"propose: {', '.join(changed)}")
    return 0


def _api(repository: str, method: str, place: str, body: object) -> str:
    """Write into the repository's git; the hash of what was made."""
    words = ("gh", "api", f"repos/{repository}/git/{place}", "--method", method, "--input", "-")
    return _said(*words, "--jq", ".sha // .object.sha", given=json.dumps(body))


def _said(*words: str, given: str | None = None) -> str:
    try:
        ran = subprocess.run(words, input=given, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit(f"propose: {words[0]} is not installed")
    if ran.returncode:
        sys.exit(f"propose: {' '.join(words[:3])}: {ran.stderr.strip()}")
    return ran.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
