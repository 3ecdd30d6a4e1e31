"""One at a time changes the registry: a lock where everybody who could do so meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mlops.errors import SetupError
from mlops.settings import Settings
from training.postgresql import is_postgresql, locked

__all__ = ["one_registrar"]

_PATIENCE_S = 60.0  # a promotion takes a second, or some where the bundle is large
_SQLITE = "sqlite:///"


@contextmanager
def one_registrar(settings: Settings, name: str) -> Iterator[Callable[[], None]]:
    """Keep others from changing the registered model until the block ends, however it ends.

    In PostgreSQL it is an advisory lock, which all machines on the database share. With SQLite it is a lock on a file
    beside the database. A tracking server offers no lock: there it is a file in the home, which holds for one machine.

    Yields a function to call right before what must not happen without the lock; it raises where the lock was lost.

    Raises:
        SetupError: another process did not let go of it in time, or the database does not answer.
    """
    uri = settings.mlflow_uri
    if is_postgresql(uri):
        with locked(uri, f"mlops registry {name}", patience_s=_PATIENCE_S) as confirm:
            yield confirm
        return
    place = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else settings.home / "registry"
    path = place.with_suffix(".registry.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=_PATIENCE_S):
            yield lambda: None
    except Timeout:
        raise SetupError(
            f"another process has held it for {_PATIENCE_S:.0f} s", where=path, todo="wait for it, or end it"
        ) from None
