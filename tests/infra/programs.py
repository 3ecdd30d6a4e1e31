"""Stand-ins for programs that are not here: a registry's, a cluster's, a forge's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["LOCKING_UV", "REFERENCES", "Programs", "copy_delivery", "note"]

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = [
    f"ghcr.io/owner/mlops-{name}@sha256:{sign * 64}" for name, sign in (("serving", "a"), ("pipeline", "b"))
]
"""What the images are by digest."""

LOCKING_UV = r"""
case "$*" in *--torch-backend*) [ -z "${UNREACHED:-}" ] || exit 2 ;; esac
wheel='wheels = [{ hashes = { sha256 = "%064d" } }]\n'
while [ $# -gt 1 ]; do
    case "$1 $2" in
        "--output-file "*/pylock.*) printf '[[packages]]\nname = "torch"\n'"$wheel" 7 >"$2" ;;
        "--output-file "*) echo new==2 >"$2" ;;
    esac
    shift
done
"""
"""A uv to which every lock is `new==2`, and torch's wheel has the hash 7; with UNREACHED, no index of PyTorch's."""


def copy_delivery(folder: Path) -> Path:
    """A copy of what the delivery's scripts read, as they write beside it."""
    for name in ("infra/delivery", "infra/docker", "infra/supply", "infra/lock", "k8s/overlays/production"):
        (folder / name).mkdir(parents=True)
        for path in (ROOT / name).iterdir():
            if path.is_file():
                (folder / name / path.name).write_bytes(path.read_bytes())
                (folder / name / path.name).chmod(path.stat().st_mode)
    (folder / "mlops").mkdir()
    for name in ("pyproject.toml", "mlops/errors.py"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def note(checkout: Path, kind: str, **references: str) -> None:
    """Note references in the files that jobs hand on, in runs/delivery/KIND; a name's `_` is a dash."""
    folder = checkout / "runs" / "delivery" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for name, reference in references.items():
        (folder / name.replace("_", "-", 1)).write_text(reference + "\n")


class Programs:
    """Stand-ins on a PATH of their own, each a line of shell, that write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder / "bin", folder / "said"
        self.folder.mkdir()

    def add(self, name: str, script: str = "") -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>"{self.said}"\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []

    def run(
        self, words: Sequence[str | Path], cwd: Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, **variables}
        return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
