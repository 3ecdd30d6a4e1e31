"""Steps over the logs of a home: compaction, erasure, and whose pseudonyms what is read from them has."""

from __future__ import annotations

from datetime import date

from mlops.contract import load_use_case
from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.archive import read_manifest
from pipelines.compact import CompactResult, compact
from pipelines.erase import Erased, erase
from pipelines.pseudonyms import KEY_FILE, Pseudonyms, read_or_make_key

__all__ = ["compact_logs", "erase_from_logs", "pseudonyms_of"]


def compact_logs(settings: Settings, *, today: date) -> CompactResult:
    """Take the server's closed files into the archive, and remove what policy.yaml says was kept long enough.

    Raises:
        ConfigError: the key of the archive's pseudonyms is missing, or is another.
        InputError: there are no logs, or a line does not parse.
    """
    use_case = load_use_case(settings.usecase)
    policy, pseudonyms = use_case.policy.decisions, pseudonyms_of(settings)
    return compact(settings.decisions, use_case.events, use_case.label, policy, pseudonyms, today=today)


def erase_from_logs(settings: Settings, key: str) -> Erased:
    """Erase the decisions about one key, such as `customer_id=42`, and their labels.

    Raises:
        ConfigError: that is no column and value, or the key of the archive's pseudonyms is missing, or is another.
        InputError: there are no logs, or a line does not parse.
    """
    column, equals, value = key.partition("=")
    names = [column.name for column in load_use_case(settings.usecase).events.columns]
    if not equals or column not in names:
        raise ConfigError(
            f"{key!r} is not a column and a value", where="--key", todo=f"columns are {', '.join(names)}"
        )
    return erase(settings.decisions, column, value, pseudonyms_of(settings))


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """The pseudonyms of the columns that policy.yaml names, and of those that named it before; None without any.

    Raises:
        ConfigError: the key of the archive's pseudonyms is missing, or is another.
    """
    manifest = read_manifest(settings.decisions)
    columns = (*load_use_case(settings.usecase).policy.decisions.hash, *manifest.hashed)
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
