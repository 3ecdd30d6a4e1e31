"""Stand-ins for programs that are not here: a registry's, a cluster's, a forge's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Programs"]


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
