"""A layout that is given at the command line: a YAML file of its fields, and single words that add to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from mlops.errors import ConfigError, InputError
from mlops.layout import Layout

__all__ = ["given_layout"]

_NAMED = {"tab": "\t", "\\t": "\t", "space": " "}


def given_layout(
    file: Path | None = None, columns: Sequence[str] = (), separator: str = "", encoding: str = ""
) -> Layout | None:
    """The layout that is given, None where nothing is.

    Args:
        file: YAML with the fields of `Layout`; its name is the file's unless it has one.
        columns: OURS=THEIRS each; of two for one of ours the values are joined by a space. They win over the file.
        separator: one character, or `tab`.
        encoding: as Python calls it.

    Raises:
        InputError: the file is missing, or is no layout.
        ConfigError: a word that is none, or what `Layout` refuses.
    """
    fields: dict[str, Any] = {"name": "of the command line"} if file is None else _read(file)
    theirs: dict[str, list[str]] = {}
    for pair in columns:
        ours, equals, name = pair.partition("=")
        if not (ours and equals and name):
            raise ConfigError(f"{pair!r} is not OURS=THEIRS", where="--map")
        theirs.setdefault(ours, []).append(name)
    if theirs:
        fields["columns"] = {**(fields.get("columns") or {}), **theirs}
    if separator:
        fields["separator"] = _NAMED.get(separator, separator)
    if encoding:
        fields["encoding"] = encoding
    if fields.keys() == {"name"} and file is None:
        return None
    try:
        return msgspec.convert(fields, Layout, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=file or "--map") from error.__cause__


def _read(file: Path) -> dict[str, Any]:
    try:
        # All scalars as text: a word such as yes, or a key such as true, is no boolean here.
        fields = yaml.load(file.read_text("utf-8"), Loader=yaml.BaseLoader)
    except FileNotFoundError:
        raise InputError("no such file", where=file) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is no YAML: {str(error).splitlines()[0]}", where=file) from None
    if not isinstance(fields, dict):
        raise InputError(
            "is no layout", where=file, todo="it has `columns:`, ours: theirs in each line below"
        )
    return {"name": file.stem, **fields}
