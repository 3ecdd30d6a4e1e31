"""PostgreSQL as MLflow's database: reached at once or told why not, and a lock that all machines on it share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mlops.errors import SetupError
from mlops.settings import without_password

__all__ = ["is_postgresql", "locked", "reach", "unreachable"]

_CONNECT_S = 10
_LOCKED = "55P03"  # lock_not_available: PostgreSQL's manual, appendix A


def is_postgresql(uri: str) -> bool:
    """Whether this names a PostgreSQL database, by whatever driver."""
    return uri.startswith(("postgresql:", "postgresql+"))


def reach(uri: str) -> str | None:
    """The revision of MLflow's schema in the database, or None where it has none yet.

    Connects once: MLflow itself would go on trying for more than a minute.

    Raises:
        SetupError: the database cannot be reached.
    """
    with _connected(uri) as connection, _answers(uri):
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


@contextmanager
def locked(uri: str, name: str, *, patience_s: float) -> Iterator[Callable[[], None]]:
    """Hold the database's advisory lock `name`; yields a function that raises when the lock was lost meanwhile.

    The lock belongs to a session: it ends with the block, with the process, and with the connection. So it needs a
    connection of its own, which a pooler between (pgbouncer in transaction mode) does not give.

    Raises:
        SetupError: the database cannot be reached, or another held the lock for `patience_s`.
    """
    with _connected(uri) as connection:
        with _answers(uri):
            connection.execute(text(f"SET lock_timeout = {round(patience_s * 1000)}"))
            try:
                connection.execute(
                    text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": name}
                )
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCKED:
                    raise
                raise SetupError(
                    f"another process has held the lock {name!r} for {patience_s:.0f} s",
                    where=without_password(uri),
                    todo="wait for it, or end it; pg_locks names its session",
                ) from None
        yield lambda: _still(uri, connection)


def unreachable(uri: str, error: BaseException) -> SetupError:
    """The error to raise where the connection failed or was lost."""
    said = " ".join(str(getattr(error, "orig", error)).split())
    return SetupError(
        f"MLflow's database does not answer: {said}",
        where=without_password(uri),
        todo="see that it runs, and run this step again: what it had done stands, and it does the rest",
    )


def _still(uri: str, connection: Connection) -> None:
    with _answers(uri):
        connection.execute(text("SELECT 1"))


@contextmanager
def _connected(uri: str) -> Iterator[Connection]:
    engine = create_engine(
        uri, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": _CONNECT_S}
    )
    with _answers(uri):
        connection = engine.connect()
    with connection:
        yield connection


@contextmanager
def _answers(uri: str) -> Iterator[None]:
    """Around statements of ours: what a caller's own statements raise says nothing about the connection."""
    try:
        yield
    except DBAPIError as error:
        raise unreachable(uri, error) from None
