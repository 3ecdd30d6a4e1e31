"""Commands that look after the online store. Heavy imports wait until one is chosen."""

from __future__ import annotations

from datetime import date

import click
import msgspec

from mlops.settings import Settings
from pipelines.command_line import show, watched
from pipelines.options import DATE, as_json

__all__ = ["store"]


@click.group()
def store() -> None:
    """The online store: what it holds, what it may forget."""


@store.command()
@as_json
@click.pass_obj
def stats(settings: Settings, json_: bool) -> None:
    """Count what the store holds, and say what for."""
    from pipelines import store as steps

    result = watched("store stats", steps.stats, settings)
    if not json_:
        holds = "; ".join(result.holds) or "nothing but events: no feature has a window"
        result = {**msgspec.to_builtins(result), "holds": holds}
    show(result, json_)


@store.command()
@click.option("--before", type=DATE, help="Forget events before this day (UTC).")
@click.option(
    "--lateness",
    default="7d",
    show_default=True,
    help="Without --before: how late events may be that still find all that their windows need.",
)
@as_json
@click.pass_obj
def forget(settings: Settings, before: date | None, lateness: str, json_: bool) -> None:
    """Forget what no window can need any more. These are totals, events, answers, and labels held that long."""
    from pipelines import store as steps

    show(watched("store forget", steps.forget, settings, before, lateness=lateness), json_)


@store.command()
@click.option("--key", required=True, metavar="COLUMN=VALUE", help="Whose data, as in customer_id=42.")
@as_json
@click.pass_obj
def delete(settings: Settings, key: str, json_: bool) -> None:
    """Delete one key's totals, and what is held of its events.

    Other keys keep what these events add to their totals. The decision log and the event tables keep the events.
    """
    from pipelines import store as steps

    show(watched("store delete", steps.delete, settings, key), json_)
