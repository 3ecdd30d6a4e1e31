"""Whether all still works with the newest of everything: packages, base images. It needs no package.

    python3 infra/delivery/nightly.py           # an hour or two: installs anew, runs the first tier, builds
    python3 infra/delivery/nightly.py --without images

It works in a copy of this checkout's commit, runs/nightly/tree, and removes it at the end. Beside it are a log of each
step, status.json and status.md: what passed, what failed with its last lines, and which versions differ from the
locks. It ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["STEPS", "main", "page", "pins", "run"]

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "nightly"
NEWEST = "docker.io/library/debian:bookworm-slim"
STEPS: Mapping[str, Sequence[str]] = {
    "lock": ("make", "lock", "UPGRADE=1"),
    "setup": ("make", "setup"),
    "audit": ("make", "audit"),
    "test": ("make", "test"),
    "images": ("infra/docker/build", "serving", "--pull", "--build-arg", f"DEBIAN={NEWEST}"),
}
"""What is done, in order; a step after one that failed is still tried, as it may tell something else."""

LINES = 40  # of a step that failed, on the page
LIMIT_S = 3 * 3600


def run(steps: Mapping[str, Sequence[str]], tree: Path) -> list[dict[str, Any]]:
    """Run each step in the folder `tree`; how it ended, how long it took, and the end of what a failed one said."""
    results = []
    for name, command in steps.items():
        print(f"== {name}: {' '.join(command)}", flush=True)
        started = time.monotonic()
        said = tree.parent / f"{name}.log"
        with said.open("wb") as log:
            try:
                code = subprocess.run(command, cwd=tree, stdout=log, stderr=log, timeout=LIMIT_S).returncode
            except subprocess.TimeoutExpired:
                code = 124
        tail = said.read_text(errors="replace").splitlines()[-LINES:] if code else []
        results.append(
            {
                "name": name,
                "command": " ".join(command),
                "passed": code == 0,
                "seconds": round(time.monotonic() - started),
                "tail": tail,
            }
        )
        print(f"== {name}: {'passed' if code == 0 else f'failed with {code}'}", flush=True)
    return results


def pins(tree: Path) -> dict[str, str]:
    """The version of each package in the whole lock of a checkout."""
    text = (tree / "infra" / "lock" / "all.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE))


def page(status: Mapping[str, Any]) -> str:
    """The status as Markdown."""
    failed = [step["name"] for step in status["steps"] if not step["passed"]]
    lines = [
        f"# {status['day']}: {'red' if failed else 'green'}",
        "",
        f"Commit {status['commit'][:12]} with the newest packages and base image, at {status['at']}.",
        "",
        "| step | result | seconds | command |",
        "|---|---|---:|---|",
    ]
    for step in status["steps"]:
        result = "passed" if step["passed"] else "**failed**"
        lines.append(f"| {step['name']} | {result} | {step['seconds']} | `{step['command']}` |")
    lines += ["", f"{len(status['changed'])} packages are newer than in the locks."]
    if status["changed"]:
        lines += ["", "| package | locked | newest |", "|---|---|---|"]
        lines += [f"| {name} | {old} | {new} |" for name, (old, new) in status["changed"].items()]
    for step in status["steps"]:
        if not step["passed"]:
            # Indented, so that nothing in it is markup.
            lines += ["", f"## The end of {step['name']}", "", *(f"    {line}" for line in step["tail"])]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run all steps but those that are to be left out, and write the page."""
    parser = argparse.ArgumentParser(prog="nightly.py", description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=list(STEPS))
    left_out = parser.parse_args(arguments).without
    tree = WORK / "tree"
    WORK.mkdir(parents=True, exist_ok=True)
    _git("worktree", "prune")
    if tree.exists():
        _git("worktree", "remove", "--force", str(tree))
    commit = _git("rev-parse", "HEAD")
    _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    before, now = pins(tree), datetime.now(UTC)
    steps = run({name: command for name, command in STEPS.items() if name not in left_out}, tree)
    after = pins(tree)
    _git("worktree", "remove", "--force", str(tree))
    status = {
        "day": now.date().isoformat(),
        "at": now.isoformat(timespec="seconds"),
        "commit": commit,
        "green": all(step["passed"] for step in steps),
        "steps": steps,
        "changed": {
            name: (before.get(name, "–"), after.get(name, "–"))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        },
    }
    (WORK / "status.json").write_text(json.dumps(status, indent=1) + "\n")
    (WORK / "status.md").write_text(page(status))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as file:
            file.write(page(status))
    return 0 if status["green"] else 1


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
