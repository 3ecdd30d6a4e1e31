"""The `mlops` command in this process."""

from __future__ import annotations

from pipelines.cli import main

__all__ = ["exit_code"]


def exit_code(*words: object) -> int:
    """Run the command, and say which code its process would end with. One that ends well returns."""
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
