"""MLflow's record, from a laptop's SQLite file to the PostgreSQL database of several machines: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, MetaData, Table, create_engine, func, insert, select, text

from mlops.errors import ConfigError
from mlops.settings import Settings, without_password
from training import tracking
from training.postgresql import is_postgresql, locked
from training.registry.entries import must_have_record

__all__ = ["Copied", "copy_record"]

_ROWS = 2000
_SCHEMA = "alembic_version"
_DEFAULTS = {"experiments": 1, "workspaces": 1}  # rows that MLflow puts into an empty database
_PATIENCE_S = 10.0


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows went where."""

    source: str
    target: str
    rows: dict[str, int]


def copy_record(settings: Settings, target: str) -> Copied:
    """Copy every table of the present MLflow database into the empty one at `target`; the present one stays as it is.

    Artefacts stay where they are: the copy names the same paths. Nobody should write meanwhile.

    Raises:
        ConfigError: the target is no PostgreSQL database or holds something already, or the present one is no SQLite
            file.
        SetupError: the target cannot be reached.
    """
    where = without_password(target)
    if not is_postgresql(target):
        raise ConfigError("is no PostgreSQL database", where=where, todo="name one: postgresql+psycopg://…")
    if not settings.mlflow_uri.startswith("sqlite:"):
        raise ConfigError(
            "is no SQLite file", where=without_password(settings.mlflow_uri), todo="unset MLOPS_TRACKING_URI"
        )
    must_have_record(settings)
    for uri in (settings.tracking_uri, target):  # both have this MLflow's schema then
        tracking.client(msgspec.structs.replace(settings, tracking_uri=uri))
    source, sink = create_engine(settings.mlflow_uri), create_engine(target)
    try:
        with (
            locked(target, "mlflow schema", patience_s=_PATIENCE_S),
            source.connect() as old,
            sink.begin() as new,
        ):
            rows = _copy(old, new, where)
    finally:
        source.dispose()
        sink.dispose()
    return Copied(source=settings.mlflow_uri, target=where, rows=rows)


def _copy(old: Connection, new: Connection, where: str) -> dict[str, int]:
    metadata = MetaData()
    metadata.reflect(new)
    tables = [
        table for table in metadata.sorted_tables if table.name != _SCHEMA
    ]  # parents before their children
    for table in tables:
        held = new.scalar(select(func.count()).select_from(table)) or 0
        if held > _DEFAULTS.get(table.name, 0):
            raise ConfigError(
                f"holds {held} rows in {table.name}", where=where, todo="name an empty database"
            )
    for table in reversed(tables):
        new.execute(table.delete())
    rows: dict[str, int] = {}
    for table in tables:
        for batch in _batches(old, table):
            new.execute(insert(table), batch)
            rows[table.name] = rows.get(table.name, 0) + len(batch)
        _count_on(new, table)
    return rows


def _batches(old: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    columns = [column for column in table.columns if column.computed is None]
    for batch in old.execute(select(*columns)).mappings().partitions(_ROWS):
        yield [dict(row) for row in batch]


def _count_on(new: Connection, table: Table) -> None:
    """Numbers that the database gives go on after the greatest that was copied."""
    for column in table.columns:
        sequence = new.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": table.name, "column": column.name},
        )
        greatest = new.scalar(select(func.max(column))) if sequence else None
        if greatest:
            new.execute(text("SELECT setval(:sequence, :at)"), {"sequence": sequence, "at": greatest})
