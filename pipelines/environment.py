"""The settings as environment variables: how they reach the processes that an engine starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from mlops.settings import Settings

__all__ = ["as_environment", "in_environment"]


def as_environment(settings: Settings) -> dict[str, str]:
    """`MLOPS_<NAME>` for every setting: what `Settings.from_env` reads as these settings."""
    values = msgspec.to_builtins(settings, enc_hook=str)
    return {f"MLOPS_{name.upper()}": value for name, value in values.items()}


@contextmanager
def in_environment(settings: Settings) -> Iterator[None]:
    """Have this process's environment be these settings until the block ends, and then what it was."""
    before = dict(os.environ)
    os.environ.update(as_environment(settings))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
