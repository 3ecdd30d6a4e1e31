"""Commands that look after what the server wrote down. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import UTC, date, datetime

import click

from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import DATE, as_json

__all__ = ["compact", "erase"]


@click.command()
@click.option("--as-of", type=DATE, help="Judge as of this day what was kept long enough; today by default.")
@as_json
@click.pass_obj
def compact(settings: Settings, as_of: date | None, json_: bool) -> None:
    """Archive the decision log as Parquet, with pseudonyms. What was kept long enough is removed."""
    from pipelines.logs import compact_logs

    today = as_of or datetime.now(UTC).date()
    show(watched("compact", compact_logs, settings, today=today), json_)


@click.command()
@click.option("--key", required=True, metavar="COLUMN=VALUE", help="Whose data, as in customer_id=42.")
@as_json
@click.pass_obj
def erase(settings: Settings, key: str, json_: bool) -> None:
    """Erase one person's decisions and labels. They go from the logs and their archive.

    What the online store has of them is deleted by `mlops store delete`.
    """
    from pipelines.logs import erase_from_logs

    show(watched("erase", erase_from_logs, settings, key), json_)
