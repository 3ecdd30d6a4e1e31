"""Whether all still works with the newest of everything: packages, base images. It needs no package.

    python3 infra/delivery/nightly.py           # an hour or two: installs anew, runs the first tier, builds, starts
    python3 infra/delivery/nightly.py --without images

It works in a copy of this checkout's commit, runs/nightly/tree, and removes it at the end. Beside it are a log of each
step, status.json and status.md: what passed, what failed with its last lines, what could not be tried, and which
versions differ from the locks. It ends with 1 if anything failed or could not be tried. With steps left out, which are
on the page as such, the day is not green, and the page does not say that it is of the newest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["BUDGET_S", "STEPS", "main", "page", "pins", "run"]

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "nightly"
NEWEST = "docker.io/library/debian:bookworm-slim"
# uv in an environment of its own, so that the tree's is made once, of the newest.
UV = "python3 -m venv ../uv && ../uv/bin/pip install --quiet --no-deps --require-hashes -r infra/lock/build.txt"
BUILD = ("--pull", "--build-arg", f"DEBIAN={NEWEST}")
START = ("docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp:exec", "--network", "none")
STEPS: Mapping[str, Sequence[str]] = {
    "lock": ("sh", "-c", f"{UV} && VENV=../uv UPGRADE=1 MINIMUM_AGE= infra/compile-locks"),
    "setup": ("make", "setup"),
    "audit": (".venv/bin/python", "-m", "infra.supply.audit"),
    "test": ("make", "test"),
    "images": ("infra/docker/build", "serving", *BUILD),
    "pipeline": ("infra/docker/build", "pipeline", *BUILD),
    "start": (*START, "mlops-serving:local", "python3", "-c", "import serving.app, serving.supervisor"),
    "command": (*START, "mlops-pipeline:local", "mlops", "simulate", "/tmp/world", "--set", "customers=50"),
}
"""What is done, in order; a step after one that failed is still tried, as it may tell something else."""

NOT_RUN = 3
"""What a step ends with that could not look, such as the audit without a database."""
LEFT_OUT = "left out"
WORDS = {"passed": "passed", "failed": "**failed**", "not run": "**NOT RUN**", LEFT_OUT: LEFT_OUT}
LINES, WIDTH = 40, 300  # of what a step that did not pass said last, on the page
BUDGET_S = 150 * 60
"""For all steps together: a night that hangs has a page, too, before its job is cut off."""


def run(
    steps: Mapping[str, Sequence[str]], tree: Path, budget_s: float = BUDGET_S, *, without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Run each step in the folder `tree`; how it ended, how long it took, the end of what it said unless it passed.

    Args:
        without: the steps that are left out.
    """
    results = []
    until = time.monotonic() + budget_s
    for name, command in steps.items():
        started = time.monotonic()
        code, tail = 0, list[str]()
        if name in without:
            result = LEFT_OUT
        else:
            print(f"== {name}: {' '.join(command)}", flush=True)
            said = tree.parent / f"{name}.log"
            code = _ended(command, tree, said, until - started)
            result = {0: "passed", NOT_RUN: "not run"}.get(code, "failed")
            last = said.read_text(errors="replace").splitlines()[-LINES:] if code else []
            tail = [line if len(line) <= WIDTH else line[:WIDTH] + " …" for line in last]
        results.append(
            {
                "name": name,
                "command": " ".join(command),
                "result": result,
                "seconds": round(time.monotonic() - started),
                "tail": tail,
            }
        )
        print(f"== {name}: {result}{f', {code}' if code else ''}", flush=True)
    return results


def _ended(command: Sequence[str], tree: Path, said: Path, seconds: float) -> int:
    """The command's exit status; 124 where the time was up. What is cut off, by that or by Ctrl-C, is ended whole."""
    with said.open("w") as log:
        if seconds <= 0:
            log.write("there was no time left\n")
            return NOT_RUN
        process = None
        try:
            with _signals_later():
                process = subprocess.Popen(
                    command,
                    cwd=tree,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            return process.wait(seconds)
        except BaseException as error:
            if process is None and isinstance(error, OSError):
                log.write(f"{error}\n")
                return 127
            if process is None:
                raise
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            log.write(f"\nended after {seconds:.0f} s, as the night's time was up\n")
            return 124


@contextmanager
def _signals_later() -> Iterator[None]:
    """Hear at the end what ends this process: before, it would not know yet which process it has started."""
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in both}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


def pins(tree: Path) -> dict[str, str]:
    """The version of each package in the whole lock of a checkout, and torch's."""
    text = "".join((tree / "infra" / "lock" / f"{name}.txt").read_text() for name in ("all", "torch"))
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE))


def page(status: Mapping[str, Any]) -> str:
    """The status as Markdown."""
    steps = status["steps"]
    left_out = [step["name"] for step in steps if step["result"] == LEFT_OUT]
    said = "green" if status["green"] else "in part" if _good(steps) else "red"
    newest = f"without {', '.join(left_out)}" if left_out else "with the newest packages and base image"
    lines = [
        f"# {status['day']}: {said}",
        "",
        f"Commit {status['commit'][:12]} {newest}, at {status['at']}.",
        "",
        "| step | result | seconds | command |",
        "|---|---|---:|---|",
    ]
    for step in status["steps"]:
        lines.append(
            f"| {step['name']} | {WORDS[step['result']]} | {step['seconds']} | `{step['command']}` |"
        )
    if "lock" not in left_out:
        lines += ["", f"{len(status['changed'])} packages are newer than in the locks."]
    if status["changed"]:
        lines += ["", "| package | locked | newest |", "|---|---|---|"]
        lines += [f"| {name} | {old} | {new} |" for name, (old, new) in status["changed"].items()]
    for step in status["steps"]:
        if step["result"] not in ("passed", LEFT_OUT):
            # Indented, so that nothing in it is markup.
            lines += ["", f"## The end of {step['name']}", "", *(f"    {line}" for line in step["tail"])]
    return "\n".join(lines) + "\n"


def _good(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing failed that was to be tried, and nothing of that was not."""
    return all(step["result"] in ("passed", LEFT_OUT) for step in steps)


def main(arguments: Sequence[str]) -> int:
    """Run all steps but those that are to be left out, and write the page."""
    parser = argparse.ArgumentParser(
        prog="nightly.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=list(STEPS),
        metavar="STEP",
        help=f"a step to leave out, of {', '.join(STEPS)}; can be given again",
    )
    left_out = set(parser.parse_args(arguments).without)
    if left_out == set(STEPS):
        parser.error("nothing is left to try")
    tree = WORK / "tree"
    WORK.mkdir(parents=True, exist_ok=True)
    _git("worktree", "prune")
    if tree.exists():
        _git("worktree", "remove", "--force", str(tree))
    commit = _git("rev-parse", "HEAD")
    _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    try:
        before, now = pins(tree), datetime.now(UTC)
        steps = run(STEPS, tree, without=sorted(left_out))
        after = pins(tree)
    finally:
        _git("worktree", "remove", "--force", str(tree))
        shutil.rmtree(WORK / "uv", ignore_errors=True)
    status = {
        "day": now.date().isoformat(),
        "at": now.isoformat(timespec="seconds"),
        "commit": commit,
        "green": all(step["result"] == "passed" for step in steps),
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
    return 0 if _good(steps) else 1


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("nightly: interrupted, and its step ended; there is no page", file=sys.stderr)
        sys.exit(130)
