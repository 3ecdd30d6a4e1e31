"""A use case's own public table, written out as the files that the steps begin with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops.contract import load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines.remote import shown
from pipelines.staged import delivered

__all__ = ["ExportResult", "export_source"]


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were written, and where."""

    rows: int
    out: str


def export_source(settings: Settings, out: str | Path) -> ExportResult:
    """Write the files of the use case's public table into `out`, a path or URI.

    Raises:
        ConfigError: the use case ships no table.
    """
    use_case = load_use_case(settings.usecase)
    if not use_case.source:
        raise ConfigError(
            "ships no table",
            where=settings.usecase,
            todo="its events are simulated: mlops simulate" if use_case.simulator else "bring your own",
        )
    with delivered(out) as folder:
        rows = load_dotted(use_case.source)(folder)
    return ExportResult(rows=rows, out=shown(str(out)))
