"""Files that somebody brings, such as keys: what is wrong with one is said with its name."""

from __future__ import annotations

from pathlib import Path

from mlops.errors import ConfigError

__all__ = ["read_given"]


def read_given(path: Path, what: str, *, todo: str) -> bytes:
    """What stands in a file.

    Args:
        what: it is. todo: said where there is none.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"no such {what}", where=path, todo=todo) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None
