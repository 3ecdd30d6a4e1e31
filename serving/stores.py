"""Which store a URI names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlops.bundle import Schema
from mlops.errors import ConfigError
from serving.plan import StorePlan
from serving.store import OnlineStore

__all__ = ["check_uri", "is_in_place", "open_store"]


def open_store(uri: str | Path, needed: StorePlan, schema: Schema) -> OnlineStore:
    """Open the online store at `uri`.

    Args:
        uri: a folder, or `file:` and a folder (LMDB); `redis://…`, `rediss://…` or `unix://…` (Redis, see
            `serving.redis_store`); or `memory:`, which ends with the process.
        needed: the totals that it must hold. A store without events takes on this plan.
        schema: of the events that it will be fed.

    Raises:
        ConfigError: the URI is of no such kind; or the store holds events, and lacks totals or is of other events.
        SetupError: the store cannot be used.
    """
    parts = urlsplit(str(uri))
    if isinstance(uri, Path) or parts.scheme in ("", "file"):
        from serving.lmdb_store import LmdbStore

        return LmdbStore(Path(uri if parts.scheme == "" else unquote(parts.path)), needed, schema)
    if parts.scheme in ("redis", "rediss", "unix"):
        from serving.redis_store import RedisStore

        return RedisStore(str(uri), needed, schema)
    if str(uri) == "memory:":
        from serving.memory_store import InMemoryStore

        return InMemoryStore(needed)
    raise ConfigError(
        f"no store is of the kind {parts.scheme}:",
        where="MLOPS_STORE",
        todo="name a folder or redis://host:port",
    )


def check_uri(uri: str) -> None:
    """See that a URI of a Redis has no option that there is not. Nothing is asked of it.

    Raises:
        ConfigError: it has.
    """
    if urlsplit(uri).scheme in ("redis", "rediss", "unix"):
        from serving.redis_wire import RedisWire, without_prefix

        RedisWire(without_prefix(uri)[0]).close()


def is_in_place(store: OnlineStore) -> bool:
    """Whether a store that is a file is the one still that is at its path; true of any other."""
    from serving.lmdb_store import LmdbStore

    return store.is_in_place() if isinstance(store, LmdbStore) else True
