"""Commands that look after what the server wrote down. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import UTC, date, datetime

import click

from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import DATE, as_json

__all__ = ["compact"]


@click.command()
@click.option("--as-of", type=DATE, help="Judge as of this day what was kept long enough; today by default.")
@as_json
@click.pass_obj
def compact(settings: Settings, as_of: date | None, json_: bool) -> None:
    """Archive the decision log as Parquet, with pseudonyms; remove what was kept long enough."""
    from pipelines.logs import compact_logs

    today = as_of or datetime.now(UTC).date()
    show(watched("compact", compact_logs, settings, today=today), json_)
