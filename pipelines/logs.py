"""Steps over the logs of a home: compaction, erasure, and whose pseudonyms what is read from them has."""

from __future__ import annotations

from datetime import date

from mlops.bundle import Schema
from mlops.errors import ConfigError
from mlops.home import use_case_of
from mlops.settings import Settings
from mlops.tables import read_event_table
from pipelines.archive import must_have_logs, read_manifest
from pipelines.compact import CompactResult, compact
from pipelines.erase import Erased, erase
from pipelines.options import refuse_future
from pipelines.pseudonyms import KEY_FILE, Pseudonyms, read_or_make_key
from pipelines.whose import key_value, whose

__all__ = ["compact_logs", "erase_from_logs", "pseudonyms_of"]


def compact_logs(settings: Settings, *, today: date) -> CompactResult:
    """Take the server's closed files into the archive, and remove what policy.yaml says was kept long enough.

    Raises:
        ConfigError: `today` is after today (UTC), or the key of the archive's pseudonyms is missing, or is another.
        InputError: there are no logs, or a line does not parse.
    """
    refuse_future(today, "--as-of")
    must_have_logs(settings.decisions)
    use_case = use_case_of(settings)
    policy, pseudonyms = use_case.policy.decisions, pseudonyms_of(settings)
    return compact(settings.decisions, use_case.events, use_case.label, policy, pseudonyms, today=today)


def erase_from_logs(settings: Settings, key: str) -> Erased:
    """Erase the decisions about one key, such as `customer_id=42`, and their labels.

    Raises:
        ConfigError: that is no column that names somebody and a value that it can hold, or the key of the archive's
            pseudonyms is missing, or is another.
        InputError: there are no logs, or a line does not parse.
    """
    use_case = use_case_of(settings)
    personal = {*use_case.features.by_key, *use_case.policy.decisions.hash}
    naming = [
        column.name
        for column in use_case.events.columns
        if column.type == "id" or (column.name in personal and column.type in ("integer", "text"))
    ]
    column, text = whose(key)
    if column not in naming:
        raise ConfigError(
            f"no column {column!r} that names somebody", where="--key", todo=f"those are {', '.join(naming)}"
        )
    numbers = read_event_table(settings.events).whole_number_ids if settings.events.exists() else ()
    schema = Schema(events=use_case.events, label=use_case.label, whole_number_ids=numbers)
    value = str(key_value(column, text, schema))
    must_have_logs(settings.decisions)
    return erase(settings.decisions, column, value, pseudonyms_of(settings))


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """The pseudonyms of the columns that policy.yaml names, and of those that named it before; None without any.

    Raises:
        ConfigError: the key of the archive's pseudonyms is missing, or is another.
    """
    manifest = read_manifest(settings.decisions)
    columns = (*use_case_of(settings).policy.decisions.hash, *manifest.hashed)
    if not columns:
        return None
    path = settings.home / "keys" / KEY_FILE
    if manifest.key_id and not path.exists():
        raise ConfigError("no key of the archive's pseudonyms", where=path, todo="bring it back from a copy")
    pseudonyms = Pseudonyms(read_or_make_key(path), columns)
    if manifest.key_id not in ("", pseudonyms.key_id):
        raise ConfigError(
            "is not the key that the archive's pseudonyms were made with",
            where=path,
            todo="bring that one back from a copy",
        )
    return pseudonyms
