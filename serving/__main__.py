"""`python -m serving`: a server that answers until it is told to stop. This process listens; its workers answer."""

from __future__ import annotations

import logging
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mlops.errors import ConfigError, MlopsError, SetupError
from serving.logs import say_why, set_up
from serving.options import options_of
from serving.platforms import environment
from serving.supervisor import Supervisor, allow_connections, listen

__all__ = ["main"]

_log = logging.getLogger("serving")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code: 0 after SIGTERM, 130 after Ctrl-C, 2 if it could not start."""
    # What does not let the options be read is said as they would have it if they did not say.
    log_format: Literal["json", "text"] = "text" if sys.stderr.isatty() else "json"
    try:
        options = options_of(arguments, environment(os.environ))
        log_format = options.log_format
        set_up(log_format)
        _check_readable(options.public_key, "bundles are signed for a key")
        if options.keys is not None:
            _check_readable(options.keys, "make a key with `mlops keys create`")
            _warn_of_writers(options.keys)
        if options.store_folder is not None:
            _check_folder(options.store_folder)
        for folder in (options.decisions, options.audit):
            _check_writable(folder)
        allow_connections()
        return Supervisor(options, listen(options.host, options.port)).run()
    except MlopsError as error:
        say_why(error.line(), log_format)
        return error.exit_code
    except KeyboardInterrupt:  # before anything answered
        return 130


def _check_readable(path: Path, todo: str) -> None:
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, todo=todo) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None


def _warn_of_writers(keys: Path) -> None:
    """Whoever may write to it can make a key. A group may be meant to, everybody is not."""
    if keys.stat().st_mode & stat.S_IWOTH:
        _log.warning("%s: everybody can write to it, and so make a key; chmod o-w", keys)


def _check_folder(path: Path) -> None:
    """See that it is a folder, or nothing yet. Whether there is a sound store in it is seen when it is opened."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None
    raise ConfigError("is no folder", where=path, todo="name another with --store")


def _check_writable(folder: Path) -> None:
    """See that the logs can be begun: without them no score is given."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise SetupError(f"cannot be written to: {error.strerror}", where=folder) from None


if __name__ == "__main__":
    sys.exit(main())
